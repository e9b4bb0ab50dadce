"""Join and sort over a private group of ranks: each rank passes its partition and gets its own.

Time spent in the exchange is measured by the communicator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.frames.exchange.agreement import agree
from elevon.frames.exchange.partitioning import Placed, carried, shuffled
from elevon.frames.exchange.ranges import MOST_RANGES, RANGE_SAMPLES, has_numbers, send_ranges
from elevon.frames.exchange.shuffle import exchange_slices, replicate, rounds_for, shuffle
from elevon.frames.exchange.splitters import choose_splitters, cut_run
from elevon.frames.join_sort.in_parts import (
    MOST_PARTED,
    is_large,
    join_parted,
    parts_for,
    sort_parted,
)
from elevon.frames.join_sort.inputs import (
    KEEPS_LEFT,
    KEEPS_RIGHT,
    UNKNOWN,
    JoinWork,
    Layouts,
    SortWork,
    part_null_keys,
    prepare_join,
)
from elevon.frames.join_sort.out_of_core import join_external, sort_external
from elevon.frames.join_sort.skew import NONE, find_heavy, shuffle_heavy
from elevon.frames.memory.budget import (
    Counts,
    check_memory,
    count_arrivals,
    join_need,
    sort_need,
)
from elevon.frames.schema.join_plan import run_join
from elevon.frames.schema.plain import plain_columns
from elevon.frames.schema.sort_plan import plan_sort

Route: TypeAlias = Literal["shuffle", "replicate_left", "replicate_right"]

#: A side may be replicated where every row of the other side is to be seen exactly once.
REPLICATES_RIGHT: Final = ("inner", "left", "semi", "anti")
REPLICATES_LEFT: Final = ("inner", "right")
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
    memory_bytes: int | None = None,
) -> pa.Table:
    """Join two distributed tables.

    Collective: every rank passes its part of both tables (which may be empty) and gets its part
    of the result. Which rows of the result lie where, and in which order, is not specified.

    A key with very many rows is not left to one rank: its rows are dealt out over all ranks, and
    its partners copied to them (not for an outer join, whose unmatched rows would be copied, too).

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
        memory_bytes: how much working memory each rank may take beside its input and its result;
            what does not fit goes to the local disk for a while. The result is not part of it: a
            join can have many more rows than its inputs, and whoever asks for it has to have room
            for it. None: no limit.

    Returns:
        This rank's part, with columns as ``pandas.merge`` names and orders them.

    Raises:
        DescriptionError: ``how``, the number of keys or the budget is wrong; on every rank.
        SchemaError: a column or its type does not fit, on any rank; on every rank.
        ResourceError: the disk is full.
        CommunicatorError: the group failed.
    """
    return place_join(
        comm, left, right, left_on, right_on, how, suffixes, nulls_equal, threads, memory_bytes
    ).table


def place_join(
    comm: Communicator,
    left: pa.Table,
    right: pa.Table,
    left_on: Sequence[str],
    right_on: Sequence[str],
    how: str = "inner",
    suffixes: tuple[str | None, str | None] = ("_x", "_y"),
    nulls_equal: bool = False,
    threads: int = 1,
    memory_bytes: int | None = None,
    layouts: Layouts = UNKNOWN,
) -> Placed:
    """Join two distributed tables, knowing how they lie, and tell how the result does.

    Collective, as ``join``. A side that lies already where its keys belong does not move. Both
    sides' layouts are believed, so they may be passed only with exactly the rows they came with;
    one that is of another rank or another number of ranks is of no use and does no harm.

    Args:
        comm: and the following as for ``join``.
        layouts: what is known of the left and the right rows.

    Returns:
        This rank's part, and its layout where it has one.

    Raises:
        UsageError: as ``join``.
        CommunicatorError: the group failed.
    """

    left, right = plain_columns(left), plain_columns(right)

    def prepare() -> JoinWork:
        return prepare_join(
            left, right, left_on, right_on, how, suffixes, nulls_equal,
            memory_bytes, layouts, (comm.size, comm.rank),
        )  # fmt: skip

    if comm.size == 1 and memory_bytes is None:
        return _join_alone(prepare(), threads)
    work, facts = agree(comm, prepare)
    # From here on a side is settled if it is on every rank.
    work = replace(work, settled=(bool(facts[:, 4].all()), bool(facts[:, 5].all())))
    route = choose_route(how, facts[:, :2], work.settled)
    if memory_bytes is not None:
        routed = _routed(comm, work, facts, route, threads)
        if join_need(routed, _moving(facts, route, work.settled), facts[:, 6]) > memory_bytes:
            if route != "shuffle":
                routed = _routed(comm, work, facts, "shuffle", threads)
            table = join_external(comm, work, facts, routed, memory_bytes, threads)
            return Placed(table, shuffled(work.plan, comm.size, comm.rank))
    if comm.size == 1:
        return _join_alone(work, threads)
    return _join_in_memory(comm, work, facts, route, threads, (left.schema, right.schema), layouts)


def sort(
    comm: Communicator,
    table: pa.Table,
    by: str | Sequence[str],
    ascending: bool | Sequence[bool] = True,
    na_position: str = "last",
    threads: int = 1,
    memory_bytes: int | None = None,
) -> pa.Table:
    """Sort a distributed table: rank r gets the r-th range of the global order.

    Collective: every rank passes its part, which may be empty. Stable over the whole group: equal
    rows keep the order of (rank, position). Shares differ by a few percent at most, also where
    many keys are equal.

    Sample sort (Frazer and McKellar, 1970) where the keys are plain numbers: rows go to their range
    and are sorted there once. Otherwise with regular sampling (Shi and Schaeffer, 1992): runs are
    sorted, cut and merged. A constant number of samples per rank, ties broken by origin.

    Args:
        comm: the group.
        table: this rank's rows.
        by: names of the key columns, most significant first.
        ascending: one direction for all keys, or one for each.
        na_position: "first" or "last": where nulls (and NaN) go, whatever the direction.
        threads: how many threads the kernels may use on this rank.
        memory_bytes: how much working memory each rank may take beside its input and its result;
            what does not fit goes to the local disk for a while. None: no limit.

    Returns:
        This rank's range of the sorted table.

    Raises:
        DescriptionError: the arguments do not fit each other; on every rank.
        SchemaError: a column is missing or has no order, on any rank; on every rank.
        ResourceError: the disk is full.
        CommunicatorError: the group failed.
    """

    table = plain_columns(table)

    def prepare() -> SortWork:
        check_memory(memory_bytes)
        order = plan_sort(table.schema, by, ascending, na_position)
        return SortWork(table, order, memory_bytes, has_numbers(order, table))

    if comm.size == 1 and memory_bytes is None:
        return prepare().order.sort(table, threads)
    work, facts = agree(comm, prepare)
    if memory_bytes is not None and sort_need(facts[:, 1]) > memory_bytes:
        return sort_external(comm, work, facts, memory_bytes, threads)
    if comm.size == 1:
        return work.order.sort(table, threads)
    rounds = rounds_for(int(facts[:, 1].max()))
    if facts[:, 2].all() and comm.size <= MOST_RANGES:
        parted = memory_bytes is None and is_large(facts[:, 1]) and comm.size <= MOST_PARTED
        parts = parts_for(comm.size) if parted else 1
        splitters = choose_splitters(comm, work.order, table, facts[:, 0], parts, RANGE_SAMPLES)
        # What is in order already is sorted without a copy, and hardly moves.
        if not splitters.in_order and parted:
            return sort_parted(comm, work.order, table, splitters, threads)
        if not splitters.in_order:
            return work.order.sort(send_ranges(comm, table, splitters, rounds, threads), threads)
    run = work.order.sort(table, threads)
    bounds = cut_run(comm, work.order, run, facts[:, 0])
    return work.order.merge(exchange_slices(comm, run, bounds, rounds), threads)


def choose_route(
    how: str, sizes: NDArray[np.int64], settled: tuple[bool, bool] = (False, False)
) -> Route:
    """Which rows travel: those of both sides by hash, or all of one side to every rank.

    Replicating R bytes to P ranks moves R * (P-1); a shuffle moves (L+R) * (P-1)/P, less what is
    settled.

    Args:
        how: the kind of join.
        sizes: bytes of the left and right part of each rank, the same on all ranks.
        settled: which sides need not move in a shuffle.

    Returns:
        The route, the same on all ranks.
    """
    ranks = len(sizes)
    left, right = (int(total) for total in sizes.sum(axis=0))
    even = sizes.max(axis=0) * ranks <= LARGEST_PART * sizes.sum(axis=0)
    moved = left * (not settled[0]) + right * (not settled[1])
    if how in REPLICATES_RIGHT and right * ranks < moved and even[0]:
        return "replicate_right"
    if how in REPLICATES_LEFT and left * ranks < moved and even[1]:
        return "replicate_left"
    return "shuffle"


def _join_alone(work: JoinWork, threads: int) -> Placed:
    """A group of one has nothing to exchange."""
    table = run_join(work.plan, work.left, work.right, work.nulls_equal, threads)
    return Placed(table, shuffled(work.plan, 1, 0))


def _join_in_memory(
    comm: Communicator,
    work: JoinWork,
    facts: Counts,
    route: Route,
    threads: int,
    schemas: tuple[pa.Schema, pa.Schema],
    layouts: Layouts,
) -> Placed:
    """Move the rows and run the kernel."""
    plan = work.plan
    if route == "shuffle":
        return _join_shuffled(comm, work, facts, threads)
    if route == "replicate_right":
        moved = work.left, replicate(comm, work.right)
        layout = carried(plan, "left", schemas[0], layouts[0])
    else:
        moved = replicate(comm, work.left), work.right
        layout = carried(plan, "right", schemas[1], layouts[1])
    return Placed(run_join(plan, *moved, work.nulls_equal, threads), layout)


def _join_shuffled(comm: Communicator, work: JoinWork, facts: Counts, threads: int) -> Placed:
    """Both sides by the hash of their keys, as far as they are not there already."""
    layout = shuffled(work.plan, comm.size, comm.rank)
    # A settled side lies whole on the ranks of its hashes: dealing it out would move it. And with a
    # budget ``join_need`` has counted neither the copies that this takes nor those it leaves.
    spread = not any(work.settled) and work.memory_bytes is None
    heavy = find_heavy(comm, work, facts[:, 2:4]) if spread else NONE
    rounds = rounds_for(int(facts[:, 0].max())), rounds_for(int(facts[:, 1].max()))
    if heavy:
        moved, layout = shuffle_heavy(comm, work, heavy, rounds, threads), None
    elif work.memory_bytes is None and is_large(facts[:, :2].sum(axis=1)):
        # With a budget, ``join_need`` has counted on rounds.
        return Placed(join_parted(comm, work, threads), layout)
    else:
        moved = _shuffle_both(comm, work, rounds, threads)
    return Placed(run_join(work.plan, *moved, work.nulls_equal, threads), layout)


def _shuffle_both(
    comm: Communicator, work: JoinWork, rounds: tuple[int, int], threads: int
) -> tuple[pa.Table, pa.Table]:
    """What arrives of both sides, one after the other to bound the memory."""
    plan = work.plan
    sides = (
        (work.left, plan.left_on, plan.how in KEEPS_LEFT),
        (work.right, plan.right_on, plan.how in KEEPS_RIGHT),
    )
    moved = []
    for (table, on, keeps), settled, many in zip(sides, work.settled, rounds, strict=True):
        if settled:
            moved.append(table)
        elif work.nulls_equal:
            moved.append(shuffle(comm, table, on, threads, many))
        else:
            keyed, alone = part_null_keys(table, on, keeps)
            moved.append(pa.concat_tables([shuffle(comm, keyed, on, threads, many), alone]))
    return moved[0], moved[1]


def _routed(
    comm: Communicator, work: JoinWork, facts: Counts, route: Route, threads: int
) -> Counts:
    """Bytes of both sides that each rank will have, before anything moves."""
    here = facts[:, :2]
    if route == "replicate_right":
        return np.stack([here[:, 0], np.full(comm.size, here[:, 1].sum())], axis=1)
    if route == "replicate_left":
        return np.stack([np.full(comm.size, here[:, 0].sum()), here[:, 1]], axis=1)
    sides = ((work.left, work.plan.left_on), (work.right, work.plan.right_on))
    return np.stack(
        [
            here[:, side] if work.settled[side] else count_arrivals(comm, table, on, threads)
            for side, (table, on) in enumerate(sides)
        ],
        axis=1,
    )


def _moving(facts: Counts, route: Route, settled: tuple[bool, bool]) -> Counts:
    """Bytes of both sides that each rank sends."""
    stays = {"shuffle": settled, "replicate_left": (False, True), "replicate_right": (True, False)}
    return np.where(np.array(stays[route]), 0, facts[:, :2])
