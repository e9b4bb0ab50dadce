"""A group's entry in a Redis: who has which slot, and how they are reached.

Redis runs the scripts one at a time, with its own clock. There is no connection whose end would
free a slot, so a slot is leased, and its holder renews the lease. All of it has a time to live: a
job that is over leaves nothing to clean up.

Redis is trusted to run the scripts, not to tell the truth about a member: who has a slot says so
itself, closed with the group's key.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from elevon.comm.connect.redis import RedisLink
from elevon.comm.connect.rendezvous import redis_scripts
from elevon.comm.connect.rendezvous.messages import GroupName, Joining, Member
from elevon.comm.connect.rendezvous.registry import KEPT_S, Group
from elevon.comm.security import signing
from elevon.errors import CommunicatorError, UsageError

# A holder that is silent for so long has lost its slot to whoever asks for it next.
LEASE_S = 6.0

_SCRIPTS = (
    redis_scripts.CLAIM,
    redis_scripts.RENEW,
    redis_scripts.INTRODUCE,
    redis_scripts.READY,
    redis_scripts.CONCLUDE,
    redis_scripts.RELEASE,
    redis_scripts.LOOK,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What came of asking for a slot.

    Attributes:
        slot: the slot.
        incarnation: of its holder.
        held_s: how long another one's lease on it still runs, or 0 where it is ours now.
    """

    slot: int
    incarnation: int
    held_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A living holder of a slot; ``member`` is None until it has said who it is."""

    slot: int
    incarnation: int
    member: Member | None
    ready: bool


class Readiness(enum.IntEnum):
    """What came of saying that one is ready; the numbers are the script's."""

    NOT_OURS = 0
    OTHERS_ARE_NOT = 1
    ALL_ARE = 2


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is known without a look at every slot.

    Attributes:
        roster: the incarnations of the group when it was complete last, by slot; empty before.
        all_ready: whether all that hold a slot now are ready; they may have fallen silent.
    """

    roster: tuple[int, ...]
    all_ready: bool


class Board:
    """The entry of one group.

    Args:
        link: the Redis.
        name: the group.
        key: its joining key.
    """

    def __init__(self, link: RedisLink, name: GroupName, key: bytes) -> None:
        self._link = link
        self._name = name
        self._key = key
        # Braces keep all keys of a job on one node of a cluster.
        job = f"elevon:{{{quote(name.job, safe='')}}}"
        self._keys = (f"{job}:{name.epoch}", f"{job}:epoch")
        self._scripts = {text: link.client.register_script(text) for text in _SCRIPTS}

    @property
    def channel(self) -> str:
        """Where changes are told that somebody may wait for."""
        return f"{self._keys[0]}:changed"

    def claim(self, joining: Joining) -> Claim:
        """Ask for a slot.

        Raises:
            UsageError: the epoch is over, or the group has another size.
            CommunicatorError: all slots are held, or Redis does not answer.
        """
        wish = (joining.slot, self._name.epoch, joining.size, joining.worker)
        answer, *values = self._run(redis_scripts.CLAIM, *wish, _ms(LEASE_S), _ms(KEPT_S))
        if answer in (b"yours", b"held"):
            slot, incarnation, *lease_ms = (int(value) for value in values)
            return Claim(slot, incarnation, lease_ms[0] / 1000 if lease_ms else 0.0)
        raise self._refusal(answer, values, joining.size)

    def renew(self, claim: Claim) -> bool:
        """Renew the lease; whether the slot is still ours."""
        return bool(self._held(redis_scripts.RENEW, claim))

    def introduce(self, claim: Claim, member: Member) -> list[Seen] | None:
        """Say who has the slot; gives the living who came before, or None where it is not ours.

        Raises:
            WireError: what one is said to have said was not said by a member.
        """
        word = self._closed("member", claim, msgspec.msgpack.encode(member))
        rows = self._held(redis_scripts.INTRODUCE, claim, word)
        return None if rows is None else [self._checked(*row) for row in rows]

    def ready(self, claim: Claim) -> Readiness:
        """Say that the slot is connected to all who came before."""
        return Readiness(self._held(redis_scripts.READY, claim, self._closed("ready", claim)))

    def conclude(self, claim: Claim, roster: list[int]) -> None:
        """Tell all that the group is complete, so that they need not look at every slot.

        Args:
            claim: ours.
            roster: the incarnations, by slot.
        """
        upto = max(roster)
        word = signing.sign(self._key, _roster(upto), msgspec.msgpack.encode(roster))
        self._held(redis_scripts.CONCLUDE, claim, word, upto)

    def conclusion(self) -> Conclusion:
        """What was told last, and whether all are ready.

        Raises:
            WireError: no member has told it.
        """
        with self._link.asking() as client:
            found = client.hmget(self._keys[0], "roster", "upto", "readies", "size")
        word, upto, readies, size = found
        if word is None or upto is None:
            return Conclusion((), readies == size)
        text = signing.verify(self._key, _roster(int(upto)), word)
        return Conclusion(msgspec.msgpack.decode(text, type=tuple[int, ...]), readies == size)

    def release(self, claim: Claim) -> None:
        """Give the slot up, if it is still ours."""
        self._run(redis_scripts.RELEASE, claim.slot, claim.incarnation)

    def look(self, *slots: int) -> list[Seen]:
        """The living holders of these slots, or of all, by slot.

        Raises:
            WireError: what one is said to have said was not said by a member.
        """
        return [self._checked(*row) for row in self._run(redis_scripts.LOOK, *slots)]

    def _held(self, script: str, claim: Claim, *arguments: int | bytes) -> Any:
        terms = (_ms(LEASE_S), _ms(KEPT_S))
        return self._run(script, claim.slot, claim.incarnation, *terms, *arguments)

    def _closed(self, what: str, claim: Claim, payload: bytes = b"") -> bytes:
        return signing.sign(self._key, _label(what, claim.slot, claim.incarnation), payload)

    def _checked(self, at: int | bytes, incarnation: bytes, member: bytes, ready: bytes) -> Seen:
        slot, number = int(at), int(incarnation)
        found = None
        if member:
            text = signing.verify(self._key, _label("member", slot, number), member)
            found = msgspec.msgpack.decode(text, type=Member)
        if ready:
            signing.verify(self._key, _label("ready", slot, number), ready)
        return Seen(slot, number, found, bool(ready))

    def _refusal(self, answer: bytes, values: list[Any], size: int) -> Exception:
        if answer == b"full":
            return CommunicatorError(f"all {size} slots are held by living ranks")
        said = int(values[0])
        if answer == b"size":
            return UsageError(f"group {self._name}: it has {said} ranks, not {size}")
        return UsageError(f"group {self._name}: this epoch is over, epoch {said} has begun")

    def _run(self, script: str, *arguments: str | int | bytes) -> Any:
        with self._link.asking():
            return self._scripts[script](keys=self._keys, args=arguments)


def as_group(size: int, seen: list[Seen]) -> Group:
    """What was seen, as the registry has it: knows whether it is complete, and who is missing."""
    members = {each.slot: each.member for each in seen if each.member is not None}
    return Group(size, members, {each.slot for each in seen if each.ready})


def _label(what: str, slot: int, incarnation: int) -> str:
    return f"{what} of slot {slot}, incarnation {incarnation}"


def _roster(upto: int) -> str:
    # Of two rosters that differ, one has somebody who came later: so this is good for one of them.
    return f"roster up to incarnation {upto}"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
