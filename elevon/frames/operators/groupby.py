"""Group-by over a private group of ranks: aggregates per key, or of all rows.

Each rank first makes one row of states per group, so what travels grows with the groups and not
with rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError, SchemaError
from elevon.frames.aggregation.hash_groups import fold_few
from elevon.frames.aggregation.measures import check_aggregate, from_form, missing_keys
from elevon.frames.aggregation.partial_states import States
from elevon.frames.aggregation.sort_groups import Groups, find_keys
from elevon.frames.aggregation.value_orders import (
    codes,
    in_order,
    is_ordered,
    ordered_type,
    shared_order,
)
from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.partitioning import Layout, is_settled
from elevon.frames.exchange.requests import Request, settle
from elevon.frames.exchange.shuffle import replicate, shuffle, take_rows
from elevon.frames.memory.budget import check_memory
from elevon.frames.memory.partitioned import Steps, fold_need, plan_steps
from elevon.frames.operators.quantiles import Spread, all_spreads, group_spreads
from elevon.frames.operators.spilled_groups import (
    SpilledGroups,
    group_in_parts,
    spread_over_all,
)
from elevon.frames.schema.decoded import Column
from elevon.frames.schema.join_plan import check_columns
from elevon.frames.schema.plain import plain_columns
from elevon.model.algebra import Aggregate

#: Rows that are looked at before a rank folds its own.
SAMPLE_ROWS: Final = 1 << 15
#: With no more groups than these in the sample, a hash table stays in the cache.
FEW_GROUPS: Final = 1 << 12
#: With more groups than this share of a sample, folding costs more than it saves the others.
NEARLY_ALL: Final = 0.9


def groupby(
    comm: Communicator,
    table: pa.Table,
    by: Sequence[str],
    aggregates: Sequence[Aggregate],
    dropna: bool = True,
    threads: int = 1,
    layout: Layout | None = None,
    memory_bytes: int | None = None,
) -> pa.Table:
    """Aggregate a distributed table per group of equal keys.

    Collective: every rank passes its rows, which may be none, and gets some of the groups. Which
    groups lie where, and in which order, is not specified, but the same each time.

    Nulls are left out by all functions but size, as pandas does it: the sum of no values is 0,
    their minimum, mean and quantile are null. ``var`` and ``std`` divide by n - 1 and are null for
    fewer than two values. ``quantile`` is exact, linear between two values, and gathers a group's
    values on one rank. NaN is a value: one group of its own, and it makes sums and means NaN.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        by: names of the key columns; without any, the aggregates are of all rows and rank 0 gets
            the one row of the result.
        aggregates: what to compute.
        dropna: whether rows with a null or NaN among the keys are left out, as in pandas;
            otherwise null is a key like any other, and so is NaN.
        threads: how many threads the kernels may use on this rank.
        layout: how this rank's rows lie, if that is known; it is believed. Where they lie by the
            same keys on all ranks, nothing travels.
        memory_bytes: how much working memory each rank may take beside its input and its result;
            what does not fit goes to the local disk for a while. None: no limit.

    Returns:
        This rank's groups: the key columns, then one column per aggregate.

    Raises:
        DescriptionError: two result columns have one name; on every rank.
        SchemaError: a column is missing or its type does not fit, on any rank, on every rank; or
            a sum of integers, durations or decimals does not fit into its type.
        ResourceError: the disk is full.
        CommunicatorError: the group failed.
    """
    place = comm.size, comm.rank
    work, facts = settle(
        comm, lambda: _prepare(table, by, aggregates, dropna, layout, place, memory_bytes)
    )
    work = _by_their_orders(comm, work)
    # Groups that are whole on their ranks are the business of these ranks alone.
    met = None if comm.size == 1 or (work.on and facts[:, 0].all()) else comm
    if memory_bytes is not None and fold_need(int(facts[:, 1].max())) > memory_bytes:
        steps = plan_steps(memory_bytes, facts[:, 1].tolist(), int(facts[:, 2].max()), comm.size)
        made = _run_spilled(comm, met, work, steps, memory_bytes, threads)
        return _consented(comm, work, made)
    work = replace(work, table=work.present(work.table))
    if work.on:
        states = _grouped(met, work, threads)
        groups = states.select(range(len(work.on)))
        spreads = group_spreads(met, work.table, work.on, groups, work.spreads, threads)
    else:
        states = _overall(comm, work)
        spreads = all_spreads(comm, work.table, work.spreads, states.num_rows, threads)
    return _consented(comm, work, work.result(states, spreads))


@dataclass(frozen=True, slots=True)
class _Work:
    """One rank's share of a group-by, checked."""

    table: pa.Table
    on: tuple[int, ...]
    aggregates: tuple[Aggregate, ...]
    states: States
    spreads: tuple[Spread, ...]
    schema: pa.Schema
    dropna: bool
    problems: list[SchemaError]
    orders: Mapping[str, pa.Array[Any]]

    def present(self, rows: pa.Table) -> pa.Table:
        """The rows that belong to a group."""
        missing = missing_keys(rows, self.on) if self.dropna else None
        if missing is None:
            return rows
        return take_rows(rows, np.flatnonzero(pc.invert(missing).to_numpy()))

    def result(self, states: pa.Table, spreads: Sequence[Column]) -> pa.Table:
        """The result's columns out of states and spreads, in the order of the request.

        A sum without room is no reason to leave the others alone: it is kept until all can be told.
        """
        try:
            return self._result(states, spreads)
        except SchemaError as problem:
            self.problems.append(problem)
            return pa.Table.from_arrays(
                [pa.nulls(0, field.type) for field in self.schema], schema=self.schema
            )

    def _result(self, states: pa.Table, spreads: Sequence[Column]) -> pa.Table:
        columns: list[Any] = states.columns[: len(self.on)]
        rest = iter(spreads)
        for wanted in self.aggregates:
            found = (
                next(rest)
                if Spread.covers(wanted)
                else self.states.finish(states, wanted, self.table.schema)
            )
            if wanted.column in self.orders:
                found = in_order(found, self.orders[wanted.column])
            columns.append(from_form(found, self.schema.field(len(columns)).type))
        return pa.Table.from_arrays(columns, schema=self.schema)


