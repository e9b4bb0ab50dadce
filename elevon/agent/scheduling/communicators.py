"""The numbers of private communicators, and which rank must still free which.

A rank keeps a communicator open for the next gang of the same members in the same order; this table
gives each its number, and decides when the ranks have to free it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from elevon.model.ids import RankId


class CommunicatorTable:
    """The communicators that are kept, by members; the least recently used leaves first.

    Numbers grow from 1 and never repeat. What leaves the table its members still have to free: each
    is told so with its next gang, once, before anything else that it does. An eviction list is for
    a whole gang, so a rank may see a number in it that it does not hold, and ignores that.

    Args:
        limit: how many communicators are kept; 0 makes one for every gang.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._last = 0
        self._numbers: OrderedDict[tuple[RankId, ...], int] = OrderedDict()
        self._members: dict[int, tuple[RankId, ...]] = {}
        self._of_rank: dict[RankId, dict[int, None]] = {}
        self._unfreed: dict[RankId, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def open(self, gang: tuple[RankId, ...]) -> tuple[int, tuple[int, ...]]:
        """The number for a gang (0 for a gang of one), and what its members are to free first."""
        if len(gang) == 1:
            return 0, self.collect_unfreed(gang) if self._unfreed else ()
        number = self._numbers.get(gang)
        if number is not None:
            self._numbers.move_to_end(gang)
            return number, self.collect_unfreed(gang)
        while self._numbers and len(self._numbers) >= self._limit:
            self.retire(next(iter(self._numbers.values())))
        unfreed = self.collect_unfreed(gang)
        self._last += 1
        self._enter(self._last, gang)
        if not self._limit:
            self.retire(self._last)
        return self._last, unfreed

    def collect_unfreed(self, gang: tuple[RankId, ...]) -> tuple[int, ...]:
        """What these ranks are to free; it counts as told."""
        if not self._unfreed:
            return ()
        numbers: set[int] = set()
        for rank in gang:
            numbers.update(self._unfreed.pop(rank, ()))
        return tuple(sorted(numbers))

    def retire(self, communicator_id: int) -> None:
        """Never use this communicator again; unknown and retired ones are no error."""
        members = self._members.pop(communicator_id, None)
        if members is None:
            return
        del self._numbers[members]
        for rank in members:
            del self._of_rank[rank][communicator_id]
            self._unfreed.setdefault(rank, {})[communicator_id] = None

    def lose_rank(self, rank: RankId) -> None:
        """A member's process is gone: its communicators end, and it has nothing left to free."""
        for communicator_id in list(self._of_rank.get(rank, ())):
            self.retire(communicator_id)
        self._of_rank.pop(rank, None)
        self._unfreed.pop(rank, None)

    def clear(self) -> None:
        """All processes are gone."""
        self._numbers.clear()
        self._members.clear()
        self._of_rank.clear()
        self._unfreed.clear()

    def gangs(self) -> tuple[tuple[RankId, ...], ...]:
        """The members of all communicators that are kept."""
        return tuple(self._numbers)

    def unfreed(self) -> Collection[RankId]:
        """The ranks that have still to be told to free something."""
        return self._unfreed.keys()

    def snapshot(self) -> tuple[object, ...]:
        """All of it, as values that can be compared."""
        unfreed = sorted((rank, tuple(numbers)) for rank, numbers in self._unfreed.items())
        return self._last, tuple(self._numbers.items()), tuple(unfreed)

    def _enter(self, number: int, gang: tuple[RankId, ...]) -> None:
        self._numbers[gang] = number
        self._members[number] = gang
        for rank in gang:
            self._of_rank.setdefault(rank, {})[number] = None
