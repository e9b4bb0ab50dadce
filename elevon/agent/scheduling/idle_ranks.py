"""The idle ranks, by node: gives out one node where it can, and as few as it must.

Every operation costs O(log) of the ranks and nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from elevon.model.ids import RankId


class IdleRanks:
    """Which ranks are idle, and on which node.

    Nodes are kept in one heap per number of idle ranks, ranks in one heap per node. An entry whose
    node or rank has changed since is dropped when it comes to the top; flags keep every node at
    most once in each heap, and every rank at most once, so the heaps stay bounded.

    Attributes:
        count: how many ranks are idle.
    """

    def __init__(self, ranks: int) -> None:
        self.count = 0
        self._node_of = [-1] * ranks
        self._is_idle = bytearray(ranks)
        self._in_heap = bytearray(ranks)
        self._numbers: dict[str, int] = {}
        self._heaps: list[list[int]] = []
        self._idle_on: list[int] = []
        self._listed: list[int] = []
        self._by_count: list[list[int]] = [[]]
        self._counts = 0

    def set_node(self, rank: RankId, node: str) -> None:
        """A rank lives on a node from now on; it is not idle yet."""
        number = self._numbers.setdefault(node, len(self._heaps))
        if number == len(self._heaps):
            self._heaps.append([])
            self._idle_on.append(0)
            self._listed.append(0)
        if self._in_heap[rank]:
            self._heaps[self._node_of[rank]].remove(rank)
            heapify(self._heaps[self._node_of[rank]])
            self._in_heap[rank] = 0
        self._node_of[rank] = number

    def add(self, rank: RankId) -> None:
        """A rank has become idle."""
        node = self._node_of[rank]
        self._is_idle[rank] = 1
        self.count += 1
        if not self._in_heap[rank]:
            self._in_heap[rank] = 1
            heappush(self._heaps[node], rank)
        idle = self._idle_on[node] + 1
        if self._listed[node] >> idle & 1:
            self._idle_on[node] = idle  # as ``_list`` would, without the call: once for every part
        else:
            self._list(node, idle)

    def is_idle(self, rank: RankId) -> bool:
        """Whether a rank is idle."""
        return bool(self._is_idle[rank])

    def take(self, rank: RankId) -> None:
        """Take this one, which is idle."""
        node = self._node_of[rank]
        self._is_idle[rank] = 0
        self.count -= 1
        self._list(node, self._idle_on[node] - 1)

    def take_any(self, wanted: int) -> list[RankId]:
        """Take ``wanted`` of at least as many idle ranks.

        From the node that they fit best, or from the fullest nodes and the best fit for the rest.
        """
        taken: list[RankId] = []
        while wanted:
            node = self._best_fit(wanted)
            if node < 0:
                node = self._fullest()
            part = self._take_from(node, min(wanted, self._idle_on[node]))
            wanted -= len(part)
            taken += part
        return taken

    def take_near(self, ranks: Iterable[RankId], wanted: int) -> list[RankId]:
        """Take ``wanted`` of at least as many idle ranks, on the nodes of ``ranks`` first."""
        members: dict[int, int] = {}
        for rank in ranks:
            node = self._node_of[rank]
            members[node] = members.get(node, 0) + 1
        taken: list[RankId] = []
        for node in sorted(members, key=lambda n: (-members[n], n)):
            taken += self._take_from(node, min(wanted - len(taken), self._idle_on[node]))
        return taken + self.take_any(wanted - len(taken))

    def snapshot(self) -> tuple[object, ...]:
        """Which ranks are idle, and on which node each lives, as values that can be compared."""
        return bytes(self._is_idle), tuple(self._node_of)

    def _take_from(self, node: int, wanted: int) -> list[RankId]:
        heap = self._heaps[node]
        taken: list[RankId] = []
        while len(taken) < wanted:
            rank = heappop(heap)
            self._in_heap[rank] = 0
            if self._is_idle[rank]:
                self._is_idle[rank] = 0
                taken.append(RankId(rank))
        self.count -= wanted
        self._list(node, self._idle_on[node] - wanted)
        return taken

    def _list(self, node: int, idle: int) -> None:
        """A node has this many idle ranks now."""
        self._idle_on[node] = idle
        bit = 1 << idle
        if idle and not self._listed[node] & bit:
            self._listed[node] |= bit
            while len(self._by_count) <= idle:
                self._by_count.append([])
            heappush(self._by_count[idle], node)
            self._counts |= bit

    def _best_fit(self, wanted: int) -> int:
        """The node with the fewest idle ranks that are enough, or -1."""
        while enough := self._counts >> wanted:
            idle = wanted + (enough & -enough).bit_length() - 1
            node = self._top(idle)
            if node >= 0:
                return node
        return -1

    def _fullest(self) -> int:
        """The node with the most idle ranks; there is one."""
        while True:
            node = self._top(self._counts.bit_length() - 1)
            if node >= 0:
                return node

    def _top(self, idle: int) -> int:
        """The first node that has this many idle ranks, or -1 and the count is struck off."""
        heap = self._by_count[idle]
        while heap:
            node = heap[0]
            if self._idle_on[node] == idle:
                return node
            self._listed[heappop(heap)] ^= 1 << idle
        self._counts ^= 1 << idle
        return -1
