"""Rows to the rank of their range before they are sorted, where the key is one plain number.

The other way, sorted runs that are cut and merged, reads and writes all rows once more, but
compares any keys; to compare a number with a few splitters costs next to nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon import _native
from elevon.comm.protocol import Communicator
from elevon.frames.exchange.shuffle import collect_rounds, send_rounds
from elevon.frames.exchange.splitters import Splitters
from elevon.frames.schema.sort_plan import Order

#: Every splitter is compared with every row: beyond so many ranges a merge is faster.
MOST_RANGES: Final = 16
#: Sampled rows for each range: unsorted rows tell less of the ranges than a sorted run does, and
#: shares are to differ by 1 to 2 %.
RANGE_SAMPLES: Final = 4096
#: Rows numbered at a time, so that they stay in the cache while all splitters pass.
BLOCK_ROWS: Final = 1 << 16

Numbers = NDArray[np.uint16]


def has_numbers(order: Order, table: pa.Table) -> bool:
    """Whether the key is one column of numbers or times, without nulls and NaN."""
    column = table.column(order.by[0])
    kind = column.type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)
    if len(order.by) > 1 or not plain or pa.types.is_float16(kind) or column.null_count:
        return False
    if not pa.types.is_floating(kind):
        return not pa.types.is_interval(kind)
    return not any(np.isnan(_values(chunk)).any() for chunk in column.chunks)


def send_ranges(
    comm: Communicator, table: pa.Table, splitters: Splitters, rounds: int, threads: int
) -> pa.Table:
    """Bring each range's rows to its rank.

    Collective.

    Args:
        comm: the group.
        table: this rank's rows; ``has_numbers`` is true of all ranks'.
        splitters: one range for each rank.
        rounds: in how many rounds the rows leave, the same on all ranks.
        threads: how many threads the kernel may use.

    Returns:
        This rank's range, unsorted; equal rows in the order of (rank, position).
    """
    (key,) = splitters.by
    step = -(-table.num_rows // rounds)

    def pack(number: int) -> list[_native.Packed]:
        start = min(number * step, table.num_rows)
        rows = table.slice(start, step)
        numbers = number_rows(splitters, rows.column(key), comm.rank, start)
        return _native.partition_numbered(rows, numbers.data, comm.size, threads)

    return collect_rounds(table.schema, comm.size, send_rounds(comm, pack, rounds))


def number_rows(
    splitters: Splitters, column: pa.ChunkedArray[Any], rank: int, start: int
) -> Numbers:
    """The range of each row.

    Args:
        splitters: where the ranges end.
        column: the keys of neighbouring rows.
        rank: whose rows they are.
        start: where they stand in the rank's table.

    Returns:
        A number below ``splitters.ranges`` for each row.
    """
    numbers = np.zeros(len(column), dtype=np.uint16)
    if not splitters.keys.num_rows:
        return numbers
    ends = np.concatenate([_values(chunk) for chunk in splitters.keys.column(0).chunks])
    at = 0
    for chunk in column.chunks:
        values = _values(chunk)
        for low in range(0, len(values), BLOCK_ROWS):
            block = values[low : low + BLOCK_ROWS]
            into = numbers[at + low : at + low + len(block)]
            _number_block(splitters, block, ends, into, rank, start + at + low)
        at += len(values)
    return numbers


def _number_block(
    splitters: Splitters,
    block: NDArray[Any],
    ends: NDArray[Any],
    into: Numbers,
    rank: int,
    start: int,
) -> None:
    """Count the splitters that each row lies behind; one that it equals stands at its own row."""
    (ascending,) = splitters.order.ascending
    behind, not_before = (np.greater, np.greater_equal) if ascending else (np.less, np.less_equal)
    for end, owner, position in zip(ends, splitters.ranks, splitters.positions, strict=True):
        same = int(np.clip(position - start, 0, len(block)))
        before = len(block) if rank < owner else 0 if rank > owner else same
        into[:before] += behind(block[:before], end)
        into[before:] += not_before(block[before:], end)


def _values(chunk: pa.Array[Any]) -> NDArray[Any]:
    """The numbers of a chunk without a copy; times by their counts."""
    if pa.types.is_temporal(chunk.type):
        chunk = chunk.view(pa.int32() if chunk.type.bit_width == 32 else pa.int64())
    values: NDArray[Any] = chunk.to_numpy(zero_copy_only=True)
    return values
