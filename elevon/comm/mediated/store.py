"""What a store has to be able to do to carry messages.

An object is put once and taken once, and taking deletes it, so nothing is left to clean up but what
is never taken; that has a time to live.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from elevon.comm.base.failure import FailureLatch
from elevon.comm.base.waiting import Deadline

# Longer than any collective should take, short enough that what is abandoned costs little.
KEPT_S = 3600.0


class Store(Protocol):
    """Named bytes that all ranks of a job can put and take. Threads may share it.

    Every method raises CommunicatorError where the store is away or refuses.
    """

    @property
    def kept_s(self) -> float:
        """How long at least an object is kept that is not taken."""

    def put(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Put objects, in this order.

        Args:
            objects: names and values; a name is letters, digits, "." and "-".
        """

    def take(
        self, names: Sequence[str], deadline: Deadline, latch: FailureLatch
    ) -> tuple[str, bytes] | None:
        """Wait for the first of some objects, and take it out.

        Args:
            names: where several are there, the first of these counts.
            deadline: until when to wait; one that has passed looks once.
            latch: ends the wait when it trips.

        Returns:
            Its name and value, or None where the wait ended without one.
        """

    def sweep(self) -> None:
        """Delete what has outlived its time, of any job, where the store does not by itself."""

    def close(self) -> None:
        """Give the store up; what lies there stays."""
