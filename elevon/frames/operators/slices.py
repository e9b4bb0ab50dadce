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
from elevon.frames.aggregation.sort_groups import Column, Groups, differ, find_keys, plain_key
from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.packed import compact
from elevon.frames.exchange.requests import Request, settle
from elevon.frames.exchange.shuffle import exchange_slices, shuffle, take_rows
from elevon.frames.exchange.shuffle import repartition as share_evenly
from elevon.frames.operators.sets import check_same_columns, nullable
from elevon.frames.schema.join_plan import check_columns
from elevon.frames.schema.key_types import is_key_type


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


def concat(comm: Communicator, tables: Sequence[pa.Table], ordered: bool = True) -> pa.Table:
    """All rows of several tables.

    Collective: every rank passes its rows of each table.

    Args:
        comm: the group of ranks.
        tables: this rank's rows of each table; the same column names and types.
        ordered: whether table follows table in the global order, in even shares, for which rows
            travel; otherwise every rank keeps its rows, and nothing travels.

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
        check_same_columns(tables, "concat")
        check_columns(tables[0].schema)
        terms = f"concat of {len(tables)} tables of {spell(tables[0].schema)}, ordered={ordered}"
        return Request([nullable(table) for table in tables], terms)

    parts, _ = settle(comm, prepare)
    if not ordered or comm.size == 1:
        return pa.concat_tables(parts)
    rows = comm.allgather(np.array([part.num_rows for part in parts], dtype=np.int64))
    pieces = []
    for number, part in enumerate(parts):
        bounds = _shares(rows, comm.rank, number)
        came = exchange_slices(comm, part, bounds)
        # The result may be kept for long; it must not keep the rows that went away.
        came[comm.rank] = compact(came[comm.rank])
        pieces += came
    return pa.concat_tables(pieces)


def repartition(
    comm: Communicator, table: pa.Table, by: Sequence[str] = (), threads: int = 1
) -> pa.Table:
    """Share the rows out anew: evenly and in order, or so that equal values meet.

    Collective: every rank passes its rows.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        by: names of columns whose equal values are to be on one rank; even shares without any.
        threads: how many threads the kernel may use.

    Returns:
        This rank's new rows.

    Raises:
        SchemaError: on every rank: the schemas differ, a type cannot be sent, or a column of
            ``by`` is missing or cannot be compared.
        CommunicatorError: the group failed.
    """
    if not by:
        return share_evenly(comm, table)

    def prepare() -> Request[list[int]]:
        check_columns(table.schema)
        on = find_keys(table.schema, by, "repartition by")
        return Request(on, f"repartition of {spell(table.schema)} by {list(by)}")

    on, _ = settle(comm, prepare)
    return table if comm.size == 1 else shuffle(comm, table, on, threads)


def equals(
    comm: Communicator,
    left: pa.Table,
    right: pa.Table,
    ordered: bool = True,
    threads: int = 1,
) -> bool:
    """Whether two tables have the same columns and rows; how they are cut does not matter.

    Collective: every rank passes its rows of both tables. Null equals null, NaN equals NaN (but
    not inside a list or struct), 0.0 equals -0.0. Types must be the same.

    Args:
        comm: the group of ranks.
        left: this rank's rows of one table.
        right: this rank's rows of the other table.
        ordered: whether the rows must be in the same order; otherwise each row must be there as
            often.
        threads: how many threads the kernels may use.

    Returns:
        The answer, the same on all ranks.

    Raises:
        SchemaError: on every rank: a type cannot be sent or, unordered, not be compared.
        CommunicatorError: the group failed.
    """
    _, rows = settle(comm, lambda: _comparison(left, right, ordered))
    totals = rows.sum(axis=0)
    if spell(left.schema) != spell(right.schema) or totals[0] != totals[1]:
        return False
    check = _equal_in_order if ordered else _equal_in_number
    same = check(comm, left, right, rows, threads)
    return same if comm.size == 1 else bool(comm.allreduce(np.array(same), "land"))


def _comparison(left: pa.Table, right: pa.Table, ordered: bool) -> Request[None]:
    for table in (left, right):
        check_columns(table.schema)
        if not ordered:
            find_keys(table.schema, table.column_names, "compare rows by")
    terms = f"equals of {spell(left.schema)} and {spell(right.schema)}, ordered={ordered}"
    return Request(None, terms, (left.num_rows, right.num_rows))


def _shares(rows: NDArray[np.int64], rank: int, number: int) -> list[int]:
    """Where a rank cuts its rows of table ``number`` for even shares of all tables in a row."""
    total, size = int(rows.sum()), len(rows)
    start = int(rows[:, :number].sum() + rows[:rank, number].sum())
    own = int(rows[rank, number])
    return [min(max(i * total // size - start, 0), own) for i in range(size + 1)]


def _equal_in_order(
    comm: Communicator, left: pa.Table, right: pa.Table, rows: NDArray[np.int64], _: int
) -> bool:
    """Bring the right rows to where the left ones are."""
    if comm.size > 1:
        edges = np.concatenate(([0], np.cumsum(rows[:, 0]))) - rows[: comm.rank, 1].sum()
        bounds = np.clip(edges, 0, right.num_rows).tolist()
        right = pa.concat_tables(exchange_slices(comm, right, bounds))
    pairs = zip(left.columns, right.columns, strict=True)
    return all(_same_values(plain_key(a), plain_key(b)) for a, b in pairs)


def _same_values(left: Column, right: Column) -> bool:
    if is_key_type(left.type):
        return not differ(left, right).any()
    return bool(left.equals(right))


def _equal_in_number(
    comm: Communicator, left: pa.Table, right: pa.Table, _: NDArray[np.int64], threads: int
) -> bool:
    """Count each different row, up for the left and down for the right: nothing must be left."""
    counted = pa.concat_tables([_counted(left, 1, threads), _counted(right, -1, threads)])
    if comm.size > 1:
        counted = shuffle(comm, counted, range(left.num_columns), threads)
    groups = Groups.of(counted.select(range(left.num_columns)), {"n": counted["n"]}, threads)
    return bool(pc.all(pc.equal(fold(groups, groups.values["n"], "sum"), 0), min_count=0).as_py())


def _counted(table: pa.Table, step: int, threads: int) -> pa.Table:
    keys = pa.Table.from_arrays(table.columns, [str(i) for i in range(table.num_columns)])
    groups = Groups.of(keys, threads=threads)
    different = take_rows(keys, groups.first)
    return different.append_column("n", pa.array(groups.lengths * step))
