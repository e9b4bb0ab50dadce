"""Deferred release: what a failed group leaves behind in MPI is kept until it can do no harm.

A pending request cannot be taken back in general: if its buffers were freed, MPI would write into
memory that belongs to another array by then. With ULFM the group is revoked and its requests end
within a millisecond; elsewhere they stay for ever.

The communicator of a failed group is never freed. MPI gives its number to the next one, and what
is still on its way for the old one (a message, a revocation) then hits the new one: measured on
Open MPI 5.0 as a crash in one of 500 groups that were aborted, freed and made again.

So both are bounded here: beyond the limits the world opens no more groups and says that the rank
has to be restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mpi4py import MPI

from elevon.comm.protocol import Array
from elevon.errors import CommunicatorError

MOST_BYTES = 1 << 30
# MPICH has 1,023 communicators with collectives in all; some must be left for new groups.
MOST_GROUPS = 500


@dataclass(frozen=True, slots=True)
class _PendingRequests:
    requests: list[MPI.Request]
    buffers: Sequence[Array]
    hasten: Callable[[], None]

    def is_over(self) -> bool:
        self.hasten()
        try:
            return bool(MPI.Request.Testall(self.requests))
        except MPI.Exception:
            # One of them ended with an error and was set to null; the next look tells of the rest.
            return all(request == MPI.REQUEST_NULL for request in self.requests)


class Closed(Protocol):
    """A channel that is not used any more."""

    def release(self) -> bool:
        """Free it if that is safe, and say whether it is freed."""


class DeferredRelease:
    """Requests that are not waited for, and communicators that are not used, any more."""

    def __init__(self) -> None:
        self._pending: list[_PendingRequests] = []
        self._kept: list[Closed] = []

    @property
    def nbytes(self) -> int:
        """Memory that is kept alive here."""
        return sum(buffer.nbytes for pending in self._pending for buffer in pending.buffers)

    @property
    def groups(self) -> int:
        """How many communicators are kept here."""
        return len(self._kept)

    def hold(
        self,
        requests: list[MPI.Request],
        buffers: Sequence[Array],
        hasten: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep buffers alive until the requests are over.

        Args:
            requests: what is pending.
            buffers: what it reads and writes.
            hasten: called now and then, does what it can to end the requests.
        """
        pending = _PendingRequests(requests, buffers, hasten)
        if not pending.is_over():
            self._pending.append(pending)

    def keep(self, closed: Closed) -> None:
        """Release a communicator, now or at a later check, or keep it for ever."""
        if not closed.release():
            self._kept.append(closed)

    def check(self) -> None:
        """Let go of what is over; do nothing else while there is room.

        Raises:
            CommunicatorError: too much is kept.
        """
        self._pending = [pending for pending in self._pending if not pending.is_over()]
        self._kept = [closed for closed in self._kept if not closed.release()]
        if self.nbytes > MOST_BYTES or self.groups > MOST_GROUPS:
            raise CommunicatorError(
                f"{self.groups} failed groups have left {self.nbytes} bytes in MPI's hands, which "
                "cannot be taken back: restart this rank"
            )
