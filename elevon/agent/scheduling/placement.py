"""Which rows each member of a gang gets, and which ranks the members are.

Data decides first, then nodes: a member goes where most of its rows are, the rest of the gang near
the others, on one node if it can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from elevon.agent.scheduling.events import pickle_values
from elevon.agent.scheduling.idle_ranks import IdleRanks
from elevon.agent.scheduling.records import TaskRecord
from elevon.model.ids import RankId
from elevon.model.slices import Slice

Slices: TypeAlias = tuple[Slice, ...]
RowsByRank: TypeAlias = dict[RankId, int]


def slice_input(producer: TaskRecord, size: int) -> list[Slices]:
    """What each of ``size`` members gets of one dataset; pieces without rows are left out.

    As many partitions as members: member i gets partition i whole, so that what is partitioned by
    a key stays so. Otherwise member r gets the rows [r*N//size, (r+1)*N//size) of all N in order.
    """
    if len(producer.partitions) == size:
        return [_piece(producer, i, 0, p.rows) for i, p in enumerate(producer.partitions)]
    return _even(producer, size)


def slice_inputs(record: TaskRecord) -> tuple[tuple[Slices, ...], ...]:
    """By member, by input. An input that is a value has no slices."""
    size = record.size
    if not record.inputs:
        return ((),) * size
    nothing: list[Slices] = [()] * size
    per_input = [slice_input(p, size) if p.dataset else nothing for p in record.inputs]
    return tuple(zip(*per_input, strict=True))


def input_value(producer: TaskRecord) -> bytes:
    """What StartGang.values has for one input."""
    if producer.dataset:
        return b""
    operation = producer.submission.description.operation
    if operation.result == "value":
        return producer.values[0]
    return pickle_values(producer.values)


def choose_gang(
    idle: IdleRanks, size: int, inputs: Sequence[Sequence[Slices]]
) -> tuple[RankId, ...]:
    """Take ``size`` of at least as many idle ranks.

    Args:
        idle: the ranks that are free; the gang is taken out.
        size: members.
        inputs: their slices, by member, by input.

    Returns:
        The gang in order. Where the owners of the inputs are as many as the members, and idle,
        they are the gang; where nothing is owned by an idle rank, the gang is in order of rank, so
        that the same ranks make the same gang, and find its communicator, again.
    """
    rows = [_rows_by_rank(slices) for slices in inputs] if inputs[0] else []
    if not rows or not any(rows):
        return tuple(sorted(idle.take_any(size)))
    gang = _owners(idle, rows)
    _fill(gang, _other_owners(idle, gang, rows))
    rest = gang.count(None)
    placed = [rank for rank in gang if rank is not None]
    _fill(gang, sorted(idle.take_near(placed, rest)))
    return tuple(rank for rank in gang if rank is not None)


def _even(producer: TaskRecord, size: int) -> list[Slices]:
    total = sum(partition.rows for partition in producer.partitions)
    shares, partition, start = [], 0, 0  # start: the first row of the partition, among all rows
    for member in range(size):
        low, high = member * total // size, (member + 1) * total // size
        pieces: list[Slice] = []
        while low < high:
            end = start + producer.partitions[partition].rows
            if low >= end:
                partition, start = partition + 1, end
                continue
            rows = min(high, end) - low
            pieces += _piece(producer, partition, low - start, rows)
            low += rows
        shares.append(tuple(pieces))
    return shares


def _piece(producer: TaskRecord, number: int, offset: int, rows: int) -> Slices:
    if not rows:
        return ()
    owner = producer.partitions[number]
    return (Slice(producer.task, owner.address, offset, rows, owner.rank),)


def _rows_by_rank(slices_by_input: Sequence[Slices]) -> RowsByRank:
    rows: RowsByRank = {}
    for slices in slices_by_input:
        for piece in slices:
            assert piece.rank is not None, "partitions are resident on ranks"
            rows[piece.rank] = rows.get(piece.rank, 0) + piece.rows
    return rows


def _owners(idle: IdleRanks, rows: Sequence[Mapping[RankId, int]]) -> list[RankId | None]:
    """By member, the idle rank that holds most of its rows, first come first served."""
    gang: list[RankId | None] = []
    for held in rows:
        candidates = [rank for rank in held if idle.is_idle(rank)]
        best = max(candidates, key=lambda r: (held[r], -r)) if candidates else None
        if best is not None:
            idle.take(best)
        gang.append(best)
    return gang


def _other_owners(
    idle: IdleRanks, gang: Sequence[RankId | None], rows: Sequence[Mapping[RankId, int]]
) -> list[RankId]:
    """Idle ranks that hold rows of other members, at most as many as the gang still lacks."""
    wanted = gang.count(None)
    found = [r for r in dict.fromkeys(r for held in rows for r in held) if idle.is_idle(r)][:wanted]
    for rank in found:
        idle.take(rank)
    return found


def _fill(gang: list[RankId | None], ranks: Sequence[RankId]) -> None:
    """Put ranks into the gaps of a gang, in order."""
    gaps = (member for member, rank in enumerate(gang) if rank is None)
    for rank, member in zip(ranks, list(gaps), strict=False):
        gang[member] = rank
