"""Rows by their place in the global order: slice, concat, repartition, equals.

The global order is that of the ranks, and within a rank that of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError
from elevon.frames.aggregation.segments import fold
from elevon.frames.aggregation.sort_groups import Groups, differ, find_keys, plain_key
from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.packed import compact
from elevon.frames.exchange.requests import Request, settle
from elevon.frames.exchange.shuffle import (
    even_bounds,
    exchange_slices,
    exchange_tables,
    shuffle,
    take_rows,
)
from elevon.frames.memory.budget import check_memory
from elevon.frames.memory.partitioned import (
    KeyParts,
    Steps,
    fold_need,
    plan_steps,
    rounds_within,
    slices_of,
)
from elevon.frames.memory.spill import Spill
from elevon.frames.operators.sets import check_same_columns, in_common_types, nullable
from elevon.frames.schema.decoded import Column, same_nested
from elevon.frames.schema.dictionaries import without_orders
from elevon.frames.schema.join_plan import check_columns
from elevon.frames.schema.key_types import is_key_type
from elevon.frames.schema.plain import plain_columns


def slice_rows(
    comm: Communicator, table: pa.Table, start: int | None = None, stop: int | None = None
) -> pa.Table:
    """Rows ``start`` up to ``stop`` of the global order, counted as in ``list[start:stop]``.

    Collective: every rank passes its rows and gets those of them that belong to the slice.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        start: the first row; from the end where negative; None: the very first.
        stop: the row after the last; from the end where negative; None: after the very last.

    Returns:
        This rank's rows of the slice.

    Raises:
        SchemaError: on every rank, if the schemas differ or a type cannot be copied.
        CommunicatorError: the group failed.
    """

    def prepare() -> Request[pa.Table]:
        check_columns(table.schema)
        terms = f"rows {start} to {stop} of {spell(table.schema)}"
        return Request(table, terms, (table.num_rows, 0))

    _, facts = settle(comm, prepare)
    rows = facts[:, 0]
    low, high, _ = slice(start, stop).indices(int(rows.sum()))
    before = int(rows[: comm.rank].sum())
    first = min(max(low - before, 0), table.num_rows)
    last = min(max(high - before, first), table.num_rows)
    if last - first == table.num_rows:
        return table
    return compact(table.slice(first, last - first))


def concat(
    comm: Communicator,
    tables: Sequence[pa.Table],
    ordered: bool = True,
    memory_bytes: int | None = None,
) -> pa.Table:
    """All rows of several tables.

    Collective: every rank passes its rows of each table.

    Args:
        comm: the group of ranks.
        tables: this rank's rows of each table; the same column names and types, whatever
            the layout of text and bytes.
        ordered: whether table follows table in the global order, in even shares, for which rows
            travel; otherwise every rank keeps its rows, and nothing travels.
        memory_bytes: how much working memory each rank may take beside its input and its result.
            None: no limit.

    Returns:
        This rank's rows.

    Raises:
        DescriptionError: there is no table.
        SchemaError: the schemas differ, or a type cannot be sent; on every rank.
        CommunicatorError: the group failed.
    """

    def prepare() -> Request[list[pa.Table]]:
        if not tables:
            raise DescriptionError("concat: no table is given")
        alike = in_common_types(tables)
        check_same_columns(alike, "concat")
        check_columns(alike[0].schema)
        check_memory(memory_bytes)
        terms = f"concat of {len(alike)} tables of {spell(alike[0].schema)}, {ordered=}"
        facts = [_largest(memory_bytes, table) for table in alike]
        most = max(facts)
        return Request([nullable(table) for table in alike], f"{terms}, {memory_bytes=}", most)

    parts, facts = settle(comm, prepare)
    if not ordered or comm.size == 1:
        return pa.concat_tables(parts)
    rounds = _rounds(memory_bytes, facts)
    rows = comm.allgather(np.array([part.num_rows for part in parts], dtype=np.int64))
    pieces = []
    for number, part in enumerate(parts):
        pieces += _moved(comm, part, _shares(rows, comm.rank, number), rounds)
    return pa.concat_tables(pieces)


def repartition(
    comm: Communicator,
    table: pa.Table,
    by: Sequence[str] = (),
    threads: int = 1,
    memory_bytes: int | None = None,
) -> pa.Table:
    """Share the rows out anew: evenly and in order, or so that equal values meet.

    Collective: every rank passes its rows.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        by: names of columns whose equal values are to be on one rank; even shares without any.
        threads: how many threads the kernel may use.
        memory_bytes: how much working memory each rank may take beside its input and its result.
            None: no limit.

    Returns:
        This rank's new rows.

    Raises:
        SchemaError: on every rank: the schemas differ, a type cannot be sent, or a column of
            ``by`` is missing or cannot be compared.
        CommunicatorError: the group failed.
    """

    def prepare() -> Request[list[int]]:
        check_memory(memory_bytes)
        check_columns(table.schema)
        on = find_keys(table.schema, by, "repartition by")
        terms = f"repartition of {spell(table.schema)} by {list(by)}, {memory_bytes=}"
        return Request(on, terms, _largest(memory_bytes, table))

    on, facts = settle(comm, prepare)
    rounds = _rounds(memory_bytes, facts)
    if comm.size == 1:
        return table
    if on:
        table = plain_columns(table)
        return shuffle(comm, table, on, threads, None if memory_bytes is None else rounds)
    bounds = even_bounds(facts[:, 1].tolist(), comm.rank)
    return pa.concat_tables(_moved(comm, table, bounds, rounds))


def equals(
    comm: Communicator,
    left: pa.Table,
    right: pa.Table,
    ordered: bool = True,
    threads: int = 1,
    memory_bytes: int | None = None,
) -> bool:
    """Whether two tables have the same columns and rows; how they are cut does not matter.

    Collective: every rank passes its rows of both tables. Null equals null, NaN equals NaN (but
    not inside a list or struct), 0.0 equals -0.0. Types must be the
    same, but for the layouts of text and bytes.

    Args:
        comm: the group of ranks.
        left: this rank's rows of one table.
        right: this rank's rows of the other table.
        ordered: whether the rows must be in the same order; otherwise each row must be there as
            often.
        threads: how many threads the kernels may use.
        memory_bytes: how much working memory each rank may take beside its input and its result;
            what does not fit goes to the local disk for a while. None: no limit.

    Returns:
        The answer, the same on all ranks.

    Raises:
        SchemaError: on every rank: a type cannot be sent or, unordered, not be compared.
        CommunicatorError: the group failed.
    """
    sides = in_common_types([left, right])
    (left, right), facts = settle(comm, lambda: _comparison(sides, ordered, memory_bytes))
    rows, nbytes = facts[:, :2], facts[:, 2]
    totals = rows.sum(axis=0)
    if spell(left.schema) != spell(right.schema) or totals[0] != totals[1]:
        return False
    if ordered:
        rounds = rounds_within(memory_bytes, int(nbytes.max()), int(rows.max()))
        same = _equal_in_order(comm, left, right, rows, rounds)
    elif memory_bytes is not None and fold_need(int(nbytes.max())) > memory_bytes:
        longest = int(rows.sum(axis=1).max())
        steps = plan_steps(memory_bytes, nbytes.tolist(), longest, comm.size)
        same = _equal_on_disk(comm, (left, right), steps, memory_bytes, threads)
    else:
        same = _equal_in_number(comm, left, right, threads)
    return same if comm.size == 1 else bool(comm.allreduce(np.array(same), "land"))


def _comparison(
    sides: Sequence[pa.Table], ordered: bool, memory_bytes: int | None
) -> Request[tuple[pa.Table, pa.Table]]:
    check_memory(memory_bytes)
    for table in sides:
        check_columns(table.schema)
        if not ordered:
            find_keys(table.schema, table.column_names, "compare rows by")
    left, right = sides
    terms = f"equals of {spell(left.schema)} and {spell(right.schema)}, {ordered=}, {memory_bytes=}"
    nbytes = 0
    if memory_bytes is not None:
        nbytes = sum(own_bytes(table) + 16 * int(table.num_rows) for table in sides)
    plain = plain_columns(left), plain_columns(right)
    return Request(plain, terms, (left.num_rows, right.num_rows, nbytes))


def _largest(memory_bytes: int | None, table: pa.Table) -> tuple[int, int]:
    """Bytes (where they matter) and rows of a table that is going to travel."""
    return 0 if memory_bytes is None else own_bytes(table), int(table.num_rows)


def _rounds(memory_bytes: int | None, facts: NDArray[np.int64]) -> int:
    """In how many rounds a table travels of which each rank has told its ``_largest``."""
    return rounds_within(memory_bytes, 2 * int(facts[:, 0].max()), int(facts[:, 1].max()))


def _moved(
    comm: Communicator, table: pa.Table, bounds: Sequence[int], rounds: int
) -> list[pa.Table]:
    """What arrives of all ranks' slices. Collective."""
    came = exchange_slices(comm, table, bounds, rounds)
    # The result may be kept for long; it must not keep the rows that went away.
    came[comm.rank] = compact(came[comm.rank])
    return came


