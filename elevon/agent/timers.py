"""Deadlines of the agent's shell: a heap of moments and what to do then.

A timer that is not needed any more is left in the heap and finds out by itself when it fires.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Timers:
    """Not thread-safe: all in the reactor's thread."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Call ``action`` at ``moment``."""
        heapq.heappush(self._heap, (moment, next(self._order), action))

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next timer, 0 where one is due, None where there is none."""
        return max(0.0, self._heap[0][0] - now) if self._heap else None

    def run_due(self, now: float) -> None:
        """Fire what is due."""
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
