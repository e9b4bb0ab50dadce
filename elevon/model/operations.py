"""What a task does: one frozen value per kind of work, checked when it is made.

An operation says nothing of where its inputs are: they are numbered, and the description names the
tasks that make them.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from elevon.errors import DescriptionError
from elevon.model import checks
from elevon.model.algebra import Algebra
from elevon.model.operation import OperationBase, Result
from elevon.model.shown import shown

How: TypeAlias = Literal["inner", "left", "right", "outer", "semi", "anti"]
NaPosition: TypeAlias = Literal["first", "last"]
Returns: TypeAlias = Literal["rank0", "all", "dataset"]

HOWS = ("inner", "left", "right", "outer", "semi", "anti")
NA_POSITIONS = ("first", "last")
FORMATS = ("parquet", "csv", "arrow")
CODECS = ("zstd", "snappy", "gzip", "lz4", "brotli", "none")
RETURNS = ("rank0", "all", "dataset")
_RESULTS: Final[dict[str, Result]] = {
    "rank0": "value",
    "all": "value of each rank",
    "dataset": "partitions",
}
#: Arguments travel through the agent, which is no road for bulk data.
LARGEST_ARGUMENTS_BYTES: Final = 64 << 20


class Read(OperationBase, frozen=True, tag="read", gc=False):
    """Read files as a dataset; each rank takes its share of the row groups or files."""

    paths: tuple[str, ...]
    format: Literal["parquet", "csv", "arrow"] = "parquet"
    columns: tuple[str, ...] | None = None

    inputs = 0

    def __post_init__(self) -> None:
        checks.keep(
            self,
            paths=checks.paths("read: path", self.paths),
            format=checks.one_of("read: format", self.format, FORMATS),
            columns=checks.optional(checks.names, "read: columns", self.columns),
        )
        if not self.paths:
            raise DescriptionError("read: no path is given")


class Load(OperationBase, frozen=True, tag="load", gc=False):
    """Take a table that the client holds and serves at ``address``; rank r takes slice r."""

    address: str
    rows: int

    inputs = 0

    def __post_init__(self) -> None:
        checks.keep(
            self,
            address=checks.path("load: address", self.address),
            rows=checks.whole("load: rows", self.rows, 0),
        )

    @property
    def repeatable(self) -> bool:
        """The table may be gone from the client."""
        return False


class Join(OperationBase, frozen=True, tag="join", gc=False):
    """Distributed join of input 0 (left) and input 1 (right)."""

    left_on: tuple[str, ...]
    right_on: tuple[str, ...]
    how: How = "inner"
    suffixes: tuple[str | None, str | None] = ("_x", "_y")
    nulls_equal: bool = False

    inputs = 2

    def __post_init__(self) -> None:
        checks.keep(
            self,
            left_on=checks.names("join: left_on", self.left_on),
            right_on=checks.names("join: right_on", self.right_on),
            how=checks.one_of("join: how", self.how, HOWS),
            suffixes=_suffixes(self.suffixes),
            nulls_equal=checks.flag("join: nulls_equal", self.nulls_equal),
        )
        if not self.left_on or len(self.left_on) != len(self.right_on):
            raise DescriptionError(
                f"join: needs as many left as right key columns, at least one: "
                f"left_on={shown(list(self.left_on))}, right_on={shown(list(self.right_on))}"
            )


class Sort(OperationBase, frozen=True, tag="sort", gc=False):
    """Distributed stable sort of input 0."""

    by: tuple[str, ...]
    ascending: tuple[bool, ...]
    na_position: NaPosition = "last"

    inputs = 1

    def __post_init__(self) -> None:
        directions = checks.listed("sort: ascending", self.ascending)
        checks.keep(
            self,
            by=checks.names("sort: by", self.by),
            ascending=tuple([checks.flag("sort: ascending", one) for one in directions]),
            na_position=checks.one_of("sort: na_position", self.na_position, NA_POSITIONS),
        )
        if not self.by or len(self.by) != len(self.ascending):
            raise DescriptionError(
                f"sort: needs at least one column and one direction for each: "
                f"by={shown(list(self.by))}, ascending={shown(list(self.ascending))}"
            )


class WriteParquet(OperationBase, frozen=True, tag="write_parquet", gc=False):
    """Write input 0, one file per rank, under the directory ``path``; the result is the files."""

    path: str
    compression: str = "zstd"
    overwrite: bool = False

    inputs = 1

    def __post_init__(self) -> None:
        checks.keep(
            self,
            path=checks.path("write_parquet: path", self.path),
            compression=checks.one_of("write_parquet: compression", self.compression, CODECS),
            overwrite=checks.flag("write_parquet: overwrite", self.overwrite),
        )

    @property
    def result(self) -> Result:
        """Each rank's file."""
        return "value of each rank"

    @property
    def repeatable(self) -> bool:
        """The files may be in use."""
        return False


class Call(OperationBase, frozen=True, tag="call", gc=False):
    """Call a Python function on every rank of the gang.

    ``function`` is the content hash under which the function travelled; ``arguments`` is the
    pickled (args, kwargs), in which ``InputRef`` values stand for the task's inputs.
    """

    function: str
    arguments: bytes
    number_of_inputs: int = 0
    returns: Returns = "rank0"

    def __post_init__(self) -> None:
        count = checks.whole("call: number_of_inputs", self.number_of_inputs, 0)
        checks.keep(
            self,
            function=checks.text("call: function", self.function),
            arguments=checks.blob("call: arguments", self.arguments, LARGEST_ARGUMENTS_BYTES),
            number_of_inputs=count,
            returns=checks.one_of("call: returns", self.returns, RETURNS),
        )

    @property
    def inputs(self) -> int:
        """How many inputs the call has."""
        return self.number_of_inputs

    @property
    def result(self) -> Result:
        """What the user asked for."""
        return _RESULTS[self.returns]

    @property
    def repeatable(self) -> bool:
        """A function may have effects."""
        return False

    @property
    def keeps_memory(self) -> bool:
        """A function takes what it takes."""
        return False


class InputRef(msgspec.Struct, frozen=True, gc=False):
    """Stands for input ``index`` of the task among a function's pickled arguments."""

    index: int


Operation: TypeAlias = Read | Load | Join | Sort | WriteParquet | Call | Algebra


def _suffixes(given: object) -> tuple[str | None, ...]:
    """A pair; None is no suffix, as in pandas."""
    pair = checks.listed("join: suffixes", given)
    if len(pair) != 2:
        raise DescriptionError(f"join: suffixes must be a pair, not {shown(given)}")
    return tuple([checks.optional(checks.new_name, "join: suffixes", one) for one in pair])
