"""Large tables chunk by chunk: what has been worked on is free before the next chunk arrives.

All rows are packed at once, in a few chunks for each rank; then chunk after chunk travels, is
joined or sorted, and is released. So a rank never holds at one time its input, all that arrived,
the kernel's scratch and the result, but its input, what it has not sent yet, and one chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from elevon import _native
from elevon.comm.protocol import Array, Communicator
from elevon.frames.exchange.packed import unpack
from elevon.frames.exchange.partitioning import Placed, shuffled
from elevon.frames.exchange.ranges import RANGE_SAMPLES, number_rows
from elevon.frames.exchange.splitters import Splitters, choose_splitters
from elevon.frames.join_sort.facts import JoinFacts, SortFacts
from elevon.frames.join_sort.in_memory import cut_and_merge
from elevon.frames.join_sort.inputs import JoinInputs, Side, SortInputs

#: Chunks for each rank of two, and of more. The kernel moves rows to eight targets at most at full
#: speed; more ranks are beyond that anyway, and get more of each chunk from elsewhere. They keep
#: the peak at 2.5 times the input, result included. What has been sent is not given back to the
#: system: the kernels lay scratch and result in the same pages.
CHUNKS_OF_TWO: Final = 4
CHUNKS: Final = 6


def join_chunked(comm: Communicator, inputs: JoinInputs, facts: JoinFacts) -> Placed:
    """Join two tables of which none has a skewed key.

    Collective.

    Args:
        comm: the group.
        inputs: of this rank.
        facts: of all ranks.

    Returns:
        This rank's part of the result, as after a shuffle of both sides.
    """
    left, right = (_pack_side(comm, side, inputs.threads) for side in inputs.sides)
    # Rows without a key meet nobody, so they may be joined by themselves.
    results = [inputs.run(left.alone, right.alone)]
    for chunk in range(chunks_for(comm.size)):
        sides = left.take(chunk, facts.left.settled), right.take(chunk, facts.right.settled)
        results.append(inputs.run(*sides))
        del sides
    return Placed(pa.concat_tables(results), shuffled(inputs.plan, comm.size, comm.rank))


def sort_chunked(comm: Communicator, inputs: SortInputs, facts: SortFacts) -> pa.Table:
    """Sort a table whose key is a plain number.

    Collective.

    Args:
        comm: the group.
        inputs: of this rank.
        facts: of all ranks.

    Returns:
        This rank's range of the sorted table.
    """
    order, chunks = inputs.order, chunks_for(comm.size)
    splitters = choose_splitters(comm, order, inputs.table, facts.row_counts, chunks, RANGE_SAMPLES)
    if splitters.in_order:
        return cut_and_merge(comm, inputs, facts)
    packed = _pack_ranges(comm, inputs, splitters)
    results = [
        order.sort(packed.take(chunk, settled=False), inputs.threads) for chunk in range(chunks)
    ]
    return pa.concat_tables(results)


def chunks_for(size: int) -> int:
    """In how many chunks each of so many ranks takes its rows."""
    return CHUNKS_OF_TWO if size <= 2 else CHUNKS


@dataclass(frozen=True, slots=True)
class _Chunks:
    """The packed chunks of all ranks, in order of (rank, chunk), while they are sent."""

    comm: Communicator
    schema: pa.Schema
    messages: list[_native.Packed | None]
    alone: pa.Table

    def take(self, chunk: int, settled: bool) -> pa.Table:
        """This rank's rows of one chunk; what was sent for it is forgotten.

        Collective, unless the side is settled: then only the own messages hold rows.
        """
        chunks, size = chunks_for(self.comm.size), self.comm.size
        outgoing = [self._forget(rank * chunks + chunk) for rank in range(size)]
        arrived = [outgoing[self.comm.rank]] if settled else self.comm.alltoallv(outgoing)
        return unpack(self.schema, arrived)

    def _forget(self, index: int) -> Array:
        message, self.messages[index] = self.messages[index], None
        assert message is not None
        return np.asarray(memoryview(message), dtype=np.uint8)


def _pack_side(comm: Communicator, side: Side, threads: int) -> _Chunks:
    """All chunks of one side of a join."""
    keyed, alone = side.part_null_keys()
    messages = _native.partition(keyed, side.on, comm.size * chunks_for(comm.size), threads)
    return _Chunks(comm, keyed.schema, list(messages), alone)


def _pack_ranges(comm: Communicator, inputs: SortInputs, splitters: Splitters) -> _Chunks:
    """All chunks of a table that is to be sorted: one for each range."""
    table, (key,) = inputs.table, inputs.order.by
    numbers = number_rows(splitters, table.column(key), comm.rank, 0)
    messages = _native.partition_numbered(table, numbers.data, splitters.ranges, inputs.threads)
    return _Chunks(comm, table.schema, list(messages), table.slice(0, 0))
