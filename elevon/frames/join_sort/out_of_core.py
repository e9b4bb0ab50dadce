"""Join and sort of more rows than the memory budget holds, over the local disk.

Join (Grace hash join; Kitsuregawa, Tanaka and Moto-oka, 1983): rows arrive round by round and are
written in partitions by the bits of their hash below those that chose the rank; then partition by
partition is read and joined. Sort: the splitters come from a sample of the unsorted rows; each
portion of the input is sorted, cut and written as a run; then range by range the pieces of all runs
are read, exchanged and merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa

from elevon import _native
from elevon.comm.protocol import Array, Communicator
from elevon.frames.exchange.own_bytes import apart
from elevon.frames.exchange.packed import bytes_of, unpack, whole
from elevon.frames.exchange.shuffle import shuffle_rounds
from elevon.frames.exchange.splitters import Splitters, choose_splitters
from elevon.frames.join_sort.inputs import (
    KEEPS_LEFT,
    KEEPS_RIGHT,
    JoinWork,
    SortWork,
    part_null_keys,
)
from elevon.frames.memory.budget import Counts, Portions, join_portions, sort_portions, trim
from elevon.frames.memory.spill import Piece, Spill
from elevon.frames.schema.join_plan import run_join

#: Which side of a partition may be taken in slices, each beside the whole other side: every row of
#: the sliced side is seen once, and rows of the other one are no part of the result by themselves.
SLICES_LEFT: Final = ("inner", "left", "semi", "anti")
SLICES_RIGHT: Final = ("inner", "right")

Parts = list[list[Piece]]


def join_external(
    comm: Communicator,
    work: JoinWork,
    facts: Counts,
    arriving: Counts,
    memory_bytes: int,
    threads: int,
    directory: str | None = None,
) -> pa.Table:
    """Join within the budget.

    Collective.

    Args:
        comm: the group.
        work: this rank's share.
        facts: of all ranks, as JoinWork tells them.
        arriving: bytes of both sides that each rank will have.
        memory_bytes: the budget of a rank.
        threads: how many threads the kernels may use.
        directory: where the scratch file lies; None: where TMPDIR says.

    Returns:
        This rank's part of the result.

    Raises:
        ResourceError: the disk is full.
    """
    portions = join_portions(
        memory_bytes, facts[:, :2], arriving, int(facts[:, 2:4].sum(axis=0).max())
    )
    with Spill(directory) as spill:
        left = _Side(comm, work.left, work.plan.left_on, work.plan.how in KEEPS_LEFT)
        right = _Side(comm, work.right, work.plan.right_on, work.plan.how in KEEPS_RIGHT)
        sides = [
            side.write(spill, portions, work, threads, settled)
            for side, settled in zip((left, right), work.settled, strict=True)
        ]
        trim(memory_bytes)
        results = []
        for pieces in zip(*sides, strict=True):
            results += _join_part(spill, pieces, work, portions, threads)
            trim(memory_bytes)
    empty = run_join(work.plan, work.left.slice(0, 0), work.right.slice(0, 0))
    return pa.concat_tables([empty, *results])


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a join on its way to the disk of the ranks that it belongs to."""

    comm: Communicator
    table: pa.Table
    on: Sequence[int]
    keeps: bool

    def write(
        self, spill: Spill, portions: Portions, work: JoinWork, threads: int, settled: bool
    ) -> Parts:
        """Every part's pieces, after all rounds."""
        parts: Parts = [[] for _ in range(portions.parts)]
        step = -(-self.table.num_rows // portions.rounds)
        for number in range(portions.rounds):
            rows = self.table.slice(min(number * step, self.table.num_rows), step)
            alone = rows.slice(0, 0)
            if not work.nulls_equal:
                rows, alone = part_null_keys(rows, self.on, self.keeps)
            if not settled:
                rows = self._exchange(rows, threads)
            self._write_parts(spill, rows, parts, threads)
            if alone.num_rows:
                parts[number % len(parts)].append(spill.write(alone))
            trim(work.memory_bytes or 0)
        return parts

    def _exchange(self, rows: pa.Table, threads: int) -> pa.Table:
        (arrived,) = shuffle_rounds(self.comm, rows, self.on, threads, 1)
        return unpack(self.table.schema, arrived)

    def _write_parts(self, spill: Spill, rows: pa.Table, parts: Parts, threads: int) -> None:
        """Partitioning by size * parts is finer than by size and cuts no partition of it in two."""
        first = self.comm.rank * len(parts)
        fine = _native.partition(rows, self.on, self.comm.size * len(parts), threads)
        for pieces, message in zip(parts, fine[first : first + len(parts)], strict=True):
            if message.num_rows:
                pieces.append(spill.write_packed(bytes_of(message), message.num_rows, rows.schema))


def _join_part(
    spill: Spill,
    pieces: tuple[list[Piece], list[Piece]],
    work: JoinWork,
    portions: Portions,
    threads: int,
) -> list[pa.Table]:
    """The rows of one part; in slices where one key has more rows than a part may have."""
    sizes = [sum(piece.nbytes for piece in side) for side in pieces]
    how = work.plan.how
    schemas = work.left.schema, work.right.schema
    if sum(sizes) > portions.part_bytes:
        if how in SLICES_LEFT and sizes[0] >= sizes[1]:
            right = _read(spill, pieces[1], schemas[1])
            return [
                _run(work, _read(spill, some, schemas[0]), right, threads)
                for some in _batches(pieces[0], portions.part_bytes)
            ]
        if how in SLICES_RIGHT:
            left = _read(spill, pieces[0], schemas[0])
            return [
                _run(work, left, _read(spill, some, schemas[1]), threads)
                for some in _batches(pieces[1], portions.part_bytes)
            ]
    # Also a part that is too large where the larger side may not be sliced: the join would have to
    # remember which rows of the whole side have met a partner. The budget is exceeded there.
    tables = [_read(spill, side, schema) for side, schema in zip(pieces, schemas, strict=True)]
    return [_run(work, tables[0], tables[1], threads)]


def _run(work: JoinWork, left: pa.Table, right: pa.Table, threads: int) -> pa.Table:
    return apart(run_join(work.plan, left, right, work.nulls_equal, threads))


def _read(spill: Spill, pieces: Sequence[Piece], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *map(spill.read, pieces)])


