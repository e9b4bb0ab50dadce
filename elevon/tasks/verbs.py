"""The verbs over frames, under pandas' names: each makes one operation and submits it.

Every verb takes task options, too (``ranks=4``), and returns a Task at once. What the operations do
to nulls, NaN and order, the functions of ``elevon.frames`` say.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from elevon.errors import DescriptionError
from elevon.model.algebra import (
    Concat,
    Drop,
    DropDuplicates,
    Equals,
    Filter,
    GroupBy,
    Keep,
    Project,
    RankMethod,
    RankRows,
    Rename,
    Repartition,
    Rolling,
    SetRows,
    SliceRows,
)
from elevon.model.operations import How, Join, NaPosition, Operation, Sort, WriteParquet
from elevon.tasks.arguments import (
    Keywords,
    Names,
    as_aggregates,
    as_columns,
    as_names,
    as_slice,
    as_windows,
    split_options,
)

if TYPE_CHECKING:
    import pyarrow.compute as pc

Frame: TypeAlias = Any
"""A Task or Dataset, or a table of the client (anything with ``__arrow_c_stream__``)."""

T = TypeVar("T")


class Verbs(ABC, Generic[T]):
    """What can be done with frames; ``T`` is what a submission gives back."""

    @abstractmethod
    def run(self, operation: Operation, frames: Sequence[Frame], options: dict[str, Any]) -> T:
        """Submit one operation on some frames."""

    # -------------------------------------------------------------- joins and sorts

    def join(
        self,
        left: Frame,
        right: Frame,
        *,
        on: Names | None = None,
        left_on: Names | None = None,
        right_on: Names | None = None,
        how: How = "inner",
        suffixes: tuple[str, str] = ("_x", "_y"),
        nulls_equal: bool = False,
        **options: Any,
    ) -> T:
        """Join two frames; names as in ``pandas.merge``, plus ``how="semi"`` and ``"anti"``.

        Null keys never match, as in SQL, unless ``nulls_equal``.
        """
        left_keys = as_names(on if on is not None else left_on)
        right_keys = as_names(on if on is not None else right_on)
        if on is not None and (left_on is not None or right_on is not None):
            raise DescriptionError("join: give either on, or left_on and right_on")
        operation = Join(left_keys, right_keys, how, suffixes, nulls_equal)
        return self.run(operation, (left, right), options)

    def merge(
        self,
        left: Frame,
        /,
        right: Frame,
        how: How = "inner",
        on: Names | None = None,
        left_on: Names | None = None,
        right_on: Names | None = None,
        *,
        suffixes: tuple[str, str] = ("_x", "_y"),
        nulls_equal: bool = False,
        **options: Any,
    ) -> T:
        """The join under pandas' name; the keys have to be named."""
        return self.join(
            left,
            right,
            on=on,
            left_on=left_on,
            right_on=right_on,
            how=how,
            suffixes=suffixes,
            nulls_equal=nulls_equal,
            **options,
        )

    def sort(
        self,
        frame: Frame,
        *,
        by: Names,
        ascending: bool | Sequence[bool] = True,
        na_position: NaPosition = "last",
        **options: Any,
    ) -> T:
        """Sort a frame, stably; rank r of the result holds the r-th range of the order."""
        keys = as_names(by)
        directions = (
            (ascending,) * len(keys) if isinstance(ascending, bool) else tuple(map(bool, ascending))
        )
        return self.run(Sort(keys, directions, na_position), (frame,), options)

    def sort_values(
        self,
        frame: Frame,
        /,
        by: Names,
        *,
        ascending: bool | Sequence[bool] = True,
        na_position: NaPosition = "last",
        **options: Any,
    ) -> T:
        """The sort under pandas' name."""
        return self.sort(frame, by=by, ascending=ascending, na_position=na_position, **options)

    # -------------------------------------------------------------- groups and windows

    def groupby(
        self,
        frame: Frame,
        /,
        by: Names,
        aggregates: Keywords | None = None,
        *,
        dropna: bool = True,
        **named: Any,
    ) -> T:
        """Aggregate per group: ``groupby(frame, "k", total=("x", "sum"))``.

        Functions: sum, min, max, count, size, mean, var, std, nunique, median and quantile, as in
        ``p90=("x", "quantile", 0.9)``. Names that are task options go into ``aggregates``.
        """
        columns, options = split_options(named)
        operation = GroupBy(as_names(by), as_aggregates(aggregates, columns), dropna)
        return self.run(operation, (frame,), options)

    def aggregate(self, frame: Frame, /, aggregates: Keywords | None = None, **named: Any) -> T:
        """Aggregate all rows into one, with aggregates as in ``groupby``."""
        return self.groupby(frame, (), aggregates, **named)

    def rolling(
        self,
        frame: Frame,
        /,
        window: int,
        columns: Keywords | None = None,
        *,
        min_periods: int | None = None,
        **named: Any,
    ) -> T:
        """Add functions of each row and the rows before it: ``rolling(frame, 7, m=("x", "mean"))``.

        Functions: sum, mean, min, max, count, var, std. The order is the frame's own: sort it
        first.
        """
        named, options = split_options(named)
        operation = Rolling(window, as_windows(columns, named), min_periods)
        return self.run(operation, (frame,), options)

    def rank(
        self,
        frame: Frame,
        /,
        by: str,
        *,
        method: RankMethod = "average",
        ascending: bool = True,
        column: str = "rank",
        **options: Any,
    ) -> T:
        """Sort by a column and add each row's rank; methods as in ``pandas.Series.rank``."""
        return self.run(RankRows(by, method, ascending, column), (frame,), options)

    # -------------------------------------------------------------- rows as sets

    def drop_duplicates(
        self, frame: Frame, /, subset: Names | None = None, *, keep: Keep = "first", **options: Any
    ) -> T:
        """Keep the first or last of equal rows, or of rows with equal ``subset``; in order."""
        names = None if subset is None else as_names(subset)
        return self.run(DropDuplicates(names, keep), (frame,), options)

    def union(self, left: Frame, /, right: Frame, **options: Any) -> T:
        """The different rows of both frames, each once; ``concat`` keeps them all."""
        return self.run(SetRows("union"), (left, right), options)

    def intersect(self, left: Frame, /, right: Frame, **options: Any) -> T:
        """The different rows that both frames have."""
        return self.run(SetRows("intersect"), (left, right), options)

    def subtract(self, left: Frame, /, right: Frame, **options: Any) -> T:
        """The different rows of the left frame that the right one does not have."""
        return self.run(SetRows("subtract"), (left, right), options)

    def concat(self, frames: Sequence[Frame], *, ordered: bool = True, **options: Any) -> T:
        """All rows, frame after frame; ``ordered=False`` moves none and mixes the frames."""
        return self.run(Concat(len(frames), ordered), tuple(frames), options)

    # -------------------------------------------------------------- rows and columns

    def filter(self, frame: Frame, /, expression: pc.Expression, **options: Any) -> T:
        """The rows for which an expression is true: ``filter(frame, pc.field("x") > 1)``."""
        from elevon.frames.operators.expressions import to_bytes

        return self.run(Filter(to_bytes(expression)), (frame,), options)

    def select(self, frame: Frame, /, *columns: str | Keywords, **named: Any) -> T:
        """Some columns, and computed ones: ``select(frame, "k", twice=pc.field("x") * 2)``.

        A name as a value renames a column. Names that are task options go into a mapping.
        """
        named, options = split_options(named)
        return self.run(Project(as_columns("select", columns, named)), (frame,), options)

    def assign(self, frame: Frame, /, columns: Keywords | None = None, **named: Any) -> T:
        """All columns, and computed ones beside them or in their place; see ``select``."""
        named, options = split_options(named)
        derived = as_columns("assign", [columns or {}], named)
        return self.run(Project(derived, extend=True), (frame,), options)

    def rename(self, frame: Frame, /, columns: Keywords, **options: Any) -> T:
        """Other names for some columns: ``{"old": "new"}``."""
        return self.run(Rename(tuple(columns.items())), (frame,), options)

    def drop(self, frame: Frame, /, columns: Names, **options: Any) -> T:
        """All columns but these."""
        return self.run(Drop(as_names(columns)), (frame,), options)

    def slice(
        self, frame: Frame, /, offset: int = 0, length: int | None = None, **options: Any
    ) -> T:
        """``length`` rows from ``offset`` on, counted from the end where negative."""
        return self.run(SliceRows(*as_slice(offset, length)), (frame,), options)

    def head(self, frame: Frame, /, rows: int = 5, **options: Any) -> T:
        """The first rows; all but the last ``-rows`` where negative."""
        return self.run(SliceRows(0, rows), (frame,), options)

    def tail(self, frame: Frame, /, rows: int = 5, **options: Any) -> T:
        """The last rows; all but the first ``-rows`` where negative."""
        last = SliceRows(-rows) if rows else SliceRows(0, 0)
        return self.run(last, (frame,), options)

    def repartition(self, frame: Frame, /, by: Names | None = None, **options: Any) -> T:
        """Even shares on the ranks, in order; or equal values of ``by`` on one rank."""
        return self.run(Repartition(as_names(by)), (frame,), options)

    # -------------------------------------------------------------- values

    def equals(self, left: Frame, /, right: Frame, *, ordered: bool = True, **options: Any) -> T:
        """Whether both frames have the same columns and rows; the result is True or False."""
        return self.run(Equals(ordered), (left, right), options)

    def write_parquet(
        self, frame: Frame, path: str | os.PathLike[str], compression: str = "zstd", **options: Any
    ) -> T:
        """Write a frame, one file per rank, under the directory ``path``; gives the paths."""
        target = absolute(os.fspath(path))
        return self.run(WriteParquet(target, compression), (frame,), options)


def absolute(path: str) -> str:
    """Ranks need not share the client's working directory; URLs stay as they are."""
    return path if "://" in path else os.path.abspath(path)