def _prepare(
    table: pa.Table,
    by: Sequence[str],
    aggregates: Sequence[Aggregate],
    dropna: bool,
    layout: Layout | None,
    place: tuple[int, int],
    memory_bytes: int | None,
) -> Request[_Work]:
    check_memory(memory_bytes)
    table, wanted = plain_columns(table), tuple(aggregates)
    keys = [table.schema.field(index) for index in find_keys(table.schema, by, "group by")]
    fields = [pa.field(key.name, key.type) for key in keys]
    fields += [check_aggregate(table.schema, one) for one in wanted]
    _refuse_repeated([field.name for field in fields])
    names = dict.fromkeys([*(key.name for key in keys), *(one.column for one in wanted)])
    rows = table.select(list(names))
    schema, on = rows.schema, tuple(range(len(keys)))
    check_columns(schema)
    work = _Work(
        rows,
        on,
        wanted,
        States.of(schema, wanted),
        tuple(Spread.of(schema, one) for one in wanted if Spread.covers(one)),
        pa.schema(fields),
        dropna,
        [],
        {},
    )
    terms = f"groupby {list(by)} of {spell(schema)}, dropna={dropna}: {wanted}, {memory_bytes=}"
    nbytes = 0 if memory_bytes is None else _working_bytes(work)
    return Request(work, terms, (int(_whole_here(work, layout, place)), nbytes, rows.num_rows))


def _by_their_orders(comm: Communicator, work: _Work) -> _Work:
    """The least and the greatest value of an ordered dictionary are those of the values' places.

    Collective where there is such a dictionary.
    """
    rows, aggregates, orders = work.table, list(work.aggregates), {}
    added: dict[str, str] = {}
    schema = work.schema
    for number, one in enumerate(aggregates):
        column = rows.column(one.column)
        if one.function not in ("min", "max") or not is_ordered(column.type):
            continue
        at = len(work.on) + number
        places = added.get(one.column, "")
        if not places:
            order = shared_order(comm, column, one.column)
            places = added[one.column] = _free_name(rows, f"places of {one.column}")
            orders[places] = order.cast(schema.field(at).type)
            rows = rows.append_column(places, codes(column, order))
        aggregates[number] = Aggregate(one.name, places, one.function)
        schema = schema.set(at, schema.field(at).with_type(ordered_type(orders[places])))
    if not orders:
        return work
    return replace(
        work,
        table=rows,
        aggregates=tuple(aggregates),
        states=States.of(rows.schema, aggregates),
        orders=orders,
        schema=schema,
    )


def _free_name(table: pa.Table, name: str) -> str:
    """A name that no column of the table has."""
    while name in table.column_names:
        name += "'"
    return name


def _consented(comm: Communicator, work: _Work, made: pa.Table) -> pa.Table:
    """The result, if every rank has one. Collective where some sum may have no room."""
    if not work.states.may_wrap:
        return made

    def prepare() -> Request[pa.Table]:
        if work.problems:
            raise work.problems[0]
        return Request(made, "groupby")

    return settle(comm, prepare)[0]