def _batches(pieces: Sequence[Piece], most_bytes: int) -> list[list[Piece]]:
    """Pieces in groups of at most so many bytes, or of one piece."""
    groups: list[list[Piece]] = []
    room = 0
    for piece in pieces:
        if not groups or piece.nbytes > room:
            groups.append([])
            room = most_bytes
        groups[-1].append(piece)
        room -= piece.nbytes
    return groups


def sort_external(
    comm: Communicator,
    work: SortWork,
    facts: Counts,
    memory_bytes: int,
    threads: int,
    directory: str | None = None,
) -> pa.Table:
    """Sort within the budget.

    Collective.

    Args:
        comm: the group.
        work: this rank's share.
        facts: of all ranks, as SortWork tells them.
        memory_bytes: the budget of a rank.
        threads: how many threads the kernels may use.
        directory: where the scratch file lies; None: where TMPDIR says.

    Returns:
        This rank's range of the sorted table.

    Raises:
        ResourceError: the disk is full.
    """
    portions = sort_portions(memory_bytes, facts[:, 1], int(facts[:, 0].max()))
    splitters = choose_splitters(comm, work.order, work.table, facts[:, 0], portions.parts)
    with Spill(directory) as spill:
        runs = _write_runs(comm, work, portions, splitters, spill, threads)
        trim(memory_bytes)
        ranges = []
        for number in range(portions.parts):
            ranges.append(_merge_range(comm, work, spill, runs, number, portions.parts, threads))
            trim(memory_bytes)
    return pa.concat_tables(ranges)


def _write_runs(
    comm: Communicator,
    work: SortWork,
    portions: Portions,
    splitters: Splitters,
    spill: Spill,
    threads: int,
) -> list[list[Piece]]:
    """Sorted runs, each cut into the pieces of all ranges."""
    table, runs = work.table, []
    step = max(1, -(-table.num_rows // portions.rounds))
    for start in range(0, table.num_rows, step):
        run = work.order.sort(table.slice(start, step), threads)
        bounds = splitters.cut(run, comm.rank, start)
        runs.append([spill.write(run.slice(a, b - a)) for a, b in pairwise(bounds)])
        trim(work.memory_bytes or 0)
    return runs


def _merge_range(
    comm: Communicator,
    work: SortWork,
    spill: Spill,
    runs: Sequence[Sequence[Piece]],
    number: int,
    parts: int,
    threads: int,
) -> pa.Table:
    """The next range of this rank, out of all ranks' runs; each rank merges its own ones first."""
    schema, order = work.table.schema, work.order

    def own_part(owner: int) -> pa.Table:
        pieces = [run[owner * parts + number] for run in runs]
        tables = [spill.read(piece) for piece in pieces if piece.rows]
        return order.merge([schema.empty_table(), *tables], threads)

    kept = own_part(comm.rank)
    nothing: Array = np.empty(0, dtype=np.uint8)
    arrived = comm.alltoallv(
        [nothing if rank == comm.rank else whole(own_part(rank)) for rank in range(comm.size)]
    )
    tables = [
        kept if rank == comm.rank else unpack(schema, [message])
        for rank, message in enumerate(arrived)
    ]
    return apart(order.merge(tables, threads))
