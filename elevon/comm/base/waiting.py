"""How a rank waits for its peers: spin for a moment, then sleep, and always look at the clock.

More ranks than cores is the normal case on a small machine, so a waiting rank must give its core to
one that computes. Measured with 4 ranks on 2 cores that are otherwise idle: a barrier costs 7 us
(Open MPI) or 17 us (MPICH) when the first millisecond is spun with sched_yield, 240 to 500 us when
it sleeps from the start. A rank that computes while three others wait is slowed down by 0 to 5 %
this way, by a factor of two in MPICH's own blocking calls. Where other programs want the cores,
spinning costs 5.5 ms a barrier on MPICH and sleeping 0.4, hence the memory for long yields.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from elevon.comm.base.failure import FailureLatch

SPIN_S = 1e-3
# A yield that takes this long has given the core to a thread that computes, for a whole time slice
# of the kernel (3 to 5 ms). A sleep gets it back in 0.1 ms, so spinning is left alone for a while.
YIELD_LONG_S = 0.5e-3
CONTENDED_S = 0.25
SLEEP_SHORTEST_S = 50e-6  # the kernel's timer slack: a shorter sleep takes as long
SLEEP_LONGEST_S = 1e-3  # bounds how late an abort message is seen
SLEEP_SHARE = 0.1  # of the time waited so far: a late peer costs at most a tenth more


class Deadline:
    """A moment on the monotonic clock, or never."""

    __slots__ = ("_end", "limit_s")

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = limit_s
        self._end = None if limit_s is None else time.monotonic() + limit_s

    @property
    def passed(self) -> bool:
        """Whether the moment lies behind us."""
        return self.passed_by(0.0)

    @property
    def left_s(self) -> float:
        """Seconds until then: 0 when it has passed, infinitely many where there is none."""
        return math.inf if self._end is None else max(self._end - time.monotonic(), 0.0)

    def passed_by(self, grace_s: float) -> bool:
        """Whether it lies behind us by this many seconds."""
        return self._end is not None and time.monotonic() >= self._end + grace_s


class Waiter:
    """Waits for conditions, and remembers whether spinning does any good here. One per process."""

    def __init__(self) -> None:
        self._spin_again = 0.0

    def wait_until(
        self, done: Callable[[], bool], latch: FailureLatch, watch: Callable[[], None]
    ) -> None:
        """Return as soon as ``done()`` is true.

        Args:
            done: asks for progress; called often, so it must be cheap.
            latch: of the group; ends a sleep early.
            watch: called between sleeps; ends the wait by raising (tripped latch, deadline, loss).

        Raises:
            CommunicatorError: whatever ``watch`` raises.
        """
        if done():
            return
        start = now = time.perf_counter()
        while not done():
            waited = now - start
            if waited < SPIN_S and now >= self._spin_again:
                now = self._yield_core(now)
                continue
            watch()
            latch.wait(min(max(waited * SLEEP_SHARE, SLEEP_SHORTEST_S), SLEEP_LONGEST_S))
            now = time.perf_counter()

    def _yield_core(self, before: float) -> float:
        os.sched_yield()
        now = time.perf_counter()
        if now - before > YIELD_LONG_S:
            self._spin_again = now + CONTENDED_S
        return now
