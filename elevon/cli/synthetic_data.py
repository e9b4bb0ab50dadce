"""The tables of the synthetic demonstration, as they are made and examined on the ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elevon import Communicator

#: Rows with one seed. Small enough that at 1e6 rows every one of many ranks has its own blocks.
BLOCK_ROWS: Final = 65_536
#: The papers' u: values are drawn from [0, u * rows).
UNIQUENESS: Final = 0.9
LEFT, RIGHT = 1, 2


def make_table(comm: Communicator, side: int, rows: int) -> pa.Table:
    """This rank's share of one table: columns ``k`` (the key) and ``v``."""
    return rows_of(side, rows, rows * comm.rank // comm.size, rows * (comm.rank + 1) // comm.size)


def rows_of(side: int, rows: int, start: int, end: int) -> pa.Table:
    """Rows start..end of the table ``side`` of ``rows`` rows in all."""
    first = start // BLOCK_ROWS
    last = -(-end // BLOCK_ROWS)
    blocks = [_block(side, number, rows) for number in range(first, last)]
    keys, values = (
        np.concatenate([np.empty(0, np.int64), *columns]) for columns in _columns(blocks)
    )
    share = slice(start - first * BLOCK_ROWS, end - first * BLOCK_ROWS)
    return pa.table({"k": keys[share], "v": values[share]})


def _columns(blocks: list[NDArray[np.int64]]) -> tuple[list[Any], list[Any]]:
    return [block[0] for block in blocks], [block[1] for block in blocks]


def _block(side: int, number: int, rows: int) -> NDArray[np.int64]:
    generator = np.random.default_rng([side, number])
    # At least one value: a table of one row has to be possible.
    return generator.integers(0, max(1, int(UNIQUENESS * rows)), (2, BLOCK_ROWS), np.int64)


def examine(comm: Communicator, table: pa.Table) -> tuple[int, str, bool]:
    """(rows, checksum, in order by ``k``) over all ranks of the group."""
    keys = table["k"].to_numpy()
    ends = np.concatenate(comm.allgatherv(keys[[0, -1]] if len(keys) else keys))
    in_order = bool(np.all(keys[1:] >= keys[:-1]) and np.all(ends[1:] >= ends[:-1]))
    # MPI adds unsigned integers modulo 2**64, as the checksum wants it.
    sums = comm.allreduce(np.array([len(keys), row_sum(table)], dtype=np.uint64))
    well = comm.allreduce(np.array([in_order]), "land")
    return int(sums[0]), f"{int(sums[1]):016x}", bool(well[0])


def row_sum(table: pa.Table) -> int:
    """The sum of the rows' hashes modulo 2**64: the same for every order of the rows."""
    hashes = np.zeros(table.num_rows, np.uint64)
    for column in table.columns:
        # Each column is mixed into what stands there, so that columns cannot be exchanged.
        hashes = mix(hashes ^ column.to_numpy().view(np.uint64))
    return int(hashes.sum(dtype=np.uint64))


def mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele, Lea, Flood: Fast splittable generators, 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = words ^ (words >> np.uint64(31))
    return mixed
