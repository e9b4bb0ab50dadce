"""What every rank does: nothing yet, idle, at work for a task, or lost."""

from __future__ import annotations

from elevon.agent.scheduling.idle_ranks import IdleRanks
from elevon.agent.scheduling.records import TaskRecord
from elevon.model.ids import RankId


class RankTable:
    """The ranks of the pilot, by number.

    Attributes:
        total: the pilot's ranks.
        alive: ranks that are up.
        idle: those of them that have no work.
        lost: ranks that have died and are to be replaced, with the reason.
        repair_asked: those of them whose replacement was asked for.
        unfit: whether a gang could not open its communicator while ranks were lost.
        work: by rank, the task whose part it runs.
        group_rank: by rank, its number within that task's gang.
        address: by rank, where it serves partitions.
        resident: by rank, the tasks of whose output it may hold a partition.
    """

    def __init__(self, total: int) -> None:
        if total < 1:
            raise ValueError(f"a pilot has at least one rank, not {total}")
        self.total = total
        self.alive = 0
        self.idle = IdleRanks(total)
        self.lost: dict[RankId, str] = {}
        self.repair_asked: set[RankId] = set()
        self.unfit = False
        self.work: list[TaskRecord | None] = [None] * total
        self.group_rank = [0] * total
        self.address = [""] * total
        self.resident: list[dict[TaskRecord, None]] = [{} for _ in range(total)]
        self._node = [""] * total
        self._up = bytearray(total)
        self._last_loss: dict[RankId, tuple[int, str]] = {}

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
        return bool(self._up[rank])

    def node(self, rank: RankId) -> str:
        """The node that a rank lives on, or lived on last."""
        return self._node[rank]

    def join(self, rank: RankId, node: str, address: str) -> None:
        """A rank is up and idle."""
        self.lost.pop(rank, None)
        self.repair_asked.discard(rank)
        self.unfit = self.unfit and bool(self.lost)
        self._node[rank] = node
        self.address[rank] = address
        self._up[rank] = 1
        self.alive += 1
        self.idle.set_node(rank, node)
        self.idle.add(rank)

    def lose(self, rank: RankId, reason: str, step: int) -> TaskRecord | None:
        """A rank that was up is gone; returns the task that it worked for."""
        work, self.work[rank] = self.work[rank], None
        if work is None:
            self.idle.take(rank)
        self._up[rank] = 0
        self.alive -= 1
        self._last_loss[rank] = (step, reason)
        return work

    def lost_since(self, rank: RankId, step: int) -> str | None:
        """The reason for which a rank was lost after ``step`` events, or None if it was not."""
        lost_at, reason = self._last_loss.get(rank, (-1, ""))
        return reason if lost_at > step else None

    def end_repair(self) -> None:
        """No rank is to be replaced any more."""
        self.lost.clear()
        self.repair_asked.clear()
        self.unfit = False

    def all_up(self) -> list[RankId]:
        """The ranks that live. O(ranks): only for the loss of the whole world."""
        return [RankId(rank) for rank in range(self.total) if self._up[rank]]

    def free(self, rank: RankId) -> None:
        """A rank's part has ended."""
        self.work[rank] = None
        self.idle.add(rank)

    def assign(self, gang: tuple[RankId, ...], record: TaskRecord) -> None:
        """Taken ranks begin to work for a task, as members 0, 1, ..."""
        for group_rank, rank in enumerate(gang):
            self.work[rank] = record
            self.group_rank[rank] = group_rank

    def snapshot(self) -> tuple[object, ...]:
        """All of it, as values that can be compared."""
        work = tuple(None if r is None else r.task for r in self.work)
        resident = tuple(tuple(r.task for r in held) for held in self.resident)
        lost = (tuple(self.lost.items()), tuple(sorted(self.repair_asked)))
        people = (bytes(self._up), lost, self.unfit)
        return (
            people,
            work,
            tuple(self.group_rank),
            tuple(self.address),
            resident,
            self.idle.snapshot(),
        )
