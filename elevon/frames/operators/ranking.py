"""Ranks of rows: the place of each row among all rows sorted by a column.

Equal values form a run, which may begin and end on other ranks; every rank tells its first and last
value and the shape of its runs, and each then knows where its own begin and end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError
from elevon.frames.aggregation.measures import missing_keys
from elevon.frames.aggregation.sort_groups import Groups, Rows, differ, plain_key
from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.requests import Request, settle
from elevon.frames.exchange.shuffle import replicate, take_rows
from elevon.frames.join_sort.distributed import sort
from elevon.frames.schema.sort_plan import plan_sort
from elevon.model.algebra import RANK_METHODS

Numbers = NDArray[np.float64] | Rows


def rank_rows(
    comm: Communicator,
    table: pa.Table,
    by: str,
    method: str = "average",
    ascending: bool = True,
    name: str = "rank",
    threads: int = 1,
) -> pa.Table:
    """Sort by a column and number the rows, as ``pandas.Series.rank`` numbers values.

    Collective: every rank passes its rows and gets its range of the sorted table.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        by: name of the column.
        method: what equal values get: the "average", "min" or "max" of their places, their place
            in the order in which they come ("first"), or the number of different values up to
            theirs ("dense").
        ascending: whether the smallest value gets rank 1.
        name: what the column of ranks is called.
        threads: how many threads the kernels may use on this rank.

    Returns:
        This rank's range of the sorted rows, with a further column: float64 for "average", int64
        otherwise; null where the value is null or NaN. Those rows come last.

    Raises:
        DescriptionError: ``method`` is unknown, or the table has a column ``name``; on every rank.
        SchemaError: the column is missing or has no order, on any rank; on every rank.
        CommunicatorError: the group failed.
    """

    def prepare() -> Request[None]:
        plan_sort(table.schema, by, ascending)
        if method not in RANK_METHODS:
            raise DescriptionError(f"rank: method={method!r} is none of {', '.join(RANK_METHODS)}")
        if name in table.column_names:
            raise DescriptionError(
                f"rank: the table has a column {name!r} already: give the ranks another name"
            )
        return Request(None, f"rank of {spell(table.schema)} by {by}: {method} {ascending} {name}")

    settle(comm, prepare)
    ordered = sort(comm, table, by, ascending, threads=threads)
    keys = ordered.select([by])
    missing = missing_keys(keys, [0])
    valid = ordered.num_rows - (0 if missing is None else int(pc.sum(missing).as_py() or 0))
    runs = _Runs.of(keys.slice(0, valid))
    numbers = _numbers(method, runs, _place(comm, runs, keys))
    ranks = pa.array(np.append(numbers, np.zeros(ordered.num_rows - valid, dtype=numbers.dtype)))
    there = np.arange(ordered.num_rows) < valid
    return ordered.append_column(name, pc.if_else(pa.array(there), ranks, None))


@dataclass(frozen=True, slots=True)
class _Runs:
    """The runs of equal values on one rank: where each begins, and after the last one the end."""

    edges: Rows

    @staticmethod
    def of(keys: pa.Table) -> _Runs:
        column = plain_key(keys.column(0))
        rows = len(column)
        changes = differ(column.slice(1), column.slice(0, max(rows - 1, 0)))
        inner = np.flatnonzero(changes) + 1
        return _Runs(np.concatenate([[0], inner, [rows]] if rows else [[0]]).astype(np.int64))

    @property
    def rows(self) -> int:
        return int(self.edges[-1])

    def __len__(self) -> int:
        return len(self.edges) - 1

    def shape(self) -> list[int]:
        """How many rows and runs there are, and how long the first and the last run are."""
        if not len(self):
            return [0, 0, 0, 0]
        lengths = np.diff(self.edges)
        return [self.rows, len(self), int(lengths[0]), int(lengths[-1])]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one rank's runs lie among those of all ranks.

    Attributes:
        before: how many rows the ranks below have.
        start: where the first run begins, on this rank or below.
        end: where the last run ends, on this rank or above.
        dense: the number of the first run, counted from 1.
    """

    before: int
    start: int
    end: int
    dense: int


def _place(comm: Communicator, runs: _Runs, keys: pa.Table) -> _Place:
    """Collective: follow the runs from rank to rank, upwards and downwards."""
    if comm.size == 1:
        return _Place(0, 0, runs.rows, 1)
    shapes = comm.allgather(np.array(runs.shape(), dtype=np.int64))
    edge = take_rows(keys, np.array([0, runs.rows - 1] if len(runs) else [], dtype=np.int64))
    joined = _joined(Groups.of(replicate(comm, edge)).numbers, shapes)
    return _places(shapes, joined)[comm.rank]


def _joined(edges: Rows, shapes: NDArray[np.int64]) -> list[bool]:
    """For each rank, whether its first value is the last value of the ranks below."""
    joined, at = [], 0
    for rows in shapes[:, 0].tolist():
        joined.append(rows > 0 and at > 0 and bool(edges[at - 1] == edges[at]))
        at += 2 if rows else 0
    return joined


def _places(shapes: NDArray[np.int64], joined: list[bool]) -> list[_Place]:
    """The places of all ranks' runs; a run that goes on over several ranks has one place."""
    before = (np.cumsum(shapes[:, 0]) - shapes[:, 0]).tolist()
    starts, denses, start, dense = [], [], 0, 0
    for (rows, runs, _, last), base, goes_on in zip(shapes.tolist(), before, joined, strict=True):
        starts.append(start if goes_on else base)
        denses.append(dense if goes_on else dense + 1)
        if rows:
            start = starts[-1] if runs == 1 else base + rows - last
            dense = denses[-1] + runs - 1
    return [
        _Place(base, first, end, number)
        for base, first, end, number in zip(
            before, starts, _ends(shapes, before, joined), denses, strict=True
        )
    ]


def _ends(shapes: NDArray[np.int64], before: list[int], joined: list[bool]) -> list[int]:
    """Where each rank's last run ends, seen from the highest rank down."""
    ends, end, goes_on = [0] * len(before), 0, False
    for rank in reversed(range(len(before))):
        rows, runs, first, _ = shapes[rank].tolist()
        ends[rank] = end if goes_on else before[rank] + rows
        if rows:
            end = ends[rank] if runs == 1 else before[rank] + first
            goes_on = joined[rank]
    return ends


def _numbers(method: str, runs: _Runs, place: _Place) -> Numbers:
    """Each row's rank, from 1."""
    lengths = np.diff(runs.edges)
    if method == "first":
        return np.arange(1, runs.rows + 1, dtype=np.int64) + place.before
    if method == "dense":
        return np.repeat(np.arange(len(runs), dtype=np.int64) + place.dense, lengths)
    starts, ends = runs.edges[:-1] + place.before, runs.edges[1:] + place.before
    starts[:1], ends[-1:] = place.start, place.end
    if method == "average":
        return np.repeat((starts + 1 + ends) / 2, lengths)
    return np.repeat(starts + 1 if method == "min" else ends, lengths)
