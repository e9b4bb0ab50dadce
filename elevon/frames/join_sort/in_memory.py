"""The strategies of a join or sort for which the ranks have room: one function for each.

Every function is collective: all ranks choose the same one and pass their own inputs.
"""

from __future__ import annotations

import pyarrow as pa

from elevon.comm.protocol import Communicator
from elevon.frames.exchange.partitioning import Placed, carried, shuffled
from elevon.frames.exchange.ranges import RANGE_SAMPLES, send_ranges
from elevon.frames.exchange.shuffle import exchange_slices, replicate, shuffle
from elevon.frames.exchange.splitters import choose_splitters, cut_run
from elevon.frames.join_sort.facts import JoinFacts, SideFacts, SortFacts
from elevon.frames.join_sort.inputs import JoinInputs, Side, SortInputs


def join_alone(comm: Communicator, inputs: JoinInputs, facts: JoinFacts | None = None) -> Placed:
    """Join in a group of one, which has nothing to exchange."""
    table = inputs.run(inputs.left, inputs.right)
    return Placed(table, shuffled(inputs.plan, comm.size, comm.rank))


def join_replicated_left(comm: Communicator, inputs: JoinInputs, facts: JoinFacts) -> Placed:
    """Bring all left rows to every rank; the right ones stay where they are."""
    table = inputs.run(replicate(comm, inputs.left), inputs.right)
    return Placed(table, carried(inputs.plan, "right", inputs.right.schema, inputs.layouts[1]))


def join_replicated_right(comm: Communicator, inputs: JoinInputs, facts: JoinFacts) -> Placed:
    """Bring all right rows to every rank; the left ones stay where they are."""
    table = inputs.run(inputs.left, replicate(comm, inputs.right))
    return Placed(table, carried(inputs.plan, "left", inputs.left.schema, inputs.layouts[0]))


def join_shuffled(comm: Communicator, inputs: JoinInputs, facts: JoinFacts) -> Placed:
    """Bring both sides to the ranks of their keys, one after the other to bound the memory."""
    left, right = inputs.sides
    table = inputs.run(
        _shuffle_side(comm, left, facts.left, inputs.threads),
        _shuffle_side(comm, right, facts.right, inputs.threads),
    )
    return Placed(table, shuffled(inputs.plan, comm.size, comm.rank))


def sort_alone(comm: Communicator, inputs: SortInputs, facts: SortFacts | None = None) -> pa.Table:
    """Sort in a group of one, which has nothing to exchange."""
    return inputs.order.sort(inputs.table, inputs.threads)


def sort_ranges(comm: Communicator, inputs: SortInputs, facts: SortFacts) -> pa.Table:
    """Bring each row to the rank of its range, and sort it there; its key is a plain number."""
    order, table, threads = inputs.order, inputs.table, inputs.threads
    splitters = choose_splitters(comm, order, table, facts.row_counts, 1, RANGE_SAMPLES)
    if splitters.in_order:
        return cut_and_merge(comm, inputs, facts)
    return order.sort(send_ranges(comm, table, splitters, facts.rounds, threads), threads)


def cut_and_merge(comm: Communicator, inputs: SortInputs, facts: SortFacts) -> pa.Table:
    """Sort each rank's rows, cut the run where the ranges end, and merge what arrives.

    What is in order already is sorted without a copy, and hardly moves.
    """
    run = inputs.order.sort(inputs.table, inputs.threads)
    bounds = cut_run(comm, inputs.order, run, facts.row_counts)
    return inputs.order.merge(exchange_slices(comm, run, bounds, facts.rounds), inputs.threads)


def _shuffle_side(comm: Communicator, side: Side, facts: SideFacts, threads: int) -> pa.Table:
    """What a rank has of one side after the exchange."""
    if facts.settled:
        return side.table
    keyed, alone = side.part_null_keys()
    arrived = shuffle(comm, keyed, side.on, threads, facts.rounds)
    return pa.concat_tables([arrived, alone])
