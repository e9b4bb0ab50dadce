"""Rows from rank to rank: packed messages, one per peer and round.

The sizes of the messages travel first, inside ``alltoallv``, so a receiver needs to know nothing;
what arrives is laid under a table without a copy.

A large table leaves in rounds of a bounded size: while one is on its way a second thread packs the
next, and what was sent is free again, so beside the rows that arrived only two rounds take memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon import _native
from elevon.comm.protocol import Array, Communicator
from elevon.frames.exchange.agreement import agree, spell
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.packed import bytes_of, unpack, whole
from elevon.frames.schema.join_plan import check_columns
from elevon.frames.schema.kernel_errors import told

#: What a rank sends in one round. Large enough that a collective's cost (some 50 us) does not show,
#: small enough that two rounds are little beside tables for which memory matters.
ROUND_BYTES: Final = 64 << 20


def take_rows(table: pa.Table, positions: NDArray[np.int64]) -> pa.Table:
    """The rows at these positions, in their order, copied.

    Raises:
        SchemaError: the dictionaries of the chunks have no room in one.
    """
    with told("rows cannot be copied", table.schema):
        return pa.table(_native.take(table, pa.table({"position": positions})))


def shuffle(
    comm: Communicator,
    table: pa.Table,
    on: Sequence[int],
    threads: int = 1,
    rounds: int | None = None,
) -> pa.Table:
    """Bring the rows of equal keys together on one rank.

    Collective; every rank passes its part and gets the rows whose keys are its own.

    Args:
        comm: the group.
        table: this rank's rows.
        on: positions of the key columns.
        threads: how many threads the kernel may use.
        rounds: in how many rounds the rows leave, the same on all ranks; None: as many as the
            largest part needs, which costs a collective to find out.

    Returns:
        The rows that belong here, those of lower ranks first, each rank's in its order.
    """
    if rounds is None:
        most = comm.allreduce(np.array([own_bytes(table)], dtype=np.int64), "max")
        rounds = rounds_for(int(most[0]))
    rows = shuffle_rounds(comm, table, on, threads, rounds)
    return collect_rounds(table.schema, comm.size, rows)


def rounds_for(nbytes: int, round_bytes: int = ROUND_BYTES) -> int:
    """In how many rounds so many bytes leave a rank."""
    return max(1, -(-nbytes // round_bytes))


def shuffle_rounds(
    comm: Communicator, table: pa.Table, on: Sequence[int], threads: int, rounds: int
) -> Iterator[list[Array]]:
    """A shuffle, round by round: for who does not want to hold all that arrives.

    Collective, as often as there are rounds: every rank has to take them all.

    Args:
        comm: the group.
        table: this rank's rows.
        on: positions of the key columns.
        threads: how many threads the kernel may use.
        rounds: how many rounds, the same on all ranks.

    Yields:
        What arrived in the round, one message from each rank.
    """
    step = -(-table.num_rows // rounds)

    def pack(number: int) -> list[_native.Packed]:
        rows = table.slice(min(number * step, table.num_rows), step)
        with told("rows cannot be sent", table.schema):
            return _native.partition(rows, on, comm.size, threads)

    return send_rounds(comm, pack, rounds)


def send_rounds(
    comm: Communicator, pack: Callable[[int], Sequence[_native.Packed]], rounds: int
) -> Iterator[list[Array]]:
    """Send one message to each rank in every round.

    Collective, as often as there are rounds: every rank has to take them all.

    Args:
        comm: the group.
        pack: makes the messages of a round; called by a second thread, while those of the round
            before are on their way.
        rounds: how many rounds, the same on all ranks.

    Yields:
        What arrived in the round, one message from each rank.
    """
    if rounds == 1:
        yield comm.alltoallv([bytes_of(part) for part in pack(0)])
        return
    with ThreadPoolExecutor(1, "elevon-pack") as beside:
        waiting = beside.submit(pack, 0)
        for number in range(rounds):
            parts = [bytes_of(part) for part in waiting.result()]
            if number + 1 < rounds:
                waiting = beside.submit(pack, number + 1)
            arrived = comm.alltoallv(parts)
            # Only the taker holds them while it works, and nobody while the next ones come.
            parts = []
            yield arrived
            arrived = []


def collect_rounds(schema: pa.Schema, size: int, rounds: Iterable[Sequence[Array]]) -> pa.Table:
    """The rows of all rounds, those of lower ranks first, each rank's in its order."""
    senders: list[list[Array]] = [[] for _ in range(size)]
    for arrived in rounds:
        for messages, message in zip(senders, arrived, strict=True):
            messages.append(message)
    return unpack(schema, [message for messages in senders for message in messages])


