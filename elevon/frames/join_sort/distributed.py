"""Join and sort over a private group of ranks: each rank passes its partition and gets its own.

Both go the same way: check the inputs, agree with the other ranks on the facts, choose a strategy
(``strategy.py``), and run the function that carries it out.

Time spent in the exchange is measured by the communicator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from elevon.comm.protocol import Communicator
from elevon.frames.exchange.agreement import agree
from elevon.frames.exchange.partitioning import Placed
from elevon.frames.join_sort.chunked import join_chunked, sort_chunked
from elevon.frames.join_sort.facts import JoinFacts, SortFacts
from elevon.frames.join_sort.in_memory import (
    cut_and_merge,
    join_alone,
    join_replicated_left,
    join_replicated_right,
    join_shuffled,
    sort_alone,
    sort_ranges,
)
from elevon.frames.join_sort.inputs import (
    UNKNOWN,
    JoinInputs,
    Layouts,
    SortInputs,
    prepare_join,
    prepare_sort,
)
from elevon.frames.join_sort.out_of_core import join_out_of_core, sort_out_of_core
from elevon.frames.join_sort.skew import find_skew, join_skewed
from elevon.frames.join_sort.strategy import (
    JoinStrategy,
    SortStrategy,
    choose_join_strategy,
    choose_sort_strategy,
    choose_within_memory,
    choose_without_skew,
)
from elevon.frames.memory.budget import Counts, count_arrivals

#: What carries out a strategy that needs to know no more than the facts.
_JOINS: Final[dict[JoinStrategy, Callable[[Communicator, JoinInputs, JoinFacts], Placed]]] = {
    JoinStrategy.ALONE: join_alone,
    JoinStrategy.REPLICATE_LEFT: join_replicated_left,
    JoinStrategy.REPLICATE_RIGHT: join_replicated_right,
    JoinStrategy.SHUFFLE: join_shuffled,
    JoinStrategy.SHUFFLE_IN_CHUNKS: join_chunked,
}
_SORTS: Final[dict[SortStrategy, Callable[[Communicator, SortInputs, SortFacts], pa.Table]]] = {
    SortStrategy.ALONE: sort_alone,
    SortStrategy.RANGES: sort_ranges,
    SortStrategy.RANGES_IN_CHUNKS: sort_chunked,
    SortStrategy.CUT_AND_MERGE: cut_and_merge,
    SortStrategy.OUT_OF_CORE: sort_out_of_core,
}


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
        ResourceError: the disk is full, or the joined rows have no room in memory; only on the rank
            that has met it: whoever runs the group ends the others.
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

    def prepare() -> JoinInputs:
        return prepare_join(
            (left, right), (left_on, right_on), how, suffixes, nulls_equal,
            threads, memory_bytes, layouts, (comm.size, comm.rank),
        )  # fmt: skip

    if comm.size == 1 and memory_bytes is None:
        return join_alone(comm, prepare())
    inputs, told = agree(comm, prepare)
    facts = JoinFacts.of(how, memory_bytes, told)
    strategy = choose_join_strategy(facts)
    if memory_bytes is not None:
        return _join_within_memory(comm, inputs, facts, strategy)
    if strategy is JoinStrategy.SHUFFLE_FOR_SKEW:
        return _join_with_skew(comm, inputs, facts)
    return _JOINS[strategy](comm, inputs, facts)


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

    def prepare() -> SortInputs:
        return prepare_sort(table, by, ascending, na_position, threads, memory_bytes)

    if comm.size == 1 and memory_bytes is None:
        return sort_alone(comm, prepare())
    inputs, told = agree(comm, prepare)
    facts = SortFacts.of(memory_bytes, told)
    return _SORTS[choose_sort_strategy(facts)](comm, inputs, facts)


def _join_with_skew(comm: Communicator, inputs: JoinInputs, facts: JoinFacts) -> Placed:
    """Look for skewed keys, and shuffle with or without them."""
    skew = find_skew(comm, inputs, facts)
    if skew:
        return join_skewed(comm, inputs, facts, skew)
    return _JOINS[choose_without_skew(facts)](comm, inputs, facts)


def _join_within_memory(
    comm: Communicator, inputs: JoinInputs, facts: JoinFacts, strategy: JoinStrategy
) -> Placed:
    """Find out what arrives, and keep to the strategy if there is room for it."""
    arriving = _arriving(comm, inputs, facts, strategy)
    if choose_within_memory(facts, strategy, arriving) is not JoinStrategy.OUT_OF_CORE:
        return _JOINS[strategy](comm, inputs, facts)
    if strategy in (JoinStrategy.REPLICATE_LEFT, JoinStrategy.REPLICATE_RIGHT):
        arriving = _arriving(comm, inputs, facts, JoinStrategy.SHUFFLE)
    return join_out_of_core(comm, inputs, facts, arriving)


def _arriving(
    comm: Communicator, inputs: JoinInputs, facts: JoinFacts, strategy: JoinStrategy
) -> Counts:
    """Bytes of both sides that each rank will have, before anything moves."""
    here, totals = facts.nbytes, facts.nbytes.sum(axis=0)
    if strategy is JoinStrategy.ALONE:
        return here
    if strategy is JoinStrategy.REPLICATE_LEFT:
        return np.stack([np.full(comm.size, totals[0]), here[:, 1]], axis=1)
    if strategy is JoinStrategy.REPLICATE_RIGHT:
        return np.stack([here[:, 0], np.full(comm.size, totals[1])], axis=1)
    columns = [
        here[:, number] if settled else count_arrivals(comm, side.table, side.on, inputs.threads)
        for number, (side, settled) in enumerate(zip(inputs.sides, facts.settled, strict=True))
    ]
    return np.stack(columns, axis=1)
