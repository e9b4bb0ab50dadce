"""Join and sort over a private group of ranks: each rank passes its partition and gets its own.

Before it: ``planning`` and ``ordering`` (what to do), ``agreement`` (all ranks want the same),
``exchange`` (rows travel) and ``splitters`` (where to cut). After it: the agent's ranks, and user
functions that have a communicator. Time spent in the exchange is measured by the communicator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.frames.agreement import agree, spell
from elevon.frames.exchange import exchange_slices, replicate, shuffle, take_rows
from elevon.frames.ordering import Order, plan_sort
from elevon.frames.planning import (
    LEFT_ONLY,
    JoinPlan,
    cast_keys,
    find_column,
    plan_join,
    run_join,
)
from elevon.frames.splitters import cut_run

Route: TypeAlias = Literal["shuffle", "replicate_left", "replicate_right"]

#: A side may be replicated where every row of the other side is to be seen exactly once.
REPLICATES_RIGHT: Final = ("inner", "left", "semi", "anti")
REPLICATES_LEFT: Final = ("inner", "right")
#: Which rows without a partner are part of the result.
KEEPS_LEFT: Final = ("left", "outer", "anti")
KEEPS_RIGHT: Final = ("right", "outer")
#: The side that is not replicated stays where it is. If its largest part is more than twice the
#: mean, the rank that holds it would work while the others wait; a shuffle evens that out.
LARGEST_PART: Final = 2


def join(
    comm: Communicator,
    left: pa.Table,
    right: pa.Table,
    left_on: Sequence[str],
    right_on: Sequence[str],
    how: str = "inner",
    suffixes: tuple[str | None, str | None] = ("_x", "_y"),
    nulls_equal: bool = False,
    threads: int = 1,
) -> pa.Table:
    """Join two distributed tables.

    Collective: every rank passes its part of both tables (which may be empty) and gets its part
    of the result. Which rows of the result lie where, and in which order, is not specified.

    Args:
        comm: the group.
        left: this rank's rows of the left table.
        right: this rank's rows of the right table.
        left_on: names of the left key columns.
        right_on: names of the right key columns, as many.
        how: inner, left, right, outer, semi or anti.
        suffixes: appended to the names of other columns that both tables have.
        nulls_equal: whether a null key matches a null key.
        threads: how many threads the kernels may use on this rank.

    Returns:
        This rank's part, with columns as ``pandas.merge`` names and orders them.

    Raises:
        DescriptionError: ``how`` or the number of keys is wrong; on every rank.
        SchemaError: a column or its type does not fit, on any rank; on every rank.
        CommunicatorError: the group failed.
    """

    def prepare() -> _JoinInput:
        return _prepare_join(left, right, left_on, right_on, how, suffixes, nulls_equal)

    if comm.size == 1:
        work = prepare()
        return run_join(work.plan, work.left, work.right, nulls_equal, threads)
    work, sizes = agree(comm, prepare)
    route = choose_route(how, sizes)
    if route == "shuffle":
        moved = _shuffle_both(comm, work, threads)
    elif route == "replicate_right":
        moved = work.left, replicate(comm, work.right)
    else:
        moved = replicate(comm, work.left), work.right
    return run_join(work.plan, *moved, nulls_equal, threads)


def sort(
    comm: Communicator,
    table: pa.Table,
    by: str | Sequence[str],
    ascending: bool | Sequence[bool] = True,
    na_position: str = "last",
    threads: int = 1,
) -> pa.Table:
    """Sort a distributed table: rank r gets the r-th range of the global order.

    Collective: every rank passes its part, which may be empty. Stable over the whole group: equal
    rows keep the order of (rank, position). Shares differ by a few percent at most, also where
    many keys are equal.

    Sample sort with regular sampling (Shi and Schaeffer, 1992), with a constant number of samples
    per rank and ties broken by origin.

    Args:
        comm: the group.
        table: this rank's rows.
        by: names of the key columns, most significant first.
        ascending: one direction for all keys, or one for each.
        na_position: "first" or "last": where nulls (and NaN) go, whatever the direction.
        threads: how many threads the kernels may use on this rank.

    Returns:
        This rank's range of the sorted table.

    Raises:
        DescriptionError: the arguments do not fit each other; on every rank.
        SchemaError: a column is missing or has no order, on any rank; on every rank.
        CommunicatorError: the group failed.
    """

    def prepare() -> _SortInput:
        return _SortInput(table, plan_sort(table.schema, by, ascending, na_position))

    if comm.size == 1:
        return prepare().order.sort(table, threads)
    work, facts = agree(comm, prepare)
    run = work.order.sort(table, threads)
    bounds = cut_run(comm, work.order, run, facts[:, 0])
    return work.order.merge(exchange_slices(comm, run, bounds), threads)


def choose_route(how: str, sizes: NDArray[np.int64]) -> Route:
    """Which rows travel: those of both sides by hash, or all of one side to every rank.

    Replicating R bytes to P ranks moves R * (P-1); a shuffle moves (L+R) * (P-1)/P.

    Args:
        how: the kind of join.
        sizes: bytes of the left and right part of each rank, the same on all ranks.

    Returns:
        The route, the same on all ranks.
    """
    ranks = len(sizes)
    left, right = (int(total) for total in sizes.sum(axis=0))
    even = sizes.max(axis=0) * ranks <= LARGEST_PART * sizes.sum(axis=0)
    if how in REPLICATES_RIGHT and right * ranks < left + right and even[0]:
        return "replicate_right"
    if how in REPLICATES_LEFT and left * ranks < left + right and even[1]:
        return "replicate_left"
    return "shuffle"


@dataclass(frozen=True, slots=True)
class _JoinInput:
    """One rank's share of a join, checked, keys cast."""

    left: pa.Table
    right: pa.Table
    plan: JoinPlan
    nulls_equal: bool

    @property
    def terms(self) -> str:
        plan = self.plan
        keys = [str(kind) for kind in plan.key_types]
        return (
            f"{plan.how} join on columns {plan.left_on} and {plan.right_on} ({', '.join(keys)}), "
            f"nulls_equal={self.nulls_equal}, giving {spell(plan.schema)}"
        )

    @property
    def facts(self) -> tuple[int, int]:
        return self.left.nbytes, self.right.nbytes


