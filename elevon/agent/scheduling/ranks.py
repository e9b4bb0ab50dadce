"""What every rank does, where it lives, and whether the ranks can work together."""

from __future__ import annotations

from typing import Final

from elevon.agent.scheduling.idle_ranks import IdleRanks
from elevon.agent.scheduling.records import TaskRecord
from elevon.model.ids import RankId
from elevon.model.states import (
    RANK_LIFE,
    WORLD_LIFE,
    RankEvent,
    RankState,
    WorldEvent,
    WorldState,
)
from elevon.model.transitions import History, by_event

# Looked up once: an enum's member costs more to find than a transition to make.
_IDLE: Final = RankState.IDLE
_BUSY: Final = RankState.BUSY
_STARTED: Final = RankEvent.STARTED
_AFTER_START: Final = by_event(RANK_LIFE, _STARTED)
_AFTER_PART: Final = by_event(RANK_LIFE, RankEvent.PART_ENDED)


class RankTable:
    """The ranks of the pilot, by number.

    ``states`` says what a rank does; ``work``, ``idle``, ``alive`` and ``lost`` are indexes that
    follow it, so that no question looks at all ranks. Nothing but the methods here changes them.

    Attributes:
        total: the pilot's ranks, and so the size of the largest gang.
        states: what each rank does.
        world: whether they can work together.
        alive: how many are idle or busy.
        idle: the idle ones, by node.
        lost: those that are to be replaced, with the reason.
        work: by rank, the task whose part it runs.
        group_rank: by rank, its number within that task's gang.
        address: by rank, where it serves partitions.
        resident: by rank, the tasks of whose output it may hold a partition.
    """

    def __init__(self, total: int, history: History) -> None:
        if total < 1:
            raise ValueError(f"a pilot has at least one rank, not {total}")
        self.total = total
        self.states = [RankState.ABSENT] * total
        self.world = WorldState.INTACT
        self.alive = 0
        self.idle = IdleRanks(total)
        self.lost: dict[RankId, str] = {}
        self.work: list[TaskRecord | None] = [None] * total
        self.group_rank = [0] * total
        self.address = [""] * total
        self.resident: list[dict[TaskRecord, None]] = [{} for _ in range(total)]
        self._history = history
        self._node = [""] * total
        self._last_loss: dict[RankId, tuple[int, str]] = {}

    # ------------------------------------------------------------ questions

    @property
    def busy(self) -> int:
        """How many ranks have work."""
        return self.alive - self.idle.count

    def check(self, rank: RankId) -> None:
        """Refuse a number that no rank of this pilot has.

        Raises:
            ValueError: the shell has a defect; nothing has changed.
        """
        if not 0 <= rank < self.total:
            raise ValueError(f"there is no rank {rank}: the pilot has ranks 0 to {self.total - 1}")

    def is_up(self, rank: RankId) -> bool:
        """Whether a rank lives."""
        state = self.states[rank]
        return state is _IDLE or state is _BUSY

    def all_up(self) -> list[RankId]:
        """The ranks that live. O(ranks): only for the loss of the whole world."""
        return [RankId(rank) for rank in range(self.total) if self.is_up(RankId(rank))]

    def node(self, rank: RankId) -> str:
        """The node that a rank lives on, or lived on last."""
        return self._node[rank]

    def lost_since(self, rank: RankId, step: int) -> str | None:
        """The reason for which a rank was lost after ``step`` events, or None if it was not."""
        lost_at, reason = self._last_loss.get(rank, (-1, ""))
        return reason if lost_at > step else None

    # ------------------------------------------------------------ work

    def assign(self, gang: tuple[RankId, ...], record: TaskRecord) -> None:
        """Ranks that were taken from the idle ones begin to work, as members 0, 1, ..."""
        states, work, numbers, advance = self.states, self.work, self.group_rank, _AFTER_START.get
        self._history.note((gang, _IDLE, _STARTED))
        for group_rank, rank in enumerate(gang):
            after = advance(states[rank])
            if after is None:
                raise self._history.refusal(rank, states[rank], _STARTED)
            states[rank] = after
            work[rank] = record
            numbers[rank] = group_rank

    def free(self, rank: RankId) -> None:
        """A rank's part has ended."""
        after = _AFTER_PART.get(self.states[rank])
        if after is None:
            raise self._history.refusal(rank, self.states[rank], RankEvent.PART_ENDED)
        self.states[rank] = after
        self.work[rank] = None
        self.idle.add(rank)

    # ------------------------------------------------------------ comings and goings

    def join(self, rank: RankId, node: str, address: str) -> None:
        """A rank is up and idle."""
        self._move(rank, RankEvent.JOINED)
        self.alive += 1
        self._node[rank] = node
        self.address[rank] = address
        self.idle.set_node(rank, node)
        self.idle.add(rank)
        if self.lost.pop(rank, None) is not None and not self.lost:
            self._move_world(WorldEvent.ALL_REPLACED)

    def lose(self, rank: RankId, reason: str, step: int) -> TaskRecord | None:
        """A rank is gone and to be replaced; returns the task that it worked for."""
        work = self._vacate(rank, reason, step) if self.is_up(rank) else None
        self._move(rank, RankEvent.GONE)
        self.lost[rank] = reason
        self._move_world(WorldEvent.RANK_LOST)
        return work

    def lose_world(self, reason: str, step: int) -> None:
        """All ranks are gone, and a new world is on its way: there is nothing to repair."""
        for rank in map(RankId, range(self.total)):
            if self.is_up(rank):
                self._vacate(rank, reason, step)
            if self.states[rank] is not RankState.ABSENT:
                self._move(rank, RankEvent.WORLD_GONE)
        self.lost.clear()
        self._move_world(WorldEvent.WORLD_GONE)

    def not_opened(self) -> bool:
        """A communicator did not open; whether that is explained by ranks that are lost."""
        if self.lost:
            self._move_world(WorldEvent.NOT_OPENED)
        return bool(self.lost)

    def ask_repair(self) -> tuple[RankId, ...]:
        """The replacement of all lost ranks is asked for; none are returned if it was before."""
        if not any(self.states[rank] is RankState.LOST for rank in self.lost):
            return ()
        for rank in self.lost:
            self._move(rank, RankEvent.REPAIR_ASKED)
        self._move_world(WorldEvent.REPAIR_ASKED)
        return tuple(sorted(self.lost))

    def snapshot(self) -> tuple[object, ...]:
        """All of it, as values that can be compared."""
        work = tuple(None if r is None else r.task for r in self.work)
        resident = tuple(tuple(r.task for r in held) for held in self.resident)
        lost = tuple(self.lost.items())
        return (
            (tuple(self.states), self.world, lost, work, tuple(self.group_rank)),
            (tuple(self.address), resident, self.idle.snapshot()),
        )

    def _vacate(self, rank: RankId, reason: str, step: int) -> TaskRecord | None:
        work, self.work[rank] = self.work[rank], None
        if work is None:
            self.idle.take(rank)
        self.alive -= 1
        self._last_loss[rank] = (step, reason)
        return work

    def _move(self, rank: RankId, event: RankEvent) -> None:
        states = self.states
        states[rank] = self._history.advance(RANK_LIFE, rank, states[rank], event)

    def _move_world(self, event: WorldEvent) -> None:
        self.world = self._history.advance(WORLD_LIFE, "the world of ranks", self.world, event)
