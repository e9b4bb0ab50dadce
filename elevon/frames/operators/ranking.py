"""Ranks of rows: the place of each row among all rows sorted by a column.

Equal values form a run, which may begin and end on other ranks; every rank tells its first and last
value and the shape of its runs, and each then knows where its own begin and end. Within a memory
budget a rank's rows are numbered in several pieces, which know of each other in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError
from elevon.frames.aggregation.measures import missing_keys
from elevon.frames.aggregation.sort_groups import Groups, Rows, differ, plain_key
from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.requests import Request, settle
from elevon.frames.exchange.shuffle import replicate, take_rows
from elevon.frames.join_sort.distributed import sort
from elevon.frames.memory.budget import check_memory
from elevon.frames.memory.partitioned import fold_need, rounds_within, slices_of
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
    memory_bytes: int | None = None,
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
        memory_bytes: how much working memory each rank may take beside its input and its result;
            what does not fit goes to the local disk for a while. None: no limit.

    Returns:
        This rank's range of the sorted rows, with a further column: float64 for "average", int64
        otherwise; null where the value is null or NaN. Those rows come last.

    Raises:
        DescriptionError: ``method`` is unknown, or the table has a column ``name``; on every rank.
        SchemaError: the column is missing or has no order, on any rank; on every rank.
        CommunicatorError: the group failed.
    """

    def prepare() -> Request[None]:
        check_memory(memory_bytes)
        plan_sort(table.schema, by, ascending)
        if method not in RANK_METHODS:
            raise DescriptionError(f"rank: method={method!r} is none of {', '.join(RANK_METHODS)}")
        if name in table.column_names:
            raise DescriptionError(
                f"rank: the table has a column {name!r} already: give the ranks another name"
            )
        terms = f"rank of {spell(table.schema)} by {by}: {method} {ascending} {name}"
        return Request(None, f"{terms}, {memory_bytes=}")

    settle(comm, prepare)
    ordered = sort(comm, table, by, ascending, threads=threads, memory_bytes=memory_bytes)
    keys = ordered.select([by])
    count = _pieces(keys, memory_bytes)
    summaries = [_Summary.of(rows) for _, rows in slices_of(keys, count)]
    ranks = [
        _ranks(method, rows, place)
        for (_, rows), place in zip(slices_of(keys, count), _place(comm, summaries), strict=True)
    ]
    return ordered.append_column(name, pa.chunked_array(ranks))


def _pieces(keys: pa.Table, memory_bytes: int | None) -> int:
    """In how many pieces this rank's keys are numbered."""
    nbytes = 0 if memory_bytes is None else fold_need(own_bytes(keys) + 16 * int(keys.num_rows))
    return rounds_within(memory_bytes, nbytes, keys.num_rows)


def _ranks(method: str, keys: pa.Table, place: _Place) -> pa.Array[Any]:
    """The ranks of one piece; null for the rows without a value, which come last."""
    numbers = _numbers(method, _Runs.of(keys), place)
    missing = keys.num_rows - len(numbers)
    ranks = pa.array(np.append(numbers, np.zeros(missing, dtype=numbers.dtype)))
    return pc.if_else(pa.array(np.arange(len(ranks)) < len(numbers)), ranks, None)


@dataclass(frozen=True, slots=True)
class _Runs:
    """The runs of equal values in one piece: where each begins, and after the last one the end."""

    edges: Rows

    @staticmethod
    def of(keys: pa.Table) -> _Runs:
        missing = missing_keys(keys, [0])
        rows = keys.num_rows - (0 if missing is None else int(pc.sum(missing).as_py() or 0))
        column = plain_key(keys.column(0).slice(0, rows))
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
class _Summary:
    """What the others need to know of a piece: the shape of its runs, its first and last value."""

    shape: list[int]
    edge: pa.Table

    @staticmethod
    def of(keys: pa.Table) -> _Summary:
        runs = _Runs.of(keys)
        ends = np.array([0, runs.rows - 1] if len(runs) else [], dtype=np.int64)
        return _Summary(runs.shape(), take_rows(keys, ends))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one piece's runs lie among those of all pieces of all ranks.

    Attributes:
        before: how many rows the pieces before have.
        start: where the first run begins, in this piece or before.
        end: where the last run ends, in this piece or behind.
        dense: the number of the first run, counted from 1.
    """

    before: int
    start: int
    end: int
    dense: int


def _place(comm: Communicator, pieces: Sequence[_Summary]) -> list[_Place]:
    """Collective: follow the runs from piece to piece, upwards and downwards."""
    own = np.array([piece.shape for piece in pieces], dtype=np.int64)
    edges = pa.concat_tables([piece.edge for piece in pieces])
    if comm.size == 1:
        return _places(own, _joined(Groups.of(edges).numbers, own))
    told = [shapes.reshape(-1, 4) for shapes in comm.allgatherv(own.ravel())]
    first, shapes = sum(len(each) for each in told[: comm.rank]), np.concatenate(told)
    joined = _joined(Groups.of(replicate(comm, edges)).numbers, shapes)
    return _places(shapes, joined)[first : first + len(pieces)]


def _joined(edges: Rows, shapes: NDArray[np.int64]) -> list[bool]:
    """For each piece, whether its first value is the last value of the pieces before."""
    joined, at = [], 0
    for rows in shapes[:, 0].tolist():
        joined.append(rows > 0 and at > 0 and bool(edges[at - 1] == edges[at]))
        at += 2 if rows else 0
    return joined


def _places(shapes: NDArray[np.int64], joined: list[bool]) -> list[_Place]:
    """The places of all pieces' runs; a run that goes on over several pieces has one place."""
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
    """Where each piece's last run ends, seen from the last piece on."""
    ends, end, goes_on = [0] * len(before), 0, False
    for piece in reversed(range(len(before))):
        rows, runs, first, _ = shapes[piece].tolist()
        ends[piece] = end if goes_on else before[piece] + rows
        if rows:
            end = ends[piece] if runs == 1 else before[piece] + first
            goes_on = joined[piece]
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
