"""Join and sort of more rows than the memory budget holds, over the local disk.

Join (Grace hash join; Kitsuregawa, Tanaka and Moto-oka, 1983): rows arrive round by round and are
written in partitions by the bits of their hash below those that chose the rank; then partition by
partition is read and joined. Sort: the splitters come from a sample of the unsorted rows; each
portion of the input is sorted, cut and written as a run; then range by range the pieces of all runs
are read, exchanged and merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from elevon import _native
from elevon.comm.protocol import Array, Communicator
from elevon.frames.exchange.own_bytes import apart
from elevon.frames.exchange.packed import bytes_of, unpack, whole
from elevon.frames.exchange.partitioning import Placed, shuffled
from elevon.frames.exchange.shuffle import shuffle_rounds
from elevon.frames.exchange.splitters import Splitters, choose_splitters
from elevon.frames.join_sort.facts import JoinFacts, SortFacts
from elevon.frames.join_sort.inputs import SPLITS_LEFT, SPLITS_RIGHT, JoinInputs, Side, SortInputs
from elevon.frames.memory.budget import Counts, Portions, join_portions, sort_portions, trim
from elevon.frames.memory.spill import Piece, Spill
from elevon.frames.schema.empty import empty_table

Parts = list[list[Piece]]


def join_out_of_core(
    comm: Communicator,
    inputs: JoinInputs,
    facts: JoinFacts,
    arriving: Counts,
    directory: str | None = None,
) -> Placed:
    """Join within the budget.

    Collective.

    Args:
        comm: the group.
        inputs: of this rank.
        facts: of all ranks, with a budget.
        arriving: bytes of both sides that a shuffle brings to each rank.
        directory: where the scratch file lies; None: where TMPDIR says.

    Returns:
        This rank's part of the result, as after a shuffle of both sides.

    Raises:
        ResourceError: the disk is full.
    """
    memory_bytes = facts.memory_bytes or 0
    rows = int(facts.rows.sum(axis=0).max())
    portions = join_portions(memory_bytes, facts.nbytes, arriving, rows)
    with Spill(directory) as spill:
        writer = _Writer(comm, spill, portions, inputs.threads, memory_bytes)
        sides = [
            writer.write(side, settled)
            for side, settled in zip(inputs.sides, facts.settled, strict=True)
        ]
        trim(memory_bytes)
        results = [inputs.run(inputs.left.slice(0, 0), inputs.right.slice(0, 0))]
        for pieces in zip(*sides, strict=True):
            results += _join_part(spill, pieces, inputs, portions)
            trim(memory_bytes)
    return Placed(pa.concat_tables(results), shuffled(inputs.plan, comm.size, comm.rank))


@dataclass(frozen=True, slots=True)
class _Writer:
    """Brings the sides of a join to the disk of the ranks that they belong to."""

    comm: Communicator
    spill: Spill
    portions: Portions
    threads: int
    memory_bytes: int

    def write(self, side: Side, settled: bool) -> Parts:
        """Every part's pieces, after all rounds."""
        parts: Parts = [[] for _ in range(self.portions.parts)]
        table = side.table
        step = -(-table.num_rows // self.portions.rounds)
        for number in range(self.portions.rounds):
            rows = table.slice(min(number * step, table.num_rows), step)
            keyed, alone = replace(side, table=rows).part_null_keys()
            if not settled:
                keyed = self._exchange(keyed, side.on)
            self._write_parts(keyed, side.on, parts)
            if alone.num_rows:
                parts[number % len(parts)].append(self.spill.write(alone))
            trim(self.memory_bytes)
        return parts

    def _exchange(self, rows: pa.Table, on: Sequence[int]) -> pa.Table:
        (arrived,) = shuffle_rounds(self.comm, rows, on, self.threads, 1)
        return unpack(rows.schema, arrived)

    def _write_parts(self, rows: pa.Table, on: Sequence[int], parts: Parts) -> None:
        """Partitioning by size * parts is finer than by size and cuts no partition of it in two."""
        first = self.comm.rank * len(parts)
        fine = _native.partition(rows, on, self.comm.size * len(parts), self.threads)
        for pieces, message in zip(parts, fine[first : first + len(parts)], strict=True):
            if message.num_rows:
                packed = bytes_of(message)
                pieces.append(self.spill.write_packed(packed, message.num_rows, rows.schema))


def _join_part(
    spill: Spill,
    pieces: tuple[list[Piece], list[Piece]],
    inputs: JoinInputs,
    portions: Portions,
) -> list[pa.Table]:
    """The rows of one part; in slices where one key has more rows than a part may have."""
    sizes = [sum(piece.nbytes for piece in side) for side in pieces]
    how = inputs.plan.how
    schemas = inputs.left.schema, inputs.right.schema
    if sum(sizes) > portions.part_bytes:
        if how in SPLITS_LEFT and sizes[0] >= sizes[1]:
            right = _read(spill, pieces[1], schemas[1])
            return [
                apart(inputs.run(_read(spill, some, schemas[0]), right))
                for some in _batches(pieces[0], portions.part_bytes)
            ]
        if how in SPLITS_RIGHT:
            left = _read(spill, pieces[0], schemas[0])
            return [
                apart(inputs.run(left, _read(spill, some, schemas[1])))
                for some in _batches(pieces[1], portions.part_bytes)
            ]
    # Also a part that is too large where the larger side may not be sliced: the join would have to
    # remember which rows of the whole side have met a partner. The budget is exceeded there.
    tables = [_read(spill, side, schema) for side, schema in zip(pieces, schemas, strict=True)]
    return [apart(inputs.run(*tables))]


def _read(spill: Spill, pieces: Sequence[Piece], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([empty_table(schema), *map(spill.read, pieces)])


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


def sort_out_of_core(
    comm: Communicator, inputs: SortInputs, facts: SortFacts, directory: str | None = None
) -> pa.Table:
    """Sort within the budget.

    Collective.

    Args:
        comm: the group.
        inputs: of this rank.
        facts: of all ranks, with a budget.
        directory: where the scratch file lies; None: where TMPDIR says.

    Returns:
        This rank's range of the sorted table.

    Raises:
        ResourceError: the disk is full.
    """
    memory_bytes = facts.memory_bytes or 0
    nbytes = np.array(facts.nbytes, dtype=np.int64)
    portions = sort_portions(memory_bytes, nbytes, max(facts.rows))
    splitters = choose_splitters(comm, inputs.order, inputs.table, facts.row_counts, portions.parts)
    with Spill(directory) as spill:
        runs = _write_runs(comm, inputs, portions, splitters, spill)
        trim(memory_bytes)
        ranges = []
        for number in range(portions.parts):
            pieces = [run[number :: portions.parts] for run in runs]
            ranges.append(_merge_range(comm, inputs, spill, pieces))
            trim(memory_bytes)
    return pa.concat_tables(ranges)


def _write_runs(
    comm: Communicator, inputs: SortInputs, portions: Portions, splitters: Splitters, spill: Spill
) -> list[list[Piece]]:
    """Sorted runs, each cut into the pieces of all ranges."""
    table, runs = inputs.table, []
    step = max(1, -(-table.num_rows // portions.rounds))
    for start in range(0, table.num_rows, step):
        run = inputs.order.sort(table.slice(start, step), inputs.threads)
        bounds = splitters.cut(run, comm.rank, start)
        runs.append([spill.write(run.slice(a, b - a)) for a, b in pairwise(bounds)])
        trim(inputs.memory_bytes or 0)
    return runs


def _merge_range(
    comm: Communicator, inputs: SortInputs, spill: Spill, runs: Sequence[Sequence[Piece]]
) -> pa.Table:
    """The next range of this rank, out of all ranks' runs; each rank merges its own ones first.

    Args:
        comm: the group.
        inputs: of this rank.
        spill: where the runs lie.
        runs: of each run one piece for each rank.
    """
    schema, order, threads = inputs.table.schema, inputs.order, inputs.threads

    def own_part(owner: int) -> pa.Table:
        tables = [spill.read(run[owner]) for run in runs if run[owner].rows]
        return order.merge([empty_table(schema), *tables], threads)

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