def _shares(rows: NDArray[np.int64], rank: int, number: int) -> list[int]:
    """Where a rank cuts its rows of table ``number`` for even shares of all tables in a row."""
    total, size = int(rows.sum()), len(rows)
    start = int(rows[:, :number].sum() + rows[:rank, number].sum())
    own = int(rows[rank, number])
    return [min(max(i * total // size - start, 0), own) for i in range(size + 1)]


def _equal_in_order(
    comm: Communicator, left: pa.Table, right: pa.Table, rows: NDArray[np.int64], rounds: int
) -> bool:
    """Bring the right rows to where the left ones are, some of them in each round. Collective."""
    starts = np.cumsum(rows, axis=0) - rows
    steps, same = -(-rows[:, 0] // rounds), True
    for number in range(rounds):
        edges = [np.minimum(steps * (number + more), rows[:, 0]) for more in (0, 1)]
        wanted = np.stack(edges, axis=1) + starts[:, :1] - starts[comm.rank, 1]
        cuts = np.clip(wanted, 0, right.num_rows).tolist()
        came = exchange_tables(comm, [right.slice(low, high - low) for low, high in cuts])
        low, high = (int(edge[comm.rank]) for edge in edges)
        pairs = zip(left.slice(low, high - low).columns, came.columns, strict=True)
        same = all(_same_values(plain_key(a), plain_key(b)) for a, b in pairs) and same
    return same


def _same_values(left: Column, right: Column) -> bool:
    if is_key_type(left.type):
        return not differ(left, right).any()
    return same_nested(left, right)


def _equal_in_number(comm: Communicator, left: pa.Table, right: pa.Table, threads: int) -> bool:
    """Count each different row, up for the left and down for the right: nothing must be left."""
    counted = pa.concat_tables([_counted(left, 1, threads), _counted(right, -1, threads)])
    if comm.size > 1:
        counted = shuffle(comm, counted, range(left.num_columns), threads)
    return _nothing_left(counted, threads)


def _equal_on_disk(
    comm: Communicator, sides: tuple[pa.Table, pa.Table], steps: Steps, memory: int, threads: int
) -> bool:
    """The same part after part."""
    place, keys = (comm.size, comm.rank), range(sides[0].num_columns)
    with Spill() as spill:
        parts = KeyParts(spill, keys, steps.parts, comm, place, threads, memory)
        for table, step in zip(sides, (1, -1), strict=True):
            for _, rows in slices_of(table, steps.slices):
                parts.write(_counted(rows, step, threads))
        return all(_nothing_left(parts.read(part), threads) for part in range(steps.parts))


def _nothing_left(counted: pa.Table, threads: int) -> bool:
    keys = counted.select(range(counted.num_columns - 1))
    groups = Groups.of(keys, {"n": counted["n"]}, threads)
    return bool(pc.all(pc.equal(fold(groups, groups.values["n"], "sum"), 0), min_count=0).as_py())


def _counted(table: pa.Table, step: int, threads: int) -> pa.Table:
    plain = without_orders(table)
    keys = pa.Table.from_arrays(plain.columns, [str(i) for i in range(plain.num_columns)])
    groups = Groups.of(keys, threads=threads)
    different = take_rows(keys, groups.first)
    return different.append_column("n", pa.array(groups.lengths * step))
