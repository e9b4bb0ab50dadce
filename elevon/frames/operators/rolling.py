"""Rolling windows over the global order of rows: each row with the rows just before it.

A rank gets from the ranks below the ``window - 1`` values before its own, whichever and however
many ranks hold them.

A window is put together out of windows of 1, 2, 4, ... rows, whose states combine. So the work
grows with the logarithm of the window, and nothing is ever subtracted from a running sum, which
would leave the rounding errors (or the NaN) of rows that have long left the window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError
from elevon.frames.aggregation.measures import check_number, in_form, is_number
from elevon.frames.aggregation.sort_groups import Rows
from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.requests import Request, settle
from elevon.frames.memory.budget import FEWEST_ROWS, check_memory
from elevon.frames.schema.decoded import Column
from elevon.frames.schema.join_plan import check_names, find_column
from elevon.frames.schema.plain import plain_columns
from elevon.model.algebra import Window

Reals = NDArray[np.float64]

#: What one row of a slice takes at most: its value, two states of three parts and their sum.
ROW_BYTES: Final = 160
#: Fewer valid values than these give no result, whatever ``min_periods`` says.
AT_LEAST: Final = {"count": 0, "sum": 0, "mean": 1, "min": 1, "max": 1, "var": 2, "std": 2}


def rolling(
    comm: Communicator,
    table: pa.Table,
    window: int,
    columns: Sequence[Window],
    min_periods: int | None = None,
    memory_bytes: int | None = None,
) -> pa.Table:
    """Functions of each row and the ``window - 1`` rows before it in the global order.

    Collective: every rank passes its rows, which follow those of the ranks below.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        window: how many rows a window has; the first rows have fewer before them.
        columns: what to compute. Nulls are left out. NaN makes its windows NaN, but a minimum or
            maximum looks past it.
        min_periods: how many valid values (for a count: rows) a window must have, or its result is
            null; ``window`` where None, as in pandas. A variance needs two, a mean or minimum one.
        memory_bytes: how much working memory each rank may take beside its input and its result.
            None: no limit.

    Returns:
        This rank's rows with the results as further columns: float64, count int64.

    Raises:
        DescriptionError: a name is there already, or one window alone is beyond the budget; on
            every rank.
        SchemaError: a column is missing or holds no numbers, on any rank; on every rank.
        CommunicatorError: the group failed.
    """
    needed = window if min_periods is None else min_periods

    def prepare() -> Request[dict[str, Column]]:
        check_memory(memory_bytes)
        check_names(table.schema)
        for one in columns:
            _check(table.schema, one)
        terms = f"rolling of {spell(table.schema)}: {window}, {min_periods}, {list(columns)}"
        # What is wanted of a column twice is made plain once.
        wanted = plain_columns(table.select(list(dict.fromkeys(one.column for one in columns))))
        used = dict(zip(wanted.column_names, wanted.columns, strict=True))
        return Request(used, f"{terms}, {memory_bytes=}", (table.num_rows, 0))

    used, facts = settle(comm, prepare)
    rows = facts[:, 0]
    count = _slices(memory_bytes, int(rows.max()), min(window, int(rows.sum())))
    found: list[list[Column]] = [[] for _ in columns]
    for name, column in used.items():
        for own, values in _with_rows_before(comm, column, rows, window - 1, count):
            for one, pieces in zip(columns, found, strict=True):
                if one.column == name:
                    made = _windows(values, one.function, window, needed)
                    pieces.append(made.slice(len(made) - own))
    for one, pieces in zip(columns, found, strict=True):
        chunks = [chunk for piece in pieces for chunk in piece.chunks]
        table = table.append_column(one.name, pa.chunked_array(chunks))
    return table


def _slices(memory_bytes: int | None, rows: int, window: int) -> int:
    """In how many slices the rows are worked through, each with the rows before it.

    Raises:
        DescriptionError: the rows before a slice are more than the budget holds.
    """
    nbytes = ROW_BYTES * (rows + window)
    if memory_bytes is None or nbytes <= memory_bytes:
        return 1
    room = memory_bytes // ROW_BYTES - window
    if room < min(FEWEST_ROWS, rows):
        raise DescriptionError(
            f"rolling: a window of {window:,} rows takes {ROW_BYTES * (window + FEWEST_ROWS):,} "
            f"bytes of working memory, more than the {memory_bytes:,} of memory_per_rank"
        )
    return -(-rows // room)


@dataclass(frozen=True, slots=True)
class _Values:
    """Numbers, and which of them are there (1.0) or null (0.0)."""

    numbers: Reals
    valid: Reals

    @staticmethod
    def of(column: Column) -> _Values:
        valid = column.is_valid().to_numpy().astype(np.float64)
        if not is_number(column.type):  # they are only counted
            return _Values(np.zeros(len(column)), valid)
        return _Values(in_form(column, "real").fill_null(0.0).to_numpy(), valid)

    def followed_by(self, later: _Values) -> _Values:
        """These values and the ones after them."""
        if not len(self.numbers):
            return later
        return _Values(
            np.concatenate([self.numbers, later.numbers]), np.concatenate([self.valid, later.valid])
        )

    def last(self, rows: int) -> _Values:
        """The last ones, not more than so many, without the others."""
        first = max(0, len(self.numbers) - rows)
        return _Values(self.numbers[first:].copy(), self.valid[first:].copy())

    def stacked(self) -> Reals:
        """As one array, to be sent."""
        return np.stack([self.numbers, self.valid]).ravel()


@dataclass(frozen=True, slots=True)
class _State:
    """For each row, of the rows of its window: how many, and sum, extremes or moments."""

    parts: tuple[Reals, ...]

    def before(self, rows: int) -> _State:
        """The states ``rows`` rows earlier; of windows without rows at the beginning."""
        kept = max(len(self.parts[0]) - rows, 0)
        return _State(
            tuple(
                np.concatenate([np.full(len(part) - kept, nothing), part[:kept]])
                for part, nothing in zip(self.parts, self.nothing, strict=True)
            )
        )

    @property
    def nothing(self) -> tuple[float, ...]:
        """The state of no rows."""
        return (0.0,) * len(self.parts)

    def after(self, older: _State) -> _State:
        """The states of the rows of both windows, of which ``older`` ends where this begins."""
        return _State(tuple(a + b for a, b in zip(older.parts, self.parts, strict=True)))


@dataclass(frozen=True, slots=True)
class _Extremes(_State):
    """(count, minimum, maximum); NaN where there is none, which fmin and fmax look past."""

    @property
    def nothing(self) -> tuple[float, ...]:
        return 0.0, np.nan, np.nan

    def before(self, rows: int) -> _State:
        return _Extremes(_State.before(self, rows).parts)

    def after(self, older: _State) -> _State:
        (n, low, high), (m, lower, higher) = self.parts, older.parts
        return _Extremes((n + m, np.fmin(low, lower), np.fmax(high, higher)))


@dataclass(frozen=True, slots=True)
class _Moments(_State):
    """(count, mean, M2), which combine as in ``aggregates``."""

    def before(self, rows: int) -> _State:
        return _Moments(_State.before(self, rows).parts)

    def after(self, older: _State) -> _State:
        (n, mean, m2), (m, other, others) = self.parts, older.parts
        total = np.maximum(n + m, 1)
        apart = np.where((n > 0) & (m > 0), mean - other, 0.0)
        middle = np.where(n > 0, np.where(m > 0, other + apart * (n / total), mean), other)
        return _Moments((n + m, middle, m2 + others + apart * apart * (n * m / total)))


def _check(schema: pa.Schema, one: Window) -> None:
    kind = schema.field(find_column(schema, one.column, "the table")).type
    if one.function != "count":
        check_number(kind, one.column, f"a rolling {one.function}")
    if one.name in schema.names:
        raise DescriptionError(
            f"rolling: the table has a column {one.name!r} already: {schema.names}"
        )


def _with_rows_before(
    comm: Communicator, column: Column, rows: Rows, wanted: int, count: int
) -> Iterator[tuple[int, _Values]]:
    """Slice by slice the number of its rows, and their values behind up to ``wanted`` before them.

    Collective: the values before the first slice come from the ranks below.
    """
    before, step = _rows_before(comm, column, rows, wanted), -(-len(column) // count)
    for start in range(0, max(1, len(column)), max(1, step)):
        own = _Values.of(column.slice(start, step))
        values = before.followed_by(own)
        yield len(own.numbers), values
        before = values.last(wanted)


def _rows_before(comm: Communicator, column: Column, rows: Rows, wanted: int) -> _Values:
    """Collective: up to ``wanted`` values from the ranks below."""
    if comm.size == 1:
        return _Values.of(column.slice(0, 0))
    starts = np.cumsum(rows) - rows
    first, last = int(starts[comm.rank]), int(starts[comm.rank] + rows[comm.rank])
    parts = []
    for rank, start in enumerate(starts.tolist()):
        low, high = max(start - wanted, first), min(start, last)
        mine = slice(low - first, high - first) if rank > comm.rank and low < high else slice(0, 0)
        parts.append(_Values.of(column.slice(mine.start, mine.stop - mine.start)).stacked())
    came = [part.reshape(2, -1) for part in comm.alltoallv(parts)]
    return _Values(*np.concatenate(came, axis=1))


@np.errstate(all="ignore")  # NaN and infinite values go where arithmetic takes them
def _windows(values: _Values, function: str, window: int, needed: int) -> Column:
    there = values.valid > 0
    if function in ("min", "max"):
        numbers = np.where(there, values.numbers, np.nan)
        state: _State = _Extremes((values.valid, numbers, numbers))
    elif function in ("var", "std"):
        state = _Moments((values.valid, values.numbers, np.zeros(len(values.numbers))))
    else:
        state = _State((values.valid, values.numbers))
    parts = _of_windows(state, window).parts
    # As in pandas, a count is of a window that has enough rows, null or not.
    rows = np.minimum(np.arange(1, len(there) + 1), window)
    counted = rows if function == "count" else parts[0]
    missing = counted < max(needed, AT_LEAST[function])
    return pa.chunked_array([pa.array(_result(function, parts), mask=missing)])


def _of_windows(state: _State, window: int) -> _State:
    """Put windows together out of those of 1, 2, 4, ... rows, newest rows first."""
    rows = len(state.parts[0])
    whole, covered, bit = state.before(rows), 0, 1
    # A window of more rows than there are holds the same rows as one of them all.
    wanted = min(window, rows)
    while bit <= wanted:
        if wanted & bit:
            whole = whole.after(state.before(covered))
            covered += bit
        state = state.after(state.before(bit))
        bit *= 2
    return whole


def _result(function: str, parts: tuple[Reals, ...]) -> NDArray[np.generic]:
    if function == "count":
        return parts[0].astype(np.int64)
    if function == "max":
        return parts[2]
    if function == "mean":
        return parts[1] / np.maximum(parts[0], 1)
    if function in ("var", "std"):
        variance = parts[2] / np.maximum(parts[0] - 1, 1)
        variance = np.where(np.isinf(parts[1]), np.nan, variance)
        return np.sqrt(variance) if function == "std" else variance
    return parts[1]
