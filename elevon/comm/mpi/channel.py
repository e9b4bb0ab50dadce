"""One group's MPI communicator, with a way out of everything that is started on it.

A channel knows bytes and peers, no shapes. Whatever is started is nonblocking and waited for in one
loop that ends by completion, by the deadline, by an interrupt from another thread, by an abort
message from another member, or by MPI's word that a process is dead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from mpi4py import MPI

from elevon.comm.base.arrays import Parts
from elevon.comm.base.buffers import BufferPool
from elevon.comm.base.failure import Failure, FailureLatch, FailureLatches
from elevon.comm.base.waiting import SLEEP_SHORTEST_S, Deadline, Waiter
from elevon.comm.mpi.abort_messages import AbortMessages
from elevon.comm.mpi.deferred_release import DeferredRelease
from elevon.comm.mpi.faults import diagnose
from elevon.comm.protocol import Array
from elevon.errors import CommunicatorError

# MPI counts are 32 bits wide; a longer message is several, in order.
CHUNK_BYTES = 1 << 30
# A message of one collective must never be taken for one of another, so the tag counts them.
TAGS = 1 << 14
# A member that finds its group revoked waits this long for the abort message that says why.
ABORT_GRACE_S = 0.01

Start: TypeAlias = Callable[[], Iterable[MPI.Request]]


@dataclass(frozen=True, slots=True)
class Services:
    """What all channels of a process share.

    Attributes:
        aborts: tells other members of failures.
        latches: the failures that this process knows of.
        deferred: keeps buffers of unfinished requests.
        buffers: memory for what is received.
        waiter: waits.
        ulfm: whether a group can be revoked and asked for its dead.
    """

    aborts: AbortMessages
    latches: FailureLatches
    deferred: DeferredRelease
    buffers: BufferPool
    waiter: Waiter
    ulfm: bool


class Channel:
    """A group's communicator and its failure.

    Args:
        raw: the MPI communicator; errors are to be returned.
        name: the same on all members, used by no other group of this world.
        slots: of the members, by rank.
        services: of this process.
        parent: the channel that this one was split from.
    """

    def __init__(
        self,
        raw: MPI.Intracomm,
        name: str,
        slots: tuple[int, ...],
        services: Services,
        parent: Channel | None = None,
    ) -> None:
        self.raw = raw
        self.name = name
        self.slots = slots
        self.services = services
        self.rank: int = raw.rank
        self.size: int = raw.size
        self.latch: FailureLatch = services.latches.latch(name, parent.latch if parent else None)
        self.calls = 0
        self._shared = raw == MPI.COMM_SELF  # serves all groups of one: never freed, never revoked
        self._closed = self._revoked = False
        # Open MPI 5.0 crashes a member that still creates the group when another one revokes it.
        # This barrier, which is not waited for, tells when all of them have it.
        self._built: MPI.Request = MPI.REQUEST_NULL if self._shared else raw.Ibarrier()

    def run(
        self,
        what: str,
        start: Start,
        buffers: Sequence[Array] = (),
        timeout_s: float | None = None,
        receives: int = 0,
    ) -> None:
        """Start requests and return when all are complete.

        Args:
            what: names the collective in errors.
            start: starts the requests.
            buffers: what they read and write.
            timeout_s: how long they may take.
            receives: how many of the first requests are receives, which can be taken back.

        Raises:
            CommunicatorError: the group has failed.
        """
        self.latch.check()
        self.calls += 1
        requests: list[MPI.Request] = []
        watch = partial(self._watch, what, Deadline(timeout_s))
        try:
            requests.extend(start())
            self.services.waiter.wait_until(
                lambda: bool(MPI.Request.Testall(requests)), self.latch, watch
            )
        except MPI.Exception as error:
            failure = self._diagnose(error, what)
            self._abandon(requests, buffers, receives)
            raise failure.error() from error
        except CommunicatorError:
            self._abandon(requests, buffers, receives)
            raise

    def exchange(
        self, what: str, outgoing: Parts, incoming: Parts, timeout_s: float | None
    ) -> None:
        """Send bytes to peers and receive bytes from peers, all at once.

        Args:
            what: names the collective in errors.
            outgoing: (peer, bytes) to send.
            incoming: (peer, buffer) to fill; its length is what the peer sends.
            timeout_s: how long it may take.

        Raises:
            CommunicatorError: the group has failed.
        """
        tag = self.calls % TAGS
        raw = self.raw
        receives = [(peer, part) for peer, whole in incoming for part in _chunks(whole)]
        sends = [(peer, part) for peer, whole in outgoing for part in _chunks(whole)]

        def start() -> Iterator[MPI.Request]:
            for peer, part in receives:
                yield raw.Irecv(part, peer, tag)
            for peer, part in sends:
                yield raw.Isend(part, peer, tag)

        buffers = [part for _, part in (*receives, *sends)]
        self.run(what, start, buffers, timeout_s, len(receives))

    def new(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An uninitialised array to receive into."""
        nbytes = math.prod(shape) * dtype.itemsize
        return self.services.buffers.take(nbytes).view(dtype).reshape(shape)

    def derive(self, members: Sequence[int], number: int) -> Channel:
        """A channel among some members, which all call this, right after a collective of all.

        Args:
            members: their ranks here, in the order that they are to have.
            number: tells the calls apart; the same on all members.
        """
        slots = tuple(self.slots[rank] for rank in members)
        name = f"{self.name}/{number}.{members[0]}"
        return Channel(self._make(members, number), name, slots, self.services, self)

    def fail(self, failure: Failure) -> Failure:
        """End the group for all members.

        Args:
            failure: why; it counts only where the group has not failed before.

        Returns:
            The failure that counts.
        """
        if self.latch.failure is None and self.latch.trip(failure):
            self.services.aborts.send(self.name, self.slots, failure)
        self._revoke()
        counts = self.latch.failure
        assert counts is not None
        return counts

    def close(self) -> None:
        """Free the communicator, now or soon; safe to call twice."""
        if not self._closed:
            self._closed = True
            self.services.latches.drop([self.name])
            self.services.deferred.keep(self)

    def release(self) -> bool:
        """Take the next step towards the end of a closed channel.

        Returns:
            Whether it is freed; one that has failed never is, see DeferredRelease.
        """
        if self._shared:
            return True
        if self.latch.failure is not None or not self._is_built():
            return False
        self.raw.Free()
        return True

    def _make(self, members: Sequence[int], number: int) -> MPI.Intracomm:
        if len(members) == 1:
            return MPI.COMM_SELF
        all_members = self.raw.Get_group()
        group = all_members.Incl(members)
        try:
            raw = self.raw.Create_group(group, number % TAGS)
        except MPI.Exception as error:
            raise self._diagnose(error, "split").error() from error
        finally:
            group.Free()
            all_members.Free()
        raw.Set_errhandler(MPI.ERRORS_RETURN)
        return raw

    def _watch(self, what: str, deadline: Deadline) -> None:
        self.services.aborts.poll()
        if self.latch.failure is None and deadline.passed:
            where = f"{what} of group {self.name}"
            reason = f"{where}: not all {self.size} members came within {deadline.limit_s} s"
            self.fail(Failure("timeout", reason))
        self.latch.check()

    def _diagnose(self, error: MPI.Exception, what: str) -> Failure:
        where = f"{what} of group {self.name}"
        found = diagnose(self.raw, error, self.services.ulfm, where)
        if found is None:
            self._await_abort_message()
            found = Failure("aborted", f"{where}: a member gave the group up")
        return self.fail(found)

    def _await_abort_message(self) -> None:
        deadline = Deadline(ABORT_GRACE_S)
        while self.latch.failure is None and not deadline.passed:
            self.services.aborts.poll()
            self.latch.wait(SLEEP_SHORTEST_S)

    def _abandon(
        self, requests: list[MPI.Request], buffers: Sequence[Array], receives: int
    ) -> None:
        """Leave unfinished requests behind, with everything that MPI may still touch."""
        self._revoke()
        for request in requests[:receives]:
            if request != MPI.REQUEST_NULL:
                request.Cancel()
        self.services.deferred.hold(requests, buffers, self._revoke)

    def _revoke(self) -> None:
        if self.services.ulfm and not (self._revoked or self._shared) and self._is_built():
            self._revoked = True
            self.raw.Revoke()

    def _is_built(self) -> bool:
        try:
            return bool(self._built.Test())
        except MPI.Exception:
            # A member died: one that is still creating the group is to be killed anyway.
            return True


def _chunks(whole: Array) -> Iterator[Array]:
    if whole.size <= CHUNK_BYTES:
        yield whole
        return
    for start in range(0, whole.size, CHUNK_BYTES):
        yield whole[start : start + CHUNK_BYTES]
