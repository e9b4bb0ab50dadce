"""What a task does: one frozen value per kind of work, checked when it is made.

An operation says nothing of where its inputs are: they are numbered, and the description names the
tasks that make them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from elevon.errors import DescriptionError
from elevon.model.algebra import Algebra, Equals, Project, SetRows

How: TypeAlias = Literal["inner", "left", "right", "outer", "semi", "anti"]
NaPosition: TypeAlias = Literal["first", "last"]
Returns: TypeAlias = Literal["rank0", "all", "dataset"]

HOWS = ("inner", "left", "right", "outer", "semi", "anti")


class Read(msgspec.Struct, frozen=True, tag="read", gc=False):
    """Read files as a dataset; each rank takes its share of the row groups or files."""

    paths: tuple[str, ...]
    format: Literal["parquet", "csv", "arrow"] = "parquet"
    columns: tuple[str, ...] | None = None

    inputs = 0

    def __post_init__(self) -> None:
        if not self.paths:
            raise DescriptionError("read: no path is given")


class Load(msgspec.Struct, frozen=True, tag="load", gc=False):
    """Take a table that the client holds and serves at ``address``; rank r takes slice r."""

    address: str
    rows: int

    inputs = 0


class Join(msgspec.Struct, frozen=True, tag="join", gc=False):
    """Distributed join of input 0 (left) and input 1 (right)."""

    left_on: tuple[str, ...]
    right_on: tuple[str, ...]
    how: How = "inner"
    suffixes: tuple[str, str] = ("_x", "_y")
    nulls_equal: bool = False

    inputs = 2

    def __post_init__(self) -> None:
        if self.how not in HOWS:
            raise DescriptionError(f"join: how={self.how!r} is none of {', '.join(HOWS)}")
        if not self.left_on or len(self.left_on) != len(self.right_on):
            raise DescriptionError(
                f"join: needs as many left as right key columns, at least one: "
                f"left_on={list(self.left_on)}, right_on={list(self.right_on)}"
            )


class Sort(msgspec.Struct, frozen=True, tag="sort", gc=False):
    """Distributed stable sort of input 0."""

    by: tuple[str, ...]
    ascending: tuple[bool, ...]
    na_position: NaPosition = "last"

    inputs = 1

    def __post_init__(self) -> None:
        if not self.by or len(self.by) != len(self.ascending):
            raise DescriptionError(
                f"sort: needs at least one column and one direction for each: "
                f"by={list(self.by)}, ascending={list(self.ascending)}"
            )
        if self.na_position not in ("first", "last"):
            raise DescriptionError(f"sort: na_position={self.na_position!r} is not first or last")


class WriteParquet(msgspec.Struct, frozen=True, tag="write_parquet", gc=False):
    """Write input 0, one file per rank, under the directory ``path``; the result is the files."""

    path: str
    compression: str = "zstd"

    inputs = 1


class Call(msgspec.Struct, frozen=True, tag="call", gc=False):
    """Call a Python function on every rank of the gang.

    ``function`` is the content hash under which the function travelled; ``arguments`` is the
    pickled (args, kwargs), in which ``InputRef`` values stand for the task's inputs.
    """

    function: str
    arguments: bytes
    number_of_inputs: int = 0
    returns: Returns = "rank0"

    @property
    def inputs(self) -> int:
        """How many inputs the call has."""
        return self.number_of_inputs


class InputRef(msgspec.Struct, frozen=True, gc=False):
    """Stands for input ``index`` of the task among a function's pickled arguments."""

    index: int


Operation: TypeAlias = Read | Load | Join | Sort | WriteParquet | Call | Algebra


def operation_name(operation: Operation) -> str:
    """The verb that makes the operation, for reports and messages."""
    match operation:
        case SetRows():
            return operation.kind
        case Project():
            return "assign" if operation.extend else "select"
    return str(operation.__struct_config__.tag)


def makes_dataset(operation: Operation) -> bool:
    """Whether the output stays on the ranks as partitions (otherwise it is a value)."""
    if isinstance(operation, Call):
        return operation.returns == "dataset"
    return not isinstance(operation, WriteParquet | Equals)


def repeatable(operation: Operation) -> bool:
    """Whether running it again on the same inputs is safe and gives the same rows.

    A function may have effects; a loaded table may be gone from the client; files may be in use.
    """
    return not isinstance(operation, Call | Load | WriteParquet)
