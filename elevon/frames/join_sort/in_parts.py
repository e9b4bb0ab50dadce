"""Large tables part by part: what has been worked on is free before the next part arrives.

All rows are packed at once, in a few parts for each rank; then part after part travels, is joined
or sorted, and is released. So a rank never holds at one time its input, all that arrived, the
kernel's scratch and the result, but its input, what it has not sent yet, and one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from elevon import _native
from elevon.comm.protocol import Array, Communicator
from elevon.frames.exchange.packed import unpack
from elevon.frames.exchange.ranges import number_rows
from elevon.frames.exchange.splitters import Splitters
from elevon.frames.join_sort.inputs import KEEPS_LEFT, KEEPS_RIGHT, JoinWork, part_null_keys
from elevon.frames.memory.budget import Counts
from elevon.frames.schema.join_plan import run_join
from elevon.frames.schema.sort_plan import Order

#: Parts for each rank of two, and of more. The kernel moves rows to eight targets at most at full
#: speed; more ranks are beyond that anyway, and get more of each part from elsewhere. They keep the
#: peak at 2.5 times the input, result included. What has been sent is not given back to the system:
#: the kernels lay scratch and result in the same pages.
PARTS_OF_TWO: Final = 4
PARTS: Final = 6
#: A rank with fewer bytes joins and sorts in one go: it is faster, and the memory is no matter.
PARTED_BYTES: Final = 256 << 20
#: A sort compares every row with the splitters of all parts: more ranks than this do without.
MOST_PARTED: Final = 8


def join_parted(comm: Communicator, work: JoinWork, threads: int) -> pa.Table:
    """Join two tables of which none has a key that is heavy.

    Collective.

    Args:
        comm: the group.
        work: this rank's share.
        threads: how many threads the kernels may use.

    Returns:
        This rank's part of the result, as after a shuffle of both sides.
    """
    plan = work.plan
    left = _send_side(comm, work, work.left, plan.left_on, plan.how in KEEPS_LEFT, threads)
    right = _send_side(comm, work, work.right, plan.right_on, plan.how in KEEPS_RIGHT, threads)
    # Rows without a key meet nobody, so they may be joined by themselves.
    results = [run_join(plan, left.alone, right.alone, work.nulls_equal, threads)]
    for part in range(parts_for(comm.size)):
        sides = left.take(part, work.settled[0]), right.take(part, work.settled[1])
        results.append(run_join(plan, *sides, work.nulls_equal, threads))
        del sides
    return pa.concat_tables(results)


def sort_parted(
    comm: Communicator, order: Order, table: pa.Table, splitters: Splitters, threads: int
) -> pa.Table:
    """Sort a table whose key is a plain number.

    Collective.

    Args:
        comm: the group.
        order: the order to be.
        table: this rank's rows.
        splitters: as many ranges for each rank as it has parts.
        threads: how many threads the kernels may use.

    Returns:
        This rank's ranges.
    """
    (key,) = order.by
    numbers = number_rows(splitters, table.column(key), comm.rank, 0)
    ranges = comm.size * parts_for(comm.size)
    messages = _native.partition_numbered(table, numbers.data, ranges, threads)
    parts = _Parts(comm, table.schema, list(messages), table.slice(0, 0))
    del messages
    results = [
        order.sort(parts.take(part, settled=False), threads) for part in range(parts_for(comm.size))
    ]
    return pa.concat_tables(results)


def parts_for(size: int) -> int:
    """In how many parts each of so many ranks takes its rows."""
    return PARTS_OF_TWO if size <= 2 else PARTS


def is_large(nbytes: Counts) -> bool:
    """Whether the largest of all ranks' inputs is worth the parts."""
    return int(nbytes.max()) >= PARTED_BYTES


@dataclass(frozen=True, slots=True)
class _Parts:
    """The packed parts of all ranks' ranges, in order of (rank, part), while they are sent."""

    comm: Communicator
    schema: pa.Schema
    messages: list[_native.Packed | None]
    alone: pa.Table

    def take(self, part: int, settled: bool) -> pa.Table:
        """This rank's rows of one part; what was sent for it is forgotten.

        Collective, unless the side is settled: then only the own messages hold rows.
        """
        outgoing = [
            self._forget(rank * parts_for(self.comm.size) + part) for rank in range(self.comm.size)
        ]
        arrived = [outgoing[self.comm.rank]] if settled else self.comm.alltoallv(outgoing)
        return unpack(self.schema, arrived)

    def _forget(self, index: int) -> Array:
        message, self.messages[index] = self.messages[index], None
        assert message is not None
        return np.asarray(memoryview(message), dtype=np.uint8)


def _send_side(
    comm: Communicator,
    work: JoinWork,
    table: pa.Table,
    on: Sequence[int],
    keeps: bool,
    threads: int,
) -> _Parts:
    """Pack one side of a join."""
    alone = table.slice(0, 0)
    if not work.nulls_equal:
        table, alone = part_null_keys(table, on, keeps)
    messages = _native.partition(table, on, comm.size * parts_for(comm.size), threads)
    return _Parts(comm, table.schema, list(messages), alone)
