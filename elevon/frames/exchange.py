"""Rows from rank to rank: one packed message per peer and table.

Before it: the Communicator and the packing kernels. After it: ``distributed`` says which rows go
where. The sizes of the messages travel first, inside ``alltoallv``, so a receiver needs to know
nothing; what arrives is laid under a table without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon import _native
from elevon.comm.protocol import Array, Communicator
from elevon.frames.agreement import agree, spell
from elevon.frames.planning import check_columns


def unpack(schema: pa.Schema, messages: Sequence[Array]) -> pa.Table:
    """The rows of all messages in order, laid over the messages' memory."""
    return pa.table(_native.unpack(schema, [message.data for message in messages]))


def take_rows(table: pa.Table, positions: NDArray[np.int64]) -> pa.Table:
    """The rows at these positions, in their order, copied."""
    return pa.table(_native.take(table, pa.table({"position": positions})))


def compact(table: pa.Table) -> pa.Table:
    """The same rows in memory of their own, free of the larger table they were cut from."""
    return unpack(table.schema, [_whole(table)])


def shuffle(comm: Communicator, table: pa.Table, on: Sequence[int], threads: int = 1) -> pa.Table:
    """Bring the rows of equal keys together on one rank.

    Collective; every rank passes its part and gets the rows whose keys are its own.

    Args:
        comm: the group.
        table: this rank's rows.
        on: positions of the key columns.
        threads: how many threads the kernel may use.

    Returns:
        The rows that belong here, those of lower ranks first.
    """
    parts = _native.partition(table, on, comm.size, threads)
    return unpack(table.schema, comm.alltoallv([_bytes_of(part) for part in parts]))


def exchange_slices(comm: Communicator, table: pa.Table, bounds: Sequence[int]) -> list[pa.Table]:
    """Send rows bounds[i] up to bounds[i+1] to rank i.

    Collective. The rank's own rows are not copied: they stay a slice of ``table``.

    Args:
        comm: the group.
        table: this rank's rows.
        bounds: one bound more than there are ranks, ascending from 0 to the number of rows.

    Returns:
        The rows that arrived, one table for each sender.
    """
    start, stop = bounds[comm.rank], bounds[comm.rank + 1]
    before = _native.pack_slices(table.slice(0, start), bounds[: comm.rank + 1])
    after = _native.pack_slices(table.slice(stop), [at - stop for at in bounds[comm.rank + 1 :]])
    parts = [*map(_bytes_of, before), np.empty(0, dtype=np.uint8), *map(_bytes_of, after)]
    return [
        table.slice(start, stop - start) if rank == comm.rank else unpack(table.schema, [message])
        for rank, message in enumerate(comm.alltoallv(parts))
    ]


def replicate(comm: Communicator, table: pa.Table) -> pa.Table:
    """All rows of all ranks, in rank order, on every rank. Collective."""
    return unpack(table.schema, comm.allgatherv(_whole(table)))


def gather_table(comm: Communicator, table: pa.Table, root: int = 0) -> pa.Table | None:
    """All rows of all ranks, in rank order, on the root.

    Collective; the schemas must be the same on all ranks.

    Args:
        comm: the group.
        table: this rank's rows.
        root: the rank that gets them all.

    Returns:
        The whole table on the root, None on the others.

    Raises:
        SchemaError: on every rank, if the schemas differ or a type cannot be sent.
    """
    agree(comm, lambda: _rows("gather", table))
    messages = comm.gatherv(_whole(table), root)
    return None if messages is None else unpack(table.schema, messages)


def repartition(comm: Communicator, table: pa.Table) -> pa.Table:
    """Share the rows out evenly, in order: rank r gets rows r*N//P up to (r+1)*N//P of all N.

    Collective; the schemas must be the same on all ranks.

    Args:
        comm: the group.
        table: this rank's rows, which follow those of the ranks below.

    Returns:
        This rank's even share.

    Raises:
        SchemaError: on every rank, if the schemas differ or a type cannot be sent.
    """
    _, facts = agree(comm, lambda: _rows("repartition", table))
    bounds = even_bounds(facts[:, 0].tolist(), comm.rank)
    parts = exchange_slices(comm, table, bounds)
    # The result may be kept for long; it must not keep the rows that went away.
    parts[comm.rank] = compact(parts[comm.rank])
    return pa.concat_tables(parts)


def even_bounds(rows: Sequence[int], rank: int) -> list[int]:
    """Where rank ``rank`` cuts its own rows so that all ranks end with even shares.

    Args:
        rows: how many rows each rank has.
        rank: whose cuts are asked for.

    Returns:
        One bound more than there are ranks, ascending from 0 to ``rows[rank]``.
    """
    first, total, size = sum(rows[:rank]), sum(rows), len(rows)
    return [min(max(i * total // size - first, 0), rows[rank]) for i in range(size + 1)]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The proposal of an operator that needs only rows of one schema."""

    table: pa.Table
    terms: str

    @property
    def facts(self) -> tuple[int, int]:
        return self.table.num_rows, 0


def _rows(operator: str, table: pa.Table) -> _Rows:
    check_columns(table.schema)
    return _Rows(table, f"{operator} of {spell(table.schema)}")


def _whole(table: pa.Table) -> Array:
    return _bytes_of(_native.pack_slices(table, [0, table.num_rows])[0])


def _bytes_of(part: _native.Packed) -> Array:
    return np.asarray(memoryview(part), dtype=np.uint8)
