"""The numbers of private communicators, and which rank must still free which.

A rank keeps the communicator of a context open for the next gang of the same members in the same
order; this table decides when it has to let go of it.
"""

from __future__ import annotations

from collections import OrderedDict

from elevon.model.ids import RankId


class ContextTable:
    """Contexts by members, the least recently used leaving first.

    Numbers grow from 1 and never repeat. A context that leaves the table is owed to its members:
    each is told with its next gang, once, before anything else that it does. An eviction list is
    for a whole gang, so a rank may see a context in it that it does not hold, and ignores that.

    Args:
        limit: how many contexts are kept; 0 makes one for every gang.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._last = 0
        self._numbers: OrderedDict[tuple[RankId, ...], int] = OrderedDict()
        self._members: dict[int, tuple[RankId, ...]] = {}
        self._of_rank: dict[RankId, dict[int, None]] = {}
        self._owed: dict[RankId, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def open(self, gang: tuple[RankId, ...]) -> tuple[int, tuple[int, ...]]:
        """The context of a gang (0 for a gang of one), and what its members are to free first."""
        if len(gang) == 1:
            return 0, self.collect_owed(gang) if self._owed else ()
        number = self._numbers.get(gang)
        if number is not None:
            self._numbers.move_to_end(gang)
            return number, self.collect_owed(gang)
        while self._numbers and len(self._numbers) >= self._limit:
            self.retire(next(iter(self._numbers.values())))
        owed = self.collect_owed(gang)
        self._last += 1
        self._enter(self._last, gang)
        if not self._limit:
            self.retire(self._last)
        return self._last, owed

    def collect_owed(self, gang: tuple[RankId, ...]) -> tuple[int, ...]:
        """What these ranks are to free; it counts as told."""
        if not self._owed:
            return ()
        contexts: set[int] = set()
        for rank in gang:
            contexts.update(self._owed.pop(rank, ()))
        return tuple(sorted(contexts))

    def retire(self, context: int) -> None:
        """Never give this context out again; unknown and retired ones are no error."""
        members = self._members.pop(context, None)
        if members is None:
            return
        del self._numbers[members]
        for rank in members:
            del self._of_rank[rank][context]
            self._owed.setdefault(rank, {})[context] = None

    def lose_rank(self, rank: RankId) -> None:
        """A member's process is gone: its contexts end, and it has nothing left to free."""
        for context in list(self._of_rank.get(rank, ())):
            self.retire(context)
        self._of_rank.pop(rank, None)
        self._owed.pop(rank, None)

    def clear(self) -> None:
        """All processes are gone."""
        self._numbers.clear()
        self._members.clear()
        self._of_rank.clear()
        self._owed.clear()

    def snapshot(self) -> tuple[object, ...]:
        """All of it, as values that can be compared."""
        owed = sorted((rank, tuple(contexts)) for rank, contexts in self._owed.items())
        return self._last, tuple(self._numbers.items()), tuple(owed)

    def _enter(self, number: int, gang: tuple[RankId, ...]) -> None:
        self._numbers[gang] = number
        self._members[number] = gang
        for rank in gang:
            self._of_rank.setdefault(rank, {})[number] = None
