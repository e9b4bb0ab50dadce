"""Aggregates without a small state: numbers of different values, and exact quantiles.

Different values are counted after each rank has dropped its own repetitions; for a quantile the
values themselves travel, per group to one rank, and over all rows by a distributed sort, so that no
rank has to hold them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.frames.aggregation.measures import in_form
from elevon.frames.aggregation.sort_groups import Groups, Rows, ascending, first_rows
from elevon.frames.exchange.shuffle import shuffle, take_rows
from elevon.frames.join_sort.distributed import sort
from elevon.frames.schema.decoded import Column
from elevon.model.algebra import Aggregate

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """One aggregate that needs the values themselves; ``quantile`` is None where they are counted.

    Attributes:
        column: where they are.
        quantile: which one, from 0 to 1.
    """

    column: int
    quantile: float | None

    @staticmethod
    def covers(wanted: Aggregate) -> bool:
        """Whether the aggregate is one of these."""
        return wanted.function in ("nunique", "quantile")

    @staticmethod
    def of(schema: pa.Schema, wanted: Aggregate) -> Spread:
        """The aggregate with its column found."""
        exact = wanted.quantile if wanted.function == "quantile" else None
        return Spread(schema.get_field_index(wanted.column), exact)


def group_spreads(
    comm: Communicator | None,
    table: pa.Table,
    on: Sequence[int],
    groups: pa.Table,
    wanted: Sequence[Spread],
    threads: int = 1,
) -> list[Column]:
    """Collective: the values per group.

    Args:
        comm: the group of ranks; None where all rows of this rank's groups are here.
        table: this rank's rows.
        on: positions of the key columns.
        groups: this rank's groups: the different keys, brought here by the same hash.
        wanted: what to compute, the same on all ranks.
        threads: how many threads the kernels may use.

    Returns:
        One column for each wish, with one value per row of ``groups``.
    """
    met: dict[tuple[int, bool], tuple[Rows, pa.Table]] = {}
    columns = []
    for one in wanted:
        which = one.column, one.quantile is None
        if which not in met:
            met[which] = _meet(comm, table, on, groups, one, threads)
        numbers, values = met[which]
        columns.append(_of_groups(one, numbers, values, groups.num_rows))
    return columns


def all_spreads(
    comm: Communicator, table: pa.Table, wanted: Sequence[Spread], rows: int, threads: int = 1
) -> list[Column]:
    """Collective: the values over all rows.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        wanted: what to compute, the same on all ranks.
        rows: how many rows this rank has in the result: one on rank 0, none on the others.
        threads: how many threads the kernels may use.

    Returns:
        One column of ``rows`` rows for each wish.
    """
    columns = []
    for one in wanted:
        values = _valid(table, one)
        if one.quantile is None:
            columns.append(_count_all(comm, values, threads))
        else:
            columns.append(_quantile_all(comm, values, one.quantile, threads))
    return [column.slice(0, rows) for column in columns]


def _valid(table: pa.Table, one: Spread) -> pa.Table:
    """The column without its nulls; numbers as floats if a quantile is wanted."""
    column = table.column(one.column)
    if one.quantile is not None:
        column = in_form(column, "real")
    return without_nulls(pa.table({"value": column}), 0)


def without_nulls(table: pa.Table, column: int) -> pa.Table:
    """The rows that have a value in one column."""
    values = table.column(column)
    if not values.null_count:
        return table
    return take_rows(table, np.flatnonzero(values.is_valid().to_numpy()))


def _meet(
    comm: Communicator | None,
    table: pa.Table,
    on: Sequence[int],
    groups: pa.Table,
    one: Spread,
    threads: int,
) -> tuple[Rows, pa.Table]:
    """Bring the values of each group together: the groups' numbers here, and their values.

    Values are each once per group if they are only counted, and in order if not.
    """
    names = [str(i) for i in range(len(on))]
    rows = without_nulls(table, one.column)
    column = rows.column(one.column)
    value = column if one.quantile is None else in_form(column, "real")
    rows = rows.select(list(on)).rename_columns(names).append_column("value", value)
    if one.quantile is None:
        rows = take_rows(rows, first_rows(rows, threads))
    if comm is not None:
        rows = shuffle(comm, rows, range(len(on)), threads)
        if one.quantile is None:
            rows = take_rows(rows, first_rows(rows, threads))
    numbers = numbers_among(groups, rows.select(names))
    if one.quantile is None:
        return numbers, rows
    numbered = pa.table({"group": numbers, "value": rows.column("value")})
    ordered = ascending(2).sort(numbered, threads)
    return ordered.column("group").to_numpy(), ordered


def numbers_among(groups: pa.Table, keys: pa.Table) -> Rows:
    """For each row of ``keys``, the row of ``groups`` that equals it; all of them have one."""
    names = keys.column_names
    # Fields are named anew, because one table may have kept what the other lost: "not null".
    tables = [pa.Table.from_arrays(each.columns, names) for each in (groups, keys)]
    both = Groups.of(pa.concat_tables(tables))
    known = groups.num_rows
    numbers = both.numbers
    place = np.zeros(len(both), dtype=np.int64)
    place[numbers[:known]] = np.arange(known)
    return place[numbers[known:]]


def _of_groups(one: Spread, numbers: Rows, values: pa.Table, groups: int) -> Column:
    counts = np.bincount(numbers, minlength=groups).astype(np.int64)
    if one.quantile is None:
        return pa.chunked_array([counts])
    starts = np.cumsum(counts) - counts
    low, high, part = between(counts, one.quantile)
    ordered = values.column("value").to_numpy()
    padded = np.append(ordered, np.nan)  # groups of nulls alone look somewhere, and are masked
    found = interpolate(padded[starts + low], padded[starts + high], part)
    return pa.chunked_array([pa.array(found, mask=counts < 1)])


def _count_all(comm: Communicator, values: pa.Table, threads: int) -> Column:
    once = take_rows(values, first_rows(values, threads))
    if comm.size > 1:
        met = shuffle(comm, once, [0], threads)
        once = met.select([0]).slice(0, len(Groups.of(met, threads=threads)))
    total = comm.allreduce(np.array(once.num_rows)) if comm.size > 1 else once.num_rows
    return pa.chunked_array([pa.array([int(total)], pa.int64())])


def _quantile_all(comm: Communicator, values: pa.Table, quantile: float, threads: int) -> Column:
    """Sort all values, and let the ranks that hold the two in question tell them."""
    own = sort(comm, values, ["value"], threads=threads).column("value").to_numpy()
    counts = comm.allgather(np.array(len(own))) if comm.size > 1 else np.array([len(own)])
    total = np.array([counts.sum()])
    if not total[0]:
        return pa.chunked_array([pa.nulls(1, pa.float64())])
    first = int(counts[: comm.rank].sum())
    low, high, part = between(total, quantile)
    wanted = np.concatenate([low, high]) - first
    held = (wanted >= 0) & (wanted < len(own))
    told = np.where(held, np.append(own, 0.0)[np.where(held, wanted, -1)], 0.0)
    if comm.size > 1:
        # Not a sum: it would turn -0.0 into 0.0 and spoil infinite values beside NaN.
        offered, who = comm.allgather(told), comm.allgather(held)
        told = offered[who.argmax(axis=0), np.arange(2)]
    return pa.chunked_array([interpolate(told[:1], told[1:], part)])


def between(counts: Rows, quantile: float) -> tuple[Rows, Rows, Reals]:
    """Between which two of so many ordered values a quantile lies, and how far."""
    at = np.maximum(counts - 1, 0) * quantile
    low = np.floor(at).astype(np.int64)
    return low, np.ceil(at).astype(np.int64), at - low


@np.errstate(all="ignore")  # between infinite values there is NaN
def interpolate(low: Reals, high: Reals, part: Reals) -> Reals:
    """On the first of two values exactly, whatever the second is."""
    apart = high - low
    # Their distance may be beyond all floats though they are not.
    beyond = np.isinf(apart) & np.isfinite(low) & np.isfinite(high)
    found = np.where(beyond, low * (1 - part) + high * part, low + apart * part)
    return np.where((part == 0) | (low == high), low, found)
