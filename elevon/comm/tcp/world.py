"""The TCP world of a rank: opens private groups of slots over its connections.

Opening a group is local where its members are connected: the first collective waits for members
that have not opened it yet, and what arrives for a group before it is opened here is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

from elevon import _native
from elevon.comm.base.buffers import BufferPool
from elevon.comm.base.slots import check_members
from elevon.comm.tcp.group import TagSpace, TcpCommunicator, Transport
from elevon.errors import UsageError

# Groups of one never meet another process, so their numbers are this process's own.
_FIRST_SINGLETON = 1 << 63
FLUSH_S = 1.0
# A dead peer's replacement is here long before. If none has come, the peer lives and only the
# connection has died; new ones come with a new process.
CUT_OFF_AFTER_S = 10.0


class Closable(Protocol):
    """What is closed together with the connections."""

    def close(self) -> None:
        """Give it up."""


class Flushable(Protocol):
    """What carries the engine's bytes on, and so ends after it."""

    def close(self, flush_s: float) -> None:
        """Give it up, after at most this long for what is still to be sent."""


class Connecting(Protocol):
    """What makes connections when a group needs them; see ``links``."""

    def connect(self, members: Sequence[int], context: int, within_s: float | None) -> None:
        """Connect with all members, or return early once their group was given up."""

    def give_up(self, context: int) -> None:
        """Wait for the members of this group no more."""

    def forget(self, context: int) -> None:
        """The group is gone."""


class TcpWorld:
    """All ranks that can form groups, as one of them sees it.

    Args:
        mesh: the connections, by slot.
        held: what is to be closed with it.
        carrier: what is between the mesh and the network, if anything.
        links: makes the connections that a group lacks, or None where all are there.
    """

    def __init__(
        self,
        mesh: _native.Mesh,
        held: Sequence[Closable] = (),
        carrier: Flushable | None = None,
        links: Connecting | None = None,
    ) -> None:
        self._mesh = mesh
        self._held = tuple(held)
        self._carrier = carrier
        self._links = links
        self._transport = Transport(mesh, BufferPool())
        self._members: dict[int, tuple[int, ...]] = {}
        self._singletons = itertools.count(_FIRST_SINGLETON)
        self._lost_since: dict[int, float] = {}

    @property
    def slot(self) -> int:
        """The agent's number of this rank."""
        return self._mesh.slot

    @property
    def slots(self) -> tuple[int, ...]:
        """All slots of this world."""
        return tuple(range(self._mesh.size))

    @property
    def size(self) -> int:
        """How many ranks the world has, the dead included."""
        return self._mesh.size

    @property
    def lost(self) -> dict[int, str]:
        """The slots whose connection is gone, and why."""
        return dict(self._mesh.lost())

    def cut_off(self, now: float) -> str:
        """Whether this rank should be replaced: it has missed a peer for too long.

        Args:
            now: the monotonic clock; this is to be asked every second or so.

        Returns:
            The reason, or "".
        """
        lost = self.lost
        self._lost_since = {slot: self._lost_since.get(slot, now) for slot in lost}
        for slot, since in self._lost_since.items():
            if now - since > CUT_OFF_AFTER_S:
                return f"no connection to slot {slot} for {now - since:.0f} s: {lost[slot]}"
        return ""

    def open_group(
        self, slots: Sequence[int], context: int, timeout_s: float | None = None
    ) -> TcpCommunicator:
        """Open the private communicator of some slots; only they call this.

        A context that was opened before and not evicted goes on where it was left.

        Args:
            slots: the members; their order is the order of ranks in the group.
            context: the group's number, the same for all members and never used for another
                group, nor again after it has failed. A group of one needs none.
            timeout_s: seconds that each collective may take.

        Returns:
            The communicator. Closing it leaves the context open until it is evicted.

        Raises:
            UsageError: the slots or the context are wrong.
            MemberLost: a member is dead, or cannot be connected with.
            CollectiveTimeout: a member that has to connect first has not come in time.
            GroupAborted: the group was ended before it was opened here.
        """
        members = tuple(slots)
        check_members(self.slot, self.slots, members)
        if len(members) == 1:
            return self._open_singleton(members, timeout_s)
        known = self._members.get(context, members)
        if known != members:
            raise UsageError(f"context {context} is the group of slots {known}, not of {members}")
        if self._links is not None:
            self._links.connect(members, context, timeout_s)
        tags = TagSpace(context, 0, str(context), members)
        comm = TcpCommunicator(self._transport, tags, timeout_s, _keep)
        comm.check()
        self._members[context] = members
        return comm

    def interrupt(
        self, context: int, reason: str, rank: int | None = None, lost: bool = False
    ) -> None:
        """End a group of this process, also before it is opened. Any thread may call this.

        Args:
            context: the group's.
            reason: what its errors say.
            rank: the group rank to blame.
            lost: whether that rank is dead.
        """
        self._mesh.interrupt(context, "lost" if lost else "aborted", reason, rank)
        if self._links is not None:
            self._links.give_up(context)

    def evict(self, contexts: Iterable[int]) -> None:
        """Forget groups; unknown contexts are passed over."""
        for context in contexts:
            self._members.pop(context, None)
            self._mesh.forget(context)
            if self._links is not None:
                self._links.forget(context)

    def repair(self, lost: Sequence[int], command: Sequence[str] | None = None) -> None:
        """Nothing to do: a replacement dials the others, while all work on."""

    def leave(self) -> None:
        """Close all connections, after what is still to be sent."""
        for each in self._held:
            each.close()
        self._mesh.close(FLUSH_S)
        if self._carrier is not None:
            self._carrier.close(FLUSH_S)

    def _open_singleton(self, members: tuple[int, ...], timeout_s: float | None) -> TcpCommunicator:
        tags = TagSpace(next(self._singletons), 0, "self", members)
        return TcpCommunicator(self._transport, tags, timeout_s, self._forget)

    def _forget(self, tags: TagSpace) -> None:
        self._mesh.forget(tags.context)


def _keep(_: TagSpace) -> None:
    """A closed group stays open in the mesh until it is evicted."""
