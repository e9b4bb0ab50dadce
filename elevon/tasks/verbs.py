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
from elevon.model import checks
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
    as_flags,
    as_names,
    as_slice,
    as_windows,
    may_be_aggregate,
    may_be_column,
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
        suffixes: tuple[str | None, str | None] = ("_x", "_y"),
        nulls_equal: bool = False,
        **options: Any,
    ) -> T:
        """Join two frames; names as in ``pandas.merge``, plus ``how="semi"`` and ``"anti"``.

        Null keys never match, as in SQL, unless ``nulls_equal``.
        """
        left_keys = as_names("join: on", on if on is not None else left_on)
        right_keys = as_names("join: on", on if on is not None else right_on)
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
        suffixes: tuple[str | None, str | None] = ("_x", "_y"),
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
        keys = as_names("sort: by", by)
        directions = as_flags("sort: ascending", ascending, len(keys))
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
        ``p90=("x", "quantile", 0.9)``. A column that is called like a task option goes into the
        mapping ``aggregates``.
        """
        columns, options = split_options("groupby", named, may_be_aggregate)
        operation = GroupBy(
            checks.names("groupby: by", by), as_aggregates(aggregates, columns), dropna
        )
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
        named, options = split_options("rolling", named, may_be_aggregate)
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
        names = checks.optional(checks.names, "drop_duplicates: subset", subset)
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
        if hasattr(type(frames), "__arrow_c_stream__"):
            raise DescriptionError("concat: one frame is given where a list of frames is meant")
        given = checks.listed("concat: frames", frames)
        return self.run(Concat(len(given), ordered), given, options)

    # -------------------------------------------------------------- rows and columns

    def filter(self, frame: Frame, /, expression: pc.Expression, **options: Any) -> T:
        """The rows for which an expression is true: ``filter(frame, pc.field("x") > 1)``."""
        from elevon.frames.operators.expressions import to_bytes

        return self.run(Filter(to_bytes(expression)), (frame,), options)

    def select(self, frame: Frame, /, *columns: str | Keywords, **named: Any) -> T:
        """Some columns, and computed ones: ``select(frame, "k", twice=pc.field("x") * 2)``.

        A name as a value renames a column. A column that is called like a task option goes into
        a mapping: ``select(frame, {"name": "k"})``.
        """
        named, options = split_options("select", named, may_be_column)
        return self.run(Project(as_columns("select", columns, named)), (frame,), options)

    def assign(self, frame: Frame, /, columns: Keywords | None = None, **named: Any) -> T:
        """All columns, and computed ones beside them or in their place; see ``select``."""
        named, options = split_options("assign", named, may_be_column)
        if columns is not None:
            checks.pairs("assign: columns", columns)  # a name alone would be no new column
        derived = as_columns("assign", () if columns is None else (columns,), named)
        return self.run(Project(derived, extend=True), (frame,), options)

    def rename(self, frame: Frame, /, columns: Keywords, **options: Any) -> T:
        """Other names for some columns: ``{"old": "new"}``."""
        return self.run(Rename(checks.pairs("rename: columns", columns)), (frame,), options)

    def drop(self, frame: Frame, /, columns: Names, **options: Any) -> T:
        """All columns but these."""
        return self.run(Drop(checks.names("drop: columns", columns)), (frame,), options)

    def slice(
        self, frame: Frame, /, offset: int = 0, length: int | None = None, **options: Any
    ) -> T:
        """``length`` rows from ``offset`` on, counted from the end where negative."""
        return self.run(SliceRows(*as_slice(offset, length)), (frame,), options)

    def head(self, frame: Frame, /, rows: int = 5, **options: Any) -> T:
        """The first rows; all but the last ``-rows`` where negative."""
        return self.run(SliceRows(0, checks.whole("head: rows", rows)), (frame,), options)

    def tail(self, frame: Frame, /, rows: int = 5, **options: Any) -> T:
        """The last rows; all but the first ``-rows`` where negative."""
        wanted = checks.whole("tail: rows", rows)
        last = SliceRows(-wanted) if wanted else SliceRows(0, 0)
        return self.run(last, (frame,), options)

    def repartition(self, frame: Frame, /, by: Names | None = None, **options: Any) -> T:
        """Even shares on the ranks, in order; or equal values of ``by`` on one rank."""
        return self.run(Repartition(as_names("repartition: by", by)), (frame,), options)

    # -------------------------------------------------------------- values

    def equals(self, left: Frame, /, right: Frame, *, ordered: bool = True, **options: Any) -> T:
        """Whether both frames have the same columns and rows; the result is True or False."""
        return self.run(Equals(ordered), (left, right), options)

    def write_parquet(
        self,
        frame: Frame,
        path: str | os.PathLike[str],
        compression: str | None = "zstd",
        *,
        overwrite: bool = False,
        **options: Any,
    ) -> T:
        """Write a frame, one file per rank, under the directory ``path``; gives the paths.

        A directory that holds such files already is refused unless ``overwrite``.
        """
        target = absolute(checks.path("write_parquet: path", path))
        codec = "none" if compression is None else compression
        return self.run(WriteParquet(target, codec, overwrite), (frame,), options)


def absolute(path: str) -> str:
    """Ranks need not share the client's working directory; URLs stay as they are.

    Raises:
        DescriptionError: the path is relative to a directory that is gone.
    """
    try:
        return path if "://" in path else os.path.abspath(path)
    except OSError as error:
        raise DescriptionError(
            f"{path!r} is relative, and the working directory cannot be found: {error.strerror}"
        ) from error