@dataclass(frozen=True, slots=True)
class _SortInput:
    """One rank's share of a sort, checked."""

    table: pa.Table
    order: Order

    @property
    def terms(self) -> str:
        return f"sort of {spell(self.table.schema)} by {self.order}"

    @property
    def facts(self) -> tuple[int, int]:
        return self.table.num_rows, 0


def _prepare_join(
    left: pa.Table,
    right: pa.Table,
    left_on: Sequence[str],
    right_on: Sequence[str],
    how: str,
    suffixes: tuple[str | None, str | None],
    nulls_equal: bool,
) -> _JoinInput:
    """Check one rank's share; a semi or anti join needs the keys of the right side only."""
    if how in LEFT_ONLY:
        keys = dict.fromkeys(
            find_column(right.schema, name, "the right table") for name in right_on
        )
        right = right.select(list(keys))
    plan = plan_join(left.schema, right.schema, left_on, right_on, how, suffixes)
    return _JoinInput(
        cast_keys(left, plan.left_on, plan.key_types),
        cast_keys(right, plan.right_on, plan.key_types),
        plan,
        nulls_equal,
    )


def _shuffle_both(comm: Communicator, work: _JoinInput, threads: int) -> tuple[pa.Table, pa.Table]:
    """Both sides by the hash of their keys, one after the other to bound the memory.

    A row with a null key has no partner to meet (unless nulls are equal). It stays where it is,
    or is left out where the join does not keep it: otherwise one rank would get them all.
    """
    how, plan = work.plan.how, work.plan
    left, right = work.left, work.right
    if work.nulls_equal:
        moved_left = shuffle(comm, left, plan.left_on, threads)
        return moved_left, shuffle(comm, right, plan.right_on, threads)
    left, left_alone = _part_null_keys(left, plan.left_on, how in KEEPS_LEFT)
    right, right_alone = _part_null_keys(right, plan.right_on, how in KEEPS_RIGHT)
    left = pa.concat_tables([shuffle(comm, left, plan.left_on, threads), left_alone])
    return left, pa.concat_tables([shuffle(comm, right, plan.right_on, threads), right_alone])


def _part_null_keys(table: pa.Table, on: Sequence[int], keep: bool) -> tuple[pa.Table, pa.Table]:
    """The rows whose keys are all there, and the others (none of them unless they are kept)."""
    nulls = [column.is_null() for column in map(table.column, on) if column.null_count]
    if not nulls:
        return table, table.slice(0, 0)
    missing = np.logical_or.reduce([column.to_numpy() for column in nulls])
    alone = take_rows(table, np.flatnonzero(missing)) if keep else table.slice(0, 0)
    return take_rows(table, np.flatnonzero(~missing)), alone
