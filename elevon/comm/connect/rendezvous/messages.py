"""What a rank and a rendezvous say to each other, and the keys of a group.

Everything here is said after both sides have proved that they know the group's key, and sealed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from elevon.comm.security import proof

# A pool of thousands is one group; a number beyond this is a lie or a mistake.
MOST_MEMBERS = 16_384
LONGEST_NAME = 256
MOST_ADDRESSES = 8
# What a rank takes from a rendezvous that has proved itself: all members, with all they may say.
LONGEST_REPLY = MOST_MEMBERS * LONGEST_NAME * (MOST_ADDRESSES + 2)


class GroupName(msgspec.Struct, frozen=True):
    """Which group: a job, and how many times its world was started anew."""

    job: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.job}, epoch {self.epoch}"


@dataclass(frozen=True, slots=True, repr=False)
class GroupKeys:
    """The two keys of a group.

    Attributes:
        joining: proves membership to the rendezvous.
        peering: proves membership to other members; the rendezvous does not have it.
    """

    joining: bytes
    peering: bytes

    @classmethod
    def of(cls, secret: bytes, name: GroupName) -> GroupKeys:
        """From the session's secret."""
        group = (name.job, str(name.epoch))
        return cls(
            proof.derive(rendezvous_secret(secret), *group),
            proof.derive(secret, "peering", *group),
        )


def rendezvous_secret(secret: bytes) -> bytes:
    """What a rendezvous has to know of a session: enough to check its members, and no more."""
    return proof.derive(secret, "rendezvous")


class Member(msgspec.Struct, frozen=True):
    """A rank that can be dialed.

    Attributes:
        slot: its number in the group.
        incarnation: a later process in the same slot has a greater one.
        addresses: hosts to try, best first.
        port: where it accepts connections.
        name: for messages: host and process.
    """

    slot: int
    incarnation: int
    addresses: tuple[str, ...]
    port: int
    name: str


class JoinRequest(msgspec.Struct, frozen=True, tag=True):
    """A rank wants its slot.

    Attributes:
        worker: the rank's own id; a process that joins again under it gets the same slot.
        slot: the slot that it is to have, or -1 for any.
        size: how many ranks the group is to have.
        addresses: hosts under which it may be reached.
        port: where it accepts connections.
        name: for messages.
        deadline_s: how long it waits for the others.
    """

    worker: str
    slot: int
    size: int
    addresses: tuple[str, ...]
    port: int
    name: str
    deadline_s: float


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The rank has connected with all that were there before it."""


class JoinReply(msgspec.Struct, frozen=True, tag=True):
    """The slot, and the members that are there already: the newcomer dials them."""

    slot: int
    incarnation: int
    members: tuple[Member, ...]


class Complete(msgspec.Struct, frozen=True, tag=True):
    """All slots are taken, and all pairs are connected."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """No slot is free, or not all members joined in time."""

    reason: str


FromRank: TypeAlias = JoinRequest | Ready
FromRendezvous: TypeAlias = JoinReply | Complete | Refused