def exchange_slices(
    comm: Communicator, table: pa.Table, bounds: Sequence[int], rounds: int = 1
) -> list[pa.Table]:
    """Send rows bounds[i] up to bounds[i+1] to rank i.

    Collective. The rank's own rows are not copied: they stay a slice of ``table``.

    Args:
        comm: the group.
        table: this rank's rows.
        bounds: one bound more than there are ranks, ascending from 0 to the number of rows.
        rounds: in how many rounds the rows leave, the same on all ranks.

    Returns:
        The rows that arrived, one table for each sender.
    """
    senders: list[list[Array]] = [[] for _ in range(comm.size)]
    for number in range(rounds):
        parts = [
            np.empty(0, dtype=np.uint8)
            if rank == comm.rank
            else _part_of(table, bounds[rank], bounds[rank + 1], number, rounds)
            for rank in range(comm.size)
        ]
        for messages, message in zip(senders, comm.alltoallv(parts), strict=True):
            messages.append(message)
    start, stop = bounds[comm.rank], bounds[comm.rank + 1]
    return [
        table.slice(start, stop - start) if rank == comm.rank else unpack(table.schema, messages)
        for rank, messages in enumerate(senders)
    ]


def exchange_tables(comm: Communicator, tables: Sequence[pa.Table]) -> pa.Table:
    """Send one table to each rank.

    Collective. The rank's own table is not copied.

    Args:
        comm: the group.
        tables: for each rank the rows that go there.

    Returns:
        What arrived, in the order of the senders.
    """
    own, schema = tables[comm.rank], tables[comm.rank].schema
    if comm.size == 1:
        return own
    nothing: Array = np.empty(0, dtype=np.uint8)
    messages = comm.alltoallv(
        [nothing if rank == comm.rank else whole(table) for rank, table in enumerate(tables)]
    )
    return pa.concat_tables(
        own if rank == comm.rank else unpack(schema, [message])
        for rank, message in enumerate(messages)
    )


def deal(comm: Communicator, table: pa.Table) -> pa.Table:
    """Share rows out like cards, row by row, so that every rank gets as many of each kind.

    Collective; every rank passes some rows and gets about 1/size of all of them.
    """
    to = (np.arange(table.num_rows, dtype=np.int64) + comm.rank) % comm.size
    bounds = [0, *np.cumsum(np.bincount(to, minlength=comm.size)).tolist()]
    return pa.concat_tables(
        exchange_slices(comm, take_rows(table, np.argsort(to, kind="stable")), bounds)
    )


def replicate(comm: Communicator, table: pa.Table) -> pa.Table:
    """All rows of all ranks, in rank order, on every rank. Collective."""
    return unpack(table.schema, comm.allgatherv(whole(table)))


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
    messages = comm.gatherv(whole(table), root)
    return None if messages is None else unpack(table.schema, messages)


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


def _part_of(table: pa.Table, start: int, stop: int, number: int, rounds: int) -> Array:
    """What leaves of the rows in one of the rounds, packed."""
    rows = stop - start
    first, last = rows * number // rounds, rows * (number + 1) // rounds
    return whole(table.slice(start + first, last - first))
