"""Group-by within a memory budget, over the local disk.

What is folded is folded slice by slice, and the states of a slice's groups go to the parts of their
keys; different values meet in parts of keys and values, are counted there, and the counts go to the
parts of the keys; values of which a quantile is wanted go there themselves. Then part after part is
finished, and its groups are whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from elevon.comm.protocol import Communicator
from elevon.frames.aggregation.measures import in_form
from elevon.frames.aggregation.sort_groups import Groups, Rows, first_rows
from elevon.frames.exchange.shuffle import take_rows
from elevon.frames.memory.partitioned import KeyParts, Steps, fold_need, slices_of
from elevon.frames.memory.spill import Spill
from elevon.frames.operators.quantiles import (
    Spread,
    between,
    group_spreads,
    interpolate,
    numbers_among,
    without_nulls,
)
from elevon.frames.operators.selection import GROUP_BYTES, Batch, select
from elevon.frames.schema.decoded import Column


@dataclass(frozen=True, slots=True)
class SpilledGroups:
    """What one rank does for a group-by.

    Attributes:
        table: its rows, keys first.
        keys: how many key columns there are; none: the aggregates are of all rows.
        spreads: the aggregates that need the values themselves.
        present: leaves out rows that belong to no group.
        fold: makes the states of the groups of some rows.
        merge: makes one row of states for each group out of several.
        finish: makes rows of the result out of states and the columns of ``spreads``.
        steps: slices and parts, the same on all ranks.
        threads: how many threads the kernels may use.
        memory_bytes: the budget.
    """

    table: pa.Table
    keys: int
    spreads: Sequence[Spread]
    present: Callable[[pa.Table], pa.Table]
    fold: Callable[[pa.Table], pa.Table]
    merge: Callable[[pa.Table], pa.Table]
    finish: Callable[[pa.Table, Sequence[Column]], pa.Table]
    steps: Steps
    threads: int
    memory_bytes: int

    @property
    def on(self) -> range:
        """Where the key columns are."""
        return range(self.keys)

    def parts(
        self, spill: Spill, on: Sequence[int], comm: Communicator | None, place: tuple[int, int]
    ) -> KeyParts:
        """Empty parts of rows with these keys."""
        parts = self.steps.parts
        return KeyParts(spill, on, parts, comm, place, self.threads, self.memory_bytes)

    def slices(self) -> Iterator[pa.Table]:
        """The rows of all groups, slice by slice."""
        return (self.present(rows) for _, rows in slices_of(self.table, self.steps.slices))


def group_in_parts(
    work: SpilledGroups, comm: Communicator | None, place: tuple[int, int]
) -> pa.Table:
    """Aggregate per group.

    Collective, unless ``comm`` is None.

    Args:
        work: what to do.
        comm: the group of ranks; None where all rows of this rank's groups are here.
        place: over how many ranks the keys are spread, and which of them this is.

    Returns:
        This rank's groups.

    Raises:
        ResourceError: the disk is full.
    """
    quantiles = [one for one in work.spreads if one.quantile is not None]
    columns = list(dict.fromkeys([*work.on, *(one.column for one in quantiles)]))
    with Spill() as spill:
        states = work.parts(spill, work.on, comm, place)
        values = work.parts(spill, work.on, comm, place)
        for rows in work.slices():
            states.write(work.fold(rows))
            if quantiles:
                values.write(rows.select(columns))
        counts = {
            one.column: _count_different(work, spill, one, comm, place)
            for one in work.spreads
            if one.quantile is None
        }
        stores = _Stores(states, values, columns, counts)
        results = [
            _finish_part(work, stores, part)
            for part in range(work.steps.parts)
            if states.bytes_of(part)
        ]
    return pa.concat_tables([_no_groups(work), *results])


def spread_over_all(work: SpilledGroups, comm: Communicator, rows: int) -> list[Column]:
    """The aggregates over all rows that need the values themselves. Collective.

    Args:
        work: what to do.
        comm: the group of ranks.
        rows: how many rows this rank has in the result: one on rank 0, none on the others.

    Returns:
        One column of ``rows`` rows for each.
    """
    columns = [
        _different_of_all(work, comm, one)
        if one.quantile is None
        else _quantile_of_all(work, comm, one, one.quantile)
        for one in work.spreads
    ]
    return [column.slice(0, rows) for column in columns]


def _different_of_all(work: SpilledGroups, comm: Communicator, one: Spread) -> Column:
    with Spill() as spill:
        parts = _different_values(work, spill, one, comm, (comm.size, comm.rank))
        count = sum(len(first_rows(parts.read(part))) for part in range(work.steps.parts))
    return pa.chunked_array([_total(comm, np.array([count]))])


def _quantile_of_all(
    work: SpilledGroups, comm: Communicator, one: Spread, quantile: float
) -> Column:
    def batches() -> Iterator[Batch]:
        for rows in work.slices():
            values = _reals(without_nulls(rows, one.column).column(one.column))
            yield np.zeros(len(values), np.int64), values

    column = work.table.column(one.column)
    rows = _total(comm, np.array([len(column) - column.null_count]))
    if not rows[0]:
        return pa.chunked_array([pa.nulls(1, pa.float64())])
    low, high, part = between(rows, quantile)
    ends = [select(batches, at, partial(_total, comm)) for at in (low, high)]
    return pa.chunked_array([interpolate(ends[0], ends[1], part)])


def _total(comm: Communicator, counts: Rows) -> Rows:
    return np.asarray(comm.allreduce(counts, "sum")) if comm.size > 1 else counts


@dataclass(frozen=True, slots=True)
class _Stores:
    """What is on disk once all rows have been seen; part i of all of it has the same keys."""

    states: KeyParts
    values: KeyParts
    columns: Sequence[int]
    counts: dict[int, KeyParts]


def _different_values(
    work: SpilledGroups,
    spill: Spill,
    one: Spread,
    comm: Communicator | None,
    place: tuple[int, int],
) -> KeyParts:
    """The different keys and values, in parts of both; equal ones of several slices are in one."""
    parts = work.parts(spill, range(work.keys + 1), comm, place)
    for rows in work.slices():
        pairs = without_nulls(rows, one.column).select([*work.on, one.column])
        names = [str(number) for number in range(pairs.num_columns)]
        pairs = pairs.rename_columns(names)
        parts.write(take_rows(pairs, first_rows(pairs, work.threads)))
    return parts


def _count_different(
    work: SpilledGroups,
    spill: Spill,
    one: Spread,
    comm: Communicator | None,
    place: tuple[int, int],
) -> KeyParts:
    """For each key, in how many parts it has how many different values. Collective.

    The values of one key lie in many parts, so that one with very many of them fits, too.
    """
    # What is whole on its rank by the keys alone is nowhere by keys and values.
    pairs = _different_values(work, spill, one, comm, place if comm is not None else (1, 0))
    counts = work.parts(spill, work.on, comm, place)
    for part in range(work.steps.parts):
        rows = pairs.read(part)
        keys = take_rows(rows, first_rows(rows, work.threads)).select(list(work.on))
        groups = Groups.of(keys, threads=work.threads)
        counted = take_rows(keys, groups.first)
        counts.write(counted.append_column("n", pa.array(groups.lengths, pa.int64())))
    return counts


def _finish_part(work: SpilledGroups, stores: _Stores, part: int) -> pa.Table:
    states = work.merge(stores.states.read(part))
    groups = states.select(list(work.on))
    return work.finish(states, [_spread(work, stores, part, groups, one) for one in work.spreads])


def _spread(
    work: SpilledGroups, stores: _Stores, part: int, groups: pa.Table, one: Spread
) -> Column:
    """One aggregate that needs the values, of the groups of one part."""
    if one.quantile is None:
        counts = stores.counts[one.column].read(part)
        total = np.zeros(groups.num_rows, np.int64)
        np.add.at(
            total, numbers_among(groups, counts.select(list(work.on))), counts["n"].to_numpy()
        )
        return pa.chunked_array([total])
    local = Spread(stores.columns.index(one.column), one.quantile)
    if fold_need(stores.values.bytes_of(part)) > work.memory_bytes:
        return _select_in(work, stores, part, groups, local)
    rows = stores.values.read(part)
    return group_spreads(None, rows, work.on, groups, [local], work.threads)[0]


def _select_in(
    work: SpilledGroups, stores: _Stores, part: int, groups: pa.Table, one: Spread
) -> Column:
    """A quantile where the values of a part are too many at once: some groups after the other."""

    def batches(first: int = 0) -> Iterator[Batch]:
        for rows in stores.values.pieces(part):
            rows = without_nulls(rows, one.column)
            numbers = numbers_among(groups, rows.select(list(work.on)))
            yield numbers - first, _reals(rows.column(one.column))

    counts = np.zeros(groups.num_rows, np.int64)
    for numbers, _ in batches():
        counts += np.bincount(numbers, minlength=groups.num_rows)
    low, high, share = between(counts, one.quantile or 0.0)
    step, found = max(1, work.memory_bytes // (4 * GROUP_BYTES)), []
    for at in range(0, groups.num_rows, step):
        some = slice(at, at + step)
        ends = [select(partial(batches, at), place[some]) for place in (low, high)]
        found.append(interpolate(ends[0], ends[1], share[some]))
    return pa.chunked_array([pa.array(np.concatenate(found), mask=counts < 1)])


def _reals(column: Column) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(in_form(column, "real").to_numpy(), dtype=np.float64)


def _no_groups(work: SpilledGroups) -> pa.Table:
    """The result's schema, whatever the rows."""
    nothing = work.table.slice(0, 0)
    states = work.fold(nothing)
    groups = states.select(list(work.on))
    return work.finish(states, group_spreads(None, nothing, work.on, groups, work.spreads))
