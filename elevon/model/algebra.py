"""The rest of the table algebra as frozen values: groups, sets, expressions, slices, windows.

An expression travels as the bytes that ``frames.expressions`` made of it; nothing here reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from elevon.errors import DescriptionError
from elevon.model import checks
from elevon.model.operation import OperationBase, Result
from elevon.model.shown import shown

AggregateName: TypeAlias = Literal[
    "sum", "min", "max", "count", "size", "mean", "var", "std", "nunique", "quantile"
]
WindowName: TypeAlias = Literal["sum", "mean", "min", "max", "count", "var", "std"]
Keep: TypeAlias = Literal["first", "last"]
SetKind: TypeAlias = Literal["union", "intersect", "subtract"]
RankMethod: TypeAlias = Literal["average", "min", "max", "first", "dense"]

AGGREGATES = ("sum", "min", "max", "count", "size", "mean", "var", "std", "nunique", "quantile")
WINDOWS = ("sum", "mean", "min", "max", "count", "var", "std")
KEEPS = ("first", "last")
SET_KINDS = ("union", "intersect", "subtract")
RANK_METHODS = ("average", "min", "max", "first", "dense")
#: Expressions travel through the agent, which is no road for bulk data.
LARGEST_EXPRESSION_BYTES: Final = 16 << 20


class Aggregate(msgspec.Struct, frozen=True, gc=False):
    """One number per group: ``function`` of ``column``, in a result column called ``name``.

    ``quantile`` says which one, from 0 to 1; the other functions do not look at it.
    """

    name: str
    column: str
    function: AggregateName
    quantile: float = 0.5

    def __post_init__(self) -> None:
        checks.keep(
            self,
            name=checks.new_name("groupby: name", self.name),
            column=checks.text("groupby: column", self.column),
            function=checks.one_of("groupby: function", self.function, AGGREGATES),
            quantile=checks.fraction("groupby: quantile", self.quantile),
        )


class GroupBy(OperationBase, frozen=True, tag="groupby", gc=False):
    """Aggregates of input 0 per group of equal keys; without keys, of all rows."""

    by: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    dropna: bool = True

    inputs = 1

    def __post_init__(self) -> None:
        checks.keep(
            self,
            by=checks.names("groupby: by", self.by),
            aggregates=checks.values("groupby: aggregates", self.aggregates, Aggregate),
            dropna=checks.flag("groupby: dropna", self.dropna),
        )
        if not self.by and not self.aggregates:
            raise DescriptionError("groupby: needs a key column or an aggregate")
        _different("groupby", [*self.by, *(one.name for one in self.aggregates)])


class DropDuplicates(OperationBase, frozen=True, tag="drop_duplicates", gc=False):
    """The first or last row of each group of equal ``subset``; of equal rows where it is None."""

    subset: tuple[str, ...] | None = None
    keep: Keep = "first"

    inputs = 1

    def __post_init__(self) -> None:
        checks.keep(
            self,
            subset=checks.optional(checks.names, "drop_duplicates: subset", self.subset),
            keep=checks.one_of("drop_duplicates: keep", self.keep, KEEPS),
        )
        if self.subset is not None and not self.subset:
            raise DescriptionError("drop_duplicates: subset names no column; None means all")


class SetRows(OperationBase, frozen=True, tag="set_rows", gc=False):
    """The different rows of input 0 and/or input 1."""

    kind: SetKind

    inputs = 2

    def __post_init__(self) -> None:
        checks.keep(self, kind=checks.one_of("set operation: kind", self.kind, SET_KINDS))

    @property
    def verb(self) -> str:
        """Each kind is a verb of its own."""
        return self.kind


class Concat(OperationBase, frozen=True, tag="concat", gc=False):
    """All rows of the inputs, input after input."""

    number_of_inputs: int
    ordered: bool = True

    def __post_init__(self) -> None:
        checks.keep(
            self,
            number_of_inputs=checks.whole("concat: number of frames", self.number_of_inputs, 0),
            ordered=checks.flag("concat: ordered", self.ordered),
        )
        if not self.number_of_inputs:
            raise DescriptionError("concat: no frame is given")

    @property
    def inputs(self) -> int:
        """How many inputs there are."""
        return self.number_of_inputs


class Filter(OperationBase, frozen=True, tag="filter", gc=False):
    """The rows of input 0 for which an expression is true."""

    predicate: bytes

    inputs = 1

    def __post_init__(self) -> None:
        checks.blob("filter: expression", self.predicate, LARGEST_EXPRESSION_BYTES)


class Derived(msgspec.Struct, frozen=True, gc=False):
    """One column of a result: a column of the input called ``source``, or an expression."""

    name: str
    source: str = ""
    expression: bytes = b""

    def __post_init__(self) -> None:
        checks.blob("expression", self.expression, LARGEST_EXPRESSION_BYTES)
        checks.keep(
            self,
            name=checks.new_name("name of a column", self.name),
            source=checks.text("column", self.source),
        )


class Project(OperationBase, frozen=True, tag="project", gc=False):
    """These columns of input 0; with ``extend``, its own columns, too."""

    columns: tuple[Derived, ...]
    extend: bool = False

    inputs = 1

    def __post_init__(self) -> None:
        extend = checks.flag("project: extend", self.extend)
        what = "assign" if extend else "select"
        columns = checks.values(f"{what}: columns", self.columns, Derived)
        checks.keep(self, columns=columns, extend=extend)
        if not self.columns:
            raise DescriptionError(f"{what}: no column is given")
        _different(what, [column.name for column in self.columns])

    @property
    def verb(self) -> str:
        """Two verbs make it."""
        return "assign" if self.extend else "select"


class Rename(OperationBase, frozen=True, tag="rename", gc=False):
    """Input 0 with other names for some columns: (old, new)."""

    columns: tuple[tuple[str, str], ...]

    inputs = 1

    def __post_init__(self) -> None:
        columns = [_old_and_new(pair) for pair in checks.listed("rename: columns", self.columns)]
        checks.keep(self, columns=tuple(columns))
        _different("rename", [old for old, _ in self.columns])


class Drop(OperationBase, frozen=True, tag="drop", gc=False):
    """Input 0 without some columns."""

    columns: tuple[str, ...]

    inputs = 1

    def __post_init__(self) -> None:
        checks.keep(self, columns=checks.names("drop: columns", self.columns))


class SliceRows(OperationBase, frozen=True, tag="slice", gc=False):
    """Rows ``start`` up to ``stop`` of input 0, counted from the end where < 0, as in Python."""

    start: int | None = None
    stop: int | None = None

    inputs = 1

    def __post_init__(self) -> None:
        checks.keep(
            self,
            start=checks.optional(checks.whole, "slice: start", self.start),
            stop=checks.optional(checks.whole, "slice: stop", self.stop),
        )


class Equals(OperationBase, frozen=True, tag="equals", gc=False):
    """Whether inputs 0 and 1 hold the same rows; in the same order if ``ordered``. A value."""

    ordered: bool = True

    inputs = 2

    def __post_init__(self) -> None:
        checks.keep(self, ordered=checks.flag("equals: ordered", self.ordered))

    @property
    def result(self) -> Result:
        """True or False."""
        return "value"


class Repartition(OperationBase, frozen=True, tag="repartition", gc=False):
    """Input 0 in even shares, or with equal values of ``by`` on one rank."""

    by: tuple[str, ...] = ()

    inputs = 1

    def __post_init__(self) -> None:
        checks.keep(self, by=checks.names("repartition: by", self.by))


class Window(msgspec.Struct, frozen=True, gc=False):
    """``function`` of ``column`` over a window, in a result column called ``name``."""

    name: str
    column: str
    function: WindowName

    def __post_init__(self) -> None:
        checks.keep(
            self,
            name=checks.new_name("rolling: name", self.name),
            column=checks.text("rolling: column", self.column),
            function=checks.one_of("rolling: function", self.function, WINDOWS),
        )


class Rolling(OperationBase, frozen=True, tag="rolling", gc=False):
    """Input 0 with, for each row, functions of that row and the ``window - 1`` rows before it."""

    window: int
    columns: tuple[Window, ...]
    min_periods: int | None = None

    inputs = 1

    def __post_init__(self) -> None:
        checks.keep(
            self,
            window=checks.whole("rolling: window", self.window),
            columns=checks.values("rolling: columns", self.columns, Window),
            min_periods=checks.optional(checks.whole, "rolling: min_periods", self.min_periods, 0),
        )
        if self.window < 1:
            raise DescriptionError(f"rolling: window={self.window}: at least one row is needed")
        if self.min_periods is not None and self.min_periods > self.window:
            raise DescriptionError(
                f"rolling: min_periods={self.min_periods} is not from 0 to window={self.window}"
            )
        if not self.columns:
            raise DescriptionError('rolling: no column is given, such as total=("x", "sum")')
        _different("rolling", [column.name for column in self.columns])


class RankRows(OperationBase, frozen=True, tag="rank", gc=False):
    """Input 0 sorted by a column, with each row's rank in a column called ``name``."""

    by: str
    method: RankMethod = "average"
    ascending: bool = True
    name: str = "rank"

    inputs = 1

    def __post_init__(self) -> None:
        checks.keep(
            self,
            by=checks.text("rank: by", self.by),
            method=checks.one_of("rank: method", self.method, RANK_METHODS),
            ascending=checks.flag("rank: ascending", self.ascending),
            name=checks.new_name("rank: column", self.name),
        )


Algebra: TypeAlias = (
    GroupBy
    | DropDuplicates
    | SetRows
    | Concat
    | Filter
    | Project
    | Rename
    | Drop
    | SliceRows
    | Equals
    | Repartition
    | Rolling
    | RankRows
)


def _old_and_new(given: object) -> tuple[str, str]:
    pair = checks.names("rename: columns", given)
    if len(pair) != 2:
        raise DescriptionError(f"rename: {shown(given)} is no pair of an old and a new name")
    return pair[0], checks.new_name("rename: new name", pair[1])


def _different(verb: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DescriptionError(
                f"{verb}: two columns are called {shown(name)}: rename one of them"
            )
        seen.add(name)
