"""The tasks that wait for ranks, in the order in which they should get them.

Both answers cost O(log) of the tasks and of the different gang sizes: one heap of keys per size,
and over the sizes a tree of the least keys.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from heapq import heappop, heappush
from typing import Final

from elevon.agent.scheduling.records import TaskRecord

# Greater than every key: priorities and numbers of tasks are far below.
_NOTHING: Final = 1 << 200


class ReadyQueue:
    """READY records by key, and by gang size.

    A record that leaves is deleted from ``_records`` at once and from its heap when it comes to the
    top, so that leaving from the middle costs no search.
    """

    def __init__(self) -> None:
        self._records: dict[int, TaskRecord] = {}
        self._heaps: dict[int, list[int]] = {}
        self._sizes: list[int] = []
        self._leaf: dict[int, int] = {}
        self._leaves = 1
        self._tree = [_NOTHING, _NOTHING]

    def __len__(self) -> int:
        return len(self._records)

    def push(self, record: TaskRecord) -> None:
        """A record has become READY."""
        key = record.key
        heap = self._heaps.get(record.size)
        if heap is None:
            heap = self._add_size(record.size)
        heappush(heap, key)
        self._records[key] = record
        if heap[0] == key:
            self._lift(self._leaf[record.size], key)

    def remove(self, record: TaskRecord) -> None:
        """A record is not READY any more."""
        del self._records[record.key]
        heap = self._heaps[record.size]
        if heap[0] == record.key:
            while heap and heap[0] not in self._records:
                heappop(heap)
            self._lift(self._leaf[record.size], heap[0] if heap else _NOTHING)

    def first(self) -> TaskRecord | None:
        """The first of all."""
        return self._records.get(self._tree[1])

    def first_up_to(self, size: int) -> TaskRecord | None:
        """The first among those that need at most ``size`` ranks."""
        tree, least = self._tree, _NOTHING
        low, high = self._leaves, self._leaves + bisect_right(self._sizes, size)
        while low < high:
            if low & 1:
                least = min(least, tree[low])
                low += 1
            if high & 1:
                high -= 1
                least = min(least, tree[high])
            low >>= 1
            high >>= 1
        return self._records.get(least)

    def any_above(self, size: int) -> bool:
        """Whether one needs more than ``size`` ranks. O(sizes): asked only while ranks are lost."""
        start = self._leaves + bisect_right(self._sizes, size)
        return any(key != _NOTHING for key in self._tree[start : self._leaves + len(self._sizes)])

    def keys(self) -> tuple[int, ...]:
        """All keys in order, for comparisons."""
        return tuple(sorted(self._records))

    def _add_size(self, size: int) -> list[int]:
        heap = self._heaps[size] = []
        insort(self._sizes, size)
        self._leaves = 1 << (len(self._sizes) - 1).bit_length()
        self._leaf = {known: leaf for leaf, known in enumerate(self._sizes)}
        self._tree = [_NOTHING] * (2 * self._leaves)
        for known, leaf in self._leaf.items():
            if self._heaps[known]:
                self._tree[self._leaves + leaf] = self._heaps[known][0]
        for node in range(self._leaves - 1, 0, -1):
            self._tree[node] = min(self._tree[2 * node], self._tree[2 * node + 1])
        return heap

    def _lift(self, leaf: int, key: int) -> None:
        tree, node = self._tree, self._leaves + leaf
        tree[node] = key
        while node > 1:
            node >>= 1
            left, right = tree[2 * node], tree[2 * node + 1]
            tree[node] = left if left < right else right
