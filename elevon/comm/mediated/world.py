"""The world of a rank that shares nothing but a store with the others: opens groups of slots.

It has the form of ``tcp.world``. Nothing here notices that a member has died: the agent does and
interrupts its group, and in any case the group ends by its deadline, so every group has one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from elevon.comm.base.failure import Failure, FailureLatch, FailureLatches
from elevon.comm.base.slots import check_members
from elevon.comm.connect.rendezvous.messages import GroupName
from elevon.comm.mediated.address import open_store
from elevon.comm.mediated.group import MediatedCommunicator
from elevon.comm.mediated.mailbox import Endpoint, Mailbox
from elevon.comm.mediated.store import Store
from elevon.comm.security import proof
from elevon.errors import UsageError


class MediatedWorld:
    """All ranks that can form groups, as one of them sees it.

    Args:
        store: where messages lie; left by ``leave``.
        key: 32 bytes that only the ranks of this world have.
        slot: of this rank.
        size: how many ranks the world has.

    Raises:
        UsageError: there is no such slot.
    """

    def __init__(self, store: Store, key: bytes, slot: int, size: int) -> None:
        if not 0 <= slot < size:
            raise UsageError(f"there is no slot {slot} in a world of {size}")
        self._store = store
        self._mailbox = Mailbox(store, key)
        self._slot = slot
        self._size = size
        self._latches = FailureLatches()
        self._open: dict[int, tuple[tuple[int, ...], Endpoint]] = {}
        self._singletons = itertools.count()

    @classmethod
    def join(cls, url: str, name: GroupName, secret: bytes, slot: int, size: int) -> MediatedWorld:
        """Join; no other rank is waited for.

        Args:
            url: of the store; see ``open_store``.
            name: which world.
            secret: of the session; the store never sees it.
            slot: of this rank.
            size: how many ranks the world has.

        Raises:
            UsageError: the URL names no store, or there is no such slot.
            CommunicatorError: the store is away or refuses.
        """
        store = open_store(url, name.job, name.epoch)
        key = proof.derive(secret, "mediated", name.job, str(name.epoch))
        world = cls(store, key, slot, size)
        if slot == 0:
            store.sweep()
        return world

    @property
    def slot(self) -> int:
        """The number of this rank."""
        return self._slot

    @property
    def slots(self) -> tuple[int, ...]:
        """All slots of this world."""
        return tuple(range(self._size))

    @property
    def size(self) -> int:
        """How many ranks the world has."""
        return self._size

    def open_group(
        self, slots: Sequence[int], context: int, timeout_s: float | None = None
    ) -> MediatedCommunicator:
        """Open the private communicator of some slots; only they call this. Sends nothing.

        A context that was opened before and not evicted goes on where it was left.

        Args:
            slots: the members; their order is the order of ranks in the group.
            context: the group's number, the same for all members and never used for another
                group, nor again after it has failed or was evicted. A group of one needs none.
            timeout_s: seconds that each collective may take; None is as long as messages are kept.

        Raises:
            UsageError: the slots, the context or the time are wrong.
            GroupAborted: the group was ended before it was opened here.
        """
        members = tuple(slots)
        check_members(self._slot, self.slots, members)
        limit_s = self._store.kept_s if timeout_s is None else timeout_s
        if not 0 < limit_s <= self._store.kept_s:
            raise UsageError(
                f"timeout_s is {limit_s}: give more than 0 and at most {self._store.kept_s}, the "
                "seconds for which this store keeps messages"
            )
        endpoint = self._singleton() if len(members) == 1 else self._endpoint(members, context)
        endpoint.latch.check()
        return MediatedCommunicator(self._mailbox, endpoint, limit_s)

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
        failure = Failure("lost" if lost else "aborted", reason, rank)
        self._latches.latch(_name(context)).trip(failure)

    def evict(self, contexts: Iterable[int]) -> None:
        """Forget groups; unknown contexts are passed over."""
        for context in contexts:
            self._open.pop(context, None)
            self._latches.drop([_name(context)])

    def cut_off(self, now: float) -> str:
        """Only a collective notices that the store is gone."""
        return ""

    def repair(self, lost: Sequence[int], command: Sequence[str] | None = None) -> None:
        """Nothing to do: a replacement needs no help to reach the store."""

    def leave(self) -> None:
        """Give the store up."""
        self._store.close()

    def _endpoint(self, members: tuple[int, ...], context: int) -> Endpoint:
        known = self._open.get(context)
        if known is None:
            latch = self._latches.latch(_name(context))
            endpoint = Endpoint(_name(context), members.index(self._slot), len(members), latch)
            known = self._open[context] = (members, endpoint)
        if known[0] != members:
            raise UsageError(f"context {context} is the group of slots {known[0]}, not {members}")
        return known[1]

    def _singleton(self) -> Endpoint:
        name = f"self-{next(self._singletons)}"
        return Endpoint(name, 0, 1, FailureLatch())


def _name(context: int) -> str:
    return f"c{context}"
