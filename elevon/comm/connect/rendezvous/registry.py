"""Which rank has which slot of which group, and which are missing.

Pure: time is an argument, nothing waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from elevon.comm.connect.rendezvous.messages import (
    LONGEST_NAME,
    MOST_ADDRESSES,
    MOST_MEMBERS,
    GroupName,
    JoinReply,
    JoinRequest,
    Member,
)
from elevon.errors import CommunicatorError, UsageError

# Of an empty group: a job that comes back within this time goes on with its slots.
KEPT_S = 600.0
MOST_GROUPS = 4096
SWEEP_EVERY_S = 1.0


@dataclass
class Group:
    """One group.

    Attributes:
        size: how many ranks it is to have.
        members: the living, by slot.
        ready: the slots that have connected to those before them.
        slot_of: by worker, also of those that are gone.
        given: the slots that ever had a member; those below ``fresh`` are all among them.
    """

    size: int
    members: dict[int, Member] = field(default_factory=dict)
    ready: set[int] = field(default_factory=set)
    slot_of: dict[str, int] = field(default_factory=dict)
    given: set[int] = field(default_factory=set)
    fresh: int = 0
    incarnations: int = 0
    empty_since: float = math.inf

    @property
    def complete(self) -> bool:
        """Whether all pairs are connected."""
        return len(self.ready) == self.size

    def free(self) -> int | None:
        """The first slot that never had a member, or else the first that has none."""
        while self.fresh in self.given:  # a step for each slot in all, not for each join
            self.fresh += 1
        if self.fresh < self.size:
            return self.fresh
        return min(set(range(self.size)).difference(self.members), default=None)

    def missing(self) -> str:
        """What is missing, for messages."""
        away = set(range(self.size)) - set(self.members)
        gone = sorted(away & set(self.slot_of.values()))
        absent = sorted(away.difference(gone))
        busy = sorted(set(self.members) - self.ready)
        parts = [f"slots {absent} never joined"] if absent else []
        parts += [f"slots {gone} left again"] if gone else []
        names = ", ".join(f"slot {slot} ({self.members[slot].name})" for slot in busy)
        parts += [f"not connected to all: {names}"] if busy else []
        return "; ".join(parts) or "nobody"


class Registry:
    """All groups of one rendezvous."""

    def __init__(self) -> None:
        self._groups: dict[GroupName, Group] = {}
        self._epochs: dict[str, int] = {}
        self._swept = -math.inf

    def __len__(self) -> int:
        return len(self._groups)

    def group(self, name: GroupName, size: int, now: float) -> Group:
        """The group, made where there is none.

        Raises:
            UsageError: its epoch is over, it has another size, or there are too many groups.
        """
        self._forget_old(now)
        newest = self._epochs.get(name.job, name.epoch)
        if name.epoch < newest:
            raise UsageError(f"group {name}: this epoch is over, epoch {newest} has begun")
        if not 1 <= size <= MOST_MEMBERS:
            raise UsageError(f"group {name}: a group has 1 to {MOST_MEMBERS} ranks, not {size}")
        if name not in self._groups:
            if len(self._groups) >= MOST_GROUPS:
                raise UsageError(f"group {name}: this rendezvous has {MOST_GROUPS} groups already")
            self._groups[name] = Group(size)
            self._epochs[name.job] = name.epoch
        group = self._groups[name]
        if group.size != size:
            raise UsageError(f"group {name}: it has {group.size} ranks, not {size}")
        return group

    def slot_for(self, group: Group, request: JoinRequest) -> int:
        """The slot for a rank; it may still be held by a living one.

        Raises:
            UsageError: what it asks for cannot be.
        """
        check(request)
        known = group.slot_of.get(request.worker)
        if request.slot >= group.size:
            raise UsageError(f"there is no slot {request.slot} in a group of {group.size}")
        if known is not None and request.slot in (-1, known):
            return known
        if request.slot >= 0:
            return request.slot
        free = group.free()
        if free is None:
            raise CommunicatorError(f"all {group.size} slots are held by living ranks")
        return free

    def enter(self, group: Group, slot: int, request: JoinRequest, observed: str) -> JoinReply:
        """Give a free slot to a rank.

        Args:
            group: its group.
            slot: the slot, which is free.
            request: what it asked for.
            observed: the address that it was seen to come from.
        """
        before = tuple(group.members[other] for other in sorted(group.members))
        group.incarnations += 1
        addresses = tuple(dict.fromkeys((*request.addresses, observed)))
        group.members[slot] = Member(
            slot, group.incarnations, addresses, request.port, request.name
        )
        group.slot_of[request.worker] = slot
        group.given.add(slot)
        group.empty_since = math.inf
        return JoinReply(slot, group.incarnations, before)

    def leave(self, group: Group, slot: int, now: float) -> None:
        """A rank is gone; its slot is kept for its worker."""
        del group.members[slot]
        group.ready.discard(slot)
        if not group.members:
            group.empty_since = now

    def _forget_old(self, now: float) -> None:
        if now - self._swept < SWEEP_EVERY_S and len(self._groups) < MOST_GROUPS:
            return  # a look at every group is not for every join
        self._swept = now
        old = [name for name, group in self._groups.items() if now - group.empty_since > KEPT_S]
        for name in old:
            del self._groups[name]
            if self._epochs.get(name.job) == name.epoch:
                del self._epochs[name.job]


def check(request: JoinRequest) -> None:
    """Refuse what no rank of ours asks for.

    Raises:
        UsageError: a field is out of bounds.
    """
    texts = (request.worker, request.name, *request.addresses)
    if not request.worker or any(len(text) > LONGEST_NAME for text in texts):
        raise UsageError(f"a worker's id, name and addresses have 1 to {LONGEST_NAME} characters")
    if len(request.addresses) > MOST_ADDRESSES or not 0 < request.port < 65_536:
        raise UsageError(f"at most {MOST_ADDRESSES} addresses and a port are needed")
    if not 0 < request.deadline_s < math.inf or request.slot < -1:
        raise UsageError("deadline_s must be greater than 0, and slot at least -1")
