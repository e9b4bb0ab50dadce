"""What a join or sort needs in memory, and in what portions it works where that is too much.

The budget is of working memory: what an operator takes beside its inputs, which their owner keeps
anyway, and its result, which is the caller's to place. Figures are of the ranks' own sizes and the
same on all ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon import _native
from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.shuffle import ROUND_BYTES
from elevon.frames.schema.kernel_errors import told

#: Scratch of the kernels as a multiple of the rows that they are given (measured: 0.7 to 1.0).
JOIN_SCRATCH: Final = 1
SORT_SCRATCH: Final = 1
#: A join's partitions are planned at this part of the budget: with the scratch they take half of
#: it, which leaves room for partitions that came out twice as large as the mean.
PARTITION_SHARE: Final = 4
#: Fewer rows than this are not worth a round or a part, however small the budget is.
FEWEST_ROWS: Final = 4096
#: Rows hashed at a time while arrivals are counted.
COUNTED_ROWS: Final = 1 << 18
#: The kernel's limit on partitions.
MOST_PARTITIONS: Final = 1 << 16

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Portions:
    """How the rows are worked through.

    Attributes:
        rounds: in how many rounds each rank takes its input in hand.
        parts: into how many parts the rows of each rank are divided on disk.
        part_bytes: what one part may have at most to be worked on whole.
    """

    rounds: int
    parts: int
    part_bytes: int


def join_need(routed: Counts, moving: Counts, copied: Counts) -> int:
    """Bytes that the most loaded rank needs to join in memory.

    Args:
        routed: bytes of both sides on each rank after the exchange.
        moving: bytes that each rank sends, of both sides.
        copied: bytes that each rank copies before it sends them.

    Returns:
        The need: what has arrived, the kernel's scratch, and what is on its way in two rounds. For
        a group of one the scratch alone.
    """
    if len(routed) == 1:
        return int(routed.sum()) * JOIN_SCRATCH
    in_flight = 2 * np.minimum(moving.sum(axis=1), ROUND_BYTES) + copied
    return int((routed.sum(axis=1) * (1 + JOIN_SCRATCH) + in_flight).max())


def sort_need(nbytes: Counts) -> int:
    """Bytes that the most loaded rank needs to sort in memory: its run, what arrives, scratch.

    A group of one needs the scratch alone: its run is the result.
    """
    if len(nbytes) == 1:
        return int(nbytes[0]) * SORT_SCRATCH
    return int(max(nbytes.max(), nbytes.mean())) * (2 + SORT_SCRATCH)


def join_portions(memory_bytes: int, sides: Counts, arriving: Counts, rows: int) -> Portions:
    """Portions for a join whose sides are spilled.

    In a round a rank holds what it sends, what arrives (all that the others send, if all goes to
    one rank), that once more in partitions, and what is being packed for the next round.

    Args:
        memory_bytes: the budget of a rank.
        sides: bytes of both sides on each rank before the exchange.
        arriving: bytes of both sides on each rank after it.
        rows: of the longest side of all ranks together.

    Returns:
        The portions, the same on all ranks.
    """
    size = len(sides)
    portion = max(1, memory_bytes // (2 * size + 3))
    part_bytes = max(1, memory_bytes // PARTITION_SHARE)
    parts = _portions(int(arriving.sum(axis=1).max()), part_bytes, rows)
    return Portions(
        _portions(int(sides.max()), portion, rows),
        min(parts, MOST_PARTITIONS // size),
        2 * part_bytes,
    )


def sort_portions(memory_bytes: int, nbytes: Counts, rows: int) -> Portions:
    """Portions for a sort by runs on disk.

    A run is in memory with its copy and the scratch; when parts are merged, a rank holds what it
    has read and packed of each range, what arrives of its own, and the scratch of the merge.

    Args:
        memory_bytes: the budget of a rank.
        nbytes: bytes of each rank.
        rows: of the longest rank.

    Returns:
        The portions, the same on all ranks.
    """
    part_bytes = max(1, memory_bytes // 6)
    largest = int(nbytes.max())
    return Portions(
        _portions(largest, max(1, memory_bytes // 4), rows),
        _portions(largest, part_bytes, rows),
        part_bytes,
    )


def _portions(nbytes: int, portion: int, rows: int) -> int:
    return max(1, min(-(-nbytes // portion), -(-rows // FEWEST_ROWS)))


def count_arrivals(comm: Communicator, table: pa.Table, on: Sequence[int], threads: int) -> Counts:
    """Bytes that a shuffle would bring to each rank; nothing moves but one number per pair.

    Collective. Rows are counted exactly, and taken to have the mean size of their sender's.

    Args:
        comm: the group.
        table: this rank's rows.
        on: positions of the key columns.
        threads: how many threads the kernel may use.

    Returns:
        A number for each rank, the same on all ranks.
    """
    keys = table.select(list(on))
    rows = np.zeros(comm.size, dtype=np.int64)
    for start in range(0, table.num_rows, COUNTED_ROWS):
        rows += np.bincount(
            owners(hash_keys(keys.slice(start, COUNTED_ROWS), threads), comm.size),
            minlength=comm.size,
        )
    row_bytes = own_bytes(table) / max(1, table.num_rows)
    return np.asarray(comm.allreduce(np.ceil(rows * row_bytes).astype(np.int64), "sum"))


def hash_keys(keys: pa.Table, threads: int = 1) -> NDArray[np.uint64]:
    """The hash of every row of a table of key columns."""
    with told("rows cannot be compared", keys.schema):
        hashed = pa.table(_native.hash_rows(keys, list(range(keys.num_columns)), threads))
    column: NDArray[np.uint64] = hashed.column(0).to_numpy()
    return column


def owners(hashes: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Which rank each hash belongs to; as the kernel's ``partition_of``."""
    high = hashes >> np.uint64(32)
    return np.asarray(((high * np.uint64(size)) >> np.uint64(32)).astype(np.int64))


def check_memory(memory_bytes: int | None) -> None:
    """Refuse a budget that is none.

    Raises:
        DescriptionError: it is less than one byte.
    """
    if memory_bytes is not None and memory_bytes < 1:
        raise DescriptionError(
            f"memory_bytes={memory_bytes}: a budget is a positive number of bytes, or None"
        )


def trim(memory_bytes: int) -> None:
    """Give back what the kernels keep for their next call once it is a good part of the budget."""
    if _native.pooled_bytes() > memory_bytes // 8:
        _native.trim_pool()
