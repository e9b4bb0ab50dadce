"""The rest of the table algebra as frozen values: groups, sets, expressions, slices, windows.

An expression travels as the bytes that ``frames.expressions`` made of it; nothing here reads them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from elevon.errors import DescriptionError

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


class Aggregate(msgspec.Struct, frozen=True, gc=False):
    """One number per group: ``function`` of ``column``, in a result column called ``name``.

    ``quantile`` says which one, from 0 to 1; the other functions do not look at it.
    """

    name: str
    column: str
    function: AggregateName
    quantile: float = 0.5

    def __post_init__(self) -> None:
        _one_of("groupby", "function", self.function, AGGREGATES)
        if not 0 <= self.quantile <= 1:
            raise DescriptionError(
                f"groupby: {self.name!r}: a quantile is from 0 to 1, not {self.quantile!r}"
            )


class GroupBy(msgspec.Struct, frozen=True, tag="groupby", gc=False):
    """Aggregates of input 0 per group of equal keys; without keys, of all rows."""

    by: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    dropna: bool = True

    inputs = 1

    def __post_init__(self) -> None:
        if not self.by and not self.aggregates:
            raise DescriptionError("groupby: needs a key column or an aggregate")
        _different("groupby", [*self.by, *(one.name for one in self.aggregates)])


class DropDuplicates(msgspec.Struct, frozen=True, tag="drop_duplicates", gc=False):
    """The first or last row of each group of equal ``subset``; of equal rows where it is None."""

    subset: tuple[str, ...] | None = None
    keep: Keep = "first"

    inputs = 1

    def __post_init__(self) -> None:
        _one_of("drop_duplicates", "keep", self.keep, KEEPS)
        if self.subset is not None and not self.subset:
            raise DescriptionError("drop_duplicates: subset names no column; None means all")


class SetRows(msgspec.Struct, frozen=True, tag="set_rows", gc=False):
    """The different rows of input 0 and/or input 1."""

    kind: SetKind

    inputs = 2

    def __post_init__(self) -> None:
        _one_of("set operation", "kind", self.kind, SET_KINDS)


class Concat(msgspec.Struct, frozen=True, tag="concat", gc=False):
    """All rows of the inputs, input after input."""

    number_of_inputs: int
    ordered: bool = True

    def __post_init__(self) -> None:
        if self.number_of_inputs < 1:
            raise DescriptionError("concat: no frame is given")

    @property
    def inputs(self) -> int:
        """How many inputs there are."""
        return self.number_of_inputs


class Filter(msgspec.Struct, frozen=True, tag="filter", gc=False):
    """The rows of input 0 for which an expression is true."""

    predicate: bytes

    inputs = 1


class Derived(msgspec.Struct, frozen=True, gc=False):
    """One column of a result: a column of the input called ``source``, or an expression."""

    name: str
    source: str = ""
    expression: bytes = b""


class Project(msgspec.Struct, frozen=True, tag="project", gc=False):
    """These columns of input 0; with ``extend``, its own columns, too."""

    columns: tuple[Derived, ...]
    extend: bool = False

    inputs = 1

    def __post_init__(self) -> None:
        what = "assign" if self.extend else "select"
        if not self.columns:
            raise DescriptionError(f"{what}: no column is given")
        _different(what, [column.name for column in self.columns])


class Rename(msgspec.Struct, frozen=True, tag="rename", gc=False):
    """Input 0 with other names for some columns: (old, new)."""

    columns: tuple[tuple[str, str], ...]

    inputs = 1

    def __post_init__(self) -> None:
        _different("rename", [old for old, _ in self.columns])


class Drop(msgspec.Struct, frozen=True, tag="drop", gc=False):
    """Input 0 without some columns."""

    columns: tuple[str, ...]

    inputs = 1


class SliceRows(msgspec.Struct, frozen=True, tag="slice", gc=False):
    """Rows ``start`` up to ``stop`` of input 0, counted from the end where < 0, as in Python."""

    start: int | None = None
    stop: int | None = None

    inputs = 1


class Equals(msgspec.Struct, frozen=True, tag="equals", gc=False):
    """Whether inputs 0 and 1 hold the same rows; in the same order if ``ordered``. A value."""

    ordered: bool = True

    inputs = 2


class Repartition(msgspec.Struct, frozen=True, tag="repartition", gc=False):
    """Input 0 in even shares, or with equal values of ``by`` on one rank."""

    by: tuple[str, ...] = ()

    inputs = 1


class Window(msgspec.Struct, frozen=True, gc=False):
    """``function`` of ``column`` over a window, in a result column called ``name``."""

    name: str
    column: str
    function: WindowName

    def __post_init__(self) -> None:
        _one_of("rolling", "function", self.function, WINDOWS)


class Rolling(msgspec.Struct, frozen=True, tag="rolling", gc=False):
    """Input 0 with, for each row, functions of that row and the ``window - 1`` rows before it."""

    window: int
    columns: tuple[Window, ...]
    min_periods: int | None = None

    inputs = 1

    def __post_init__(self) -> None:
        if self.window < 1:
            raise DescriptionError(f"rolling: window={self.window}: at least one row is needed")
        if self.min_periods is not None and not 0 <= self.min_periods <= self.window:
            raise DescriptionError(
                f"rolling: min_periods={self.min_periods} is not from 0 to window={self.window}"
            )
        if not self.columns:
            raise DescriptionError('rolling: no column is given, such as total=("x", "sum")')
        _different("rolling", [column.name for column in self.columns])


class RankRows(msgspec.Struct, frozen=True, tag="rank", gc=False):
    """Input 0 sorted by a column, with each row's rank in a column called ``name``."""

    by: str
    method: RankMethod = "average"
    ascending: bool = True
    name: str = "rank"

    inputs = 1

    def __post_init__(self) -> None:
        _one_of("rank", "method", self.method, RANK_METHODS)


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


def _one_of(verb: str, what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        near = difflib.get_close_matches(str(given), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DescriptionError(f"{verb}: {what}={given!r} is none of {', '.join(known)}{hint}")


def _different(verb: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DescriptionError(f"{verb}: two columns are called {name!r}: rename one of them")
        seen.add(name)