def _whole_here(work: _Work, layout: Layout | None, place: tuple[int, int]) -> bool:
    """Whether no other rank has rows of this rank's groups; nulls may be anywhere."""
    rows, on = work.table, work.on
    types = [rows.schema.field(index).type for index in on]
    missing = not work.dropna and any(rows.column(index).null_count for index in on)
    return not missing and is_settled(rows, layout, on, types, place)


def _working_bytes(work: _Work) -> int:
    """Bytes of the rows with a state and a number of eight bytes for each of what is computed."""
    states = len(work.states.folds) + 3 * len(work.states.moments) + len(work.spreads)
    return own_bytes(work.table) + 8 * int(work.table.num_rows) * (1 + states)


def _run_spilled(
    comm: Communicator,
    met: Communicator | None,
    work: _Work,
    steps: Steps,
    memory_bytes: int,
    threads: int,
) -> pa.Table:
    """The same in slices and parts. Collective."""
    keys = len(work.on)
    spilled = SpilledGroups(
        work.table,
        keys,
        work.spreads,
        work.present,
        lambda rows: _folded_here(replace(work, table=rows), threads, for_good=True),
        lambda states: work.states.folded(states, keys, threads),
        work.result,
        steps,
        threads,
        memory_bytes,
    )
    if keys:
        return group_in_parts(spilled, met, (comm.size, comm.rank))
    slices = [_overall_here(replace(work, table=rows)) for rows in spilled.slices()]
    states = _overall_met(comm, work, pa.concat_tables(slices))
    return work.result(states, spread_over_all(spilled, comm, states.num_rows))


def _grouped(comm: Communicator | None, work: _Work, threads: int) -> pa.Table:
    """The states of the groups that belong here; without a communicator, of those that are here."""
    keys = len(work.on)
    states = _folded_here(work, threads, comm is None)
    if comm is None:
        return states
    return work.states.folded(shuffle(comm, states, range(keys), threads), keys, threads)


def _folded_here(work: _Work, threads: int, for_good: bool) -> pa.Table:
    """The states of this rank's groups: by the hash table or the sort kernel.

    Unless it is for good, rows that make hardly fewer groups stay as they are: a row is a group of
    one to whoever receives it, and each rank decides for itself.
    """
    keys = len(work.on)
    groups, rows = _sampled(work.table.select(list(work.on)))
    if groups <= FEW_GROUPS:
        return work.states.folded(fold_few(work.states, work.table, work.on), keys, threads)
    states = work.states.of_rows(work.table, work.on)
    # In a sample of a 30th, groups of less than about three rows hardly meet.
    is_worth = for_good or work.table.num_rows == rows or groups < NEARLY_ALL * rows
    return work.states.folded(states, keys, threads) if is_worth else states


def _sampled(keys: pa.Table) -> tuple[int, int]:
    """How many groups there are among some rows from all over, and how many rows these are."""
    step = max(1, keys.num_rows // SAMPLE_ROWS)
    sample = take_rows(keys, np.arange(0, keys.num_rows, step, dtype=np.int64))
    return len(Groups.of(sample)), sample.num_rows


def _overall(comm: Communicator, work: _Work) -> pa.Table:
    """The states of all rows, on rank 0; a table of no rows on the others. Collective."""
    return _overall_met(comm, work, _overall_here(work))


def _overall_here(work: _Work) -> pa.Table:
    """One row of states of this rank's rows.

    A rank without rows makes it of one row of nulls, which only the number of rows could tell; and
    that one is set right.
    """
    table, empty = work.table, not work.table.num_rows
    if empty:
        table = pa.Table.from_arrays(
            [pa.nulls(1, field.type) for field in table.schema], schema=table.schema
        )
    one = pa.array(np.zeros(table.num_rows, dtype=np.int8))
    states = fold_few(work.states, table.append_column("", one), [table.num_columns])
    return _without_row(work, states) if empty else states


def _overall_met(comm: Communicator, work: _Work, states: pa.Table) -> pa.Table:
    """One row out of all ranks' rows of states. Collective."""
    if comm.size > 1:
        states = replicate(comm, states)
    if states.num_rows > 1:
        states = work.states.folded(states, 1)
    return states.drop_columns(["0"]).slice(0, 1 if comm.rank == 0 else 0)


def _without_row(work: _Work, states: pa.Table) -> pa.Table:
    for fold in work.states.folds:
        if fold.form == "one":
            at = states.schema.get_field_index(fold.name)
            states = states.set_column(at, fold.name, pa.array([0], pa.int64()))
    return states


def _refuse_repeated(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DescriptionError(
                f"groupby: two columns of the result are called {name!r}: rename one of them"
            )
