"""A group's entry in a Redis: which rank has which slot, and how it is reached.

Redis runs the scripts one at a time, with its own clock. There is no connection whose end would
free a slot, so a slot is leased, and its holder renews the lease. All of it has a time to live: a
job that is over leaves nothing to clean up.

Redis is trusted to run the scripts, not to tell the truth about a member: the holder of a slot says
so itself, signed with the group's key.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from elevon.comm.connect.redis import RedisLink
from elevon.comm.connect.rendezvous import redis_scripts
from elevon.comm.connect.rendezvous.messages import GroupName, JoinRequest, Member
from elevon.comm.connect.rendezvous.registry import KEPT_S, Group
from elevon.comm.security import signing
from elevon.errors import CommunicatorError, UsageError

# A holder that is silent for so long has lost its slot to the next rank that asks for it.
LEASE_S = 6.0

_SCRIPTS = (
    redis_scripts.CLAIM,
    redis_scripts.RENEW,
    redis_scripts.INTRODUCE,
    redis_scripts.READY,
    redis_scripts.ANNOUNCE,
    redis_scripts.RELEASE,
    redis_scripts.LOOK,
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a slot, ours or another rank's.

    Attributes:
        slot: the slot.
        incarnation: of its holder.
        held_s: how long another rank's lease on it still runs, or 0 where it is ours now.
    """

    slot: int
    incarnation: int
    held_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Holder:
    """A living holder of a slot; ``member`` is None until it has introduced itself."""

    slot: int
    incarnation: int
    member: Member | None
    ready: bool


class Readiness(enum.IntEnum):
    """The outcome of saying that one is ready; the numbers are the script's."""

    NOT_OURS = 0
    OTHERS_ARE_NOT = 1
    ALL_ARE = 2


@dataclass(frozen=True, slots=True)
class Completion:
    """What is known without a look at every slot.

    Attributes:
        incarnations: of the group when it was complete last, by slot; empty before.
        all_ready: whether all that hold a slot now are ready; they may have fallen silent.
    """

    incarnations: tuple[int, ...]
    all_ready: bool


class RedisGroup:
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
        """Where changes are published that ranks may wait for."""
        return f"{self._keys[0]}:changed"

    def claim(self, request: JoinRequest) -> Lease:
        """Ask for a slot.

        Raises:
            UsageError: the epoch is over, or the group has another size.
            CommunicatorError: all slots are held, or Redis does not answer.
        """
        wanted = (request.slot, self._name.epoch, request.size, request.worker)
        answer, *values = self._run(redis_scripts.CLAIM, *wanted, _ms(LEASE_S), _ms(KEPT_S))
        if answer in (b"yours", b"held"):
            slot, incarnation, *lease_ms = (int(value) for value in values)
            return Lease(slot, incarnation, lease_ms[0] / 1000 if lease_ms else 0.0)
        raise self._refusal(answer, values, request.size)

    def renew(self, lease: Lease) -> bool:
        """Renew the lease; whether the slot is still ours."""
        return bool(self._held(redis_scripts.RENEW, lease))

    def introduce(self, lease: Lease, member: Member) -> list[Holder] | None:
        """Say what rank has the slot.

        Returns:
            The living holders of earlier incarnations, or None where the slot is not ours.

        Raises:
            WireError: what a holder is said to have said was not signed by a member.
        """
        signed = self._signed("member", lease, msgspec.msgpack.encode(member))
        rows = self._held(redis_scripts.INTRODUCE, lease, signed)
        return None if rows is None else [self._checked(*row) for row in rows]

    def ready(self, lease: Lease) -> Readiness:
        """Say that the slot is connected to all earlier incarnations."""
        return Readiness(self._held(redis_scripts.READY, lease, self._signed("ready", lease)))

    def announce_complete(self, lease: Lease, incarnations: list[int]) -> None:
        """Tell all members that the group is complete, so that they need not look at every slot.

        Args:
            lease: ours.
            incarnations: by slot.
        """
        upto = max(incarnations)
        signed = signing.sign(
            self._key, _completion_label(upto), msgspec.msgpack.encode(incarnations)
        )
        self._held(redis_scripts.ANNOUNCE, lease, signed, upto)

    def completion(self) -> Completion:
        """What was announced last, and whether all are ready.

        Raises:
            WireError: no member has announced it.
        """
        with self._link.commands() as client:
            found = client.hmget(self._keys[0], "completed", "completed_upto", "readies", "size")
        signed, upto, readies, size = found
        if signed is None or upto is None:
            return Completion((), readies == size)
        text = signing.verify(self._key, _completion_label(int(upto)), signed)
        return Completion(msgspec.msgpack.decode(text, type=tuple[int, ...]), readies == size)

    def release(self, lease: Lease) -> None:
        """Give the slot up, if it is still ours."""
        self._run(redis_scripts.RELEASE, lease.slot, lease.incarnation)

    def look(self, *slots: int) -> list[Holder]:
        """The living holders of these slots, or of all, by slot.

        Raises:
            WireError: what a holder is said to have said was not signed by a member.
        """
        return [self._checked(*row) for row in self._run(redis_scripts.LOOK, *slots)]

    def _held(self, script: str, lease: Lease, *arguments: int | bytes) -> Any:
        terms = (_ms(LEASE_S), _ms(KEPT_S))
        return self._run(script, lease.slot, lease.incarnation, *terms, *arguments)

    def _signed(self, what: str, lease: Lease, payload: bytes = b"") -> bytes:
        return signing.sign(self._key, _label(what, lease.slot, lease.incarnation), payload)

    def _checked(self, at: int | bytes, incarnation: bytes, member: bytes, ready: bytes) -> Holder:
        slot, number = int(at), int(incarnation)
        found = None
        if member:
            text = signing.verify(self._key, _label("member", slot, number), member)
            found = msgspec.msgpack.decode(text, type=Member)
        if ready:
            signing.verify(self._key, _label("ready", slot, number), ready)
        return Holder(slot, number, found, bool(ready))

    def _refusal(self, answer: bytes, values: list[Any], size: int) -> Exception:
        if answer == b"full":
            return CommunicatorError(f"all {size} slots are held by living ranks")
        said = int(values[0])
        if answer == b"size":
            return UsageError(f"group {self._name}: it has {said} ranks, not {size}")
        return UsageError(f"group {self._name}: this epoch is over, epoch {said} has begun")

    def _run(self, script: str, *arguments: str | int | bytes) -> Any:
        with self._link.commands():
            return self._scripts[script](keys=self._keys, args=arguments)


def as_group(size: int, seen: list[Holder]) -> Group:
    """What was seen, as the registry has it: knows whether it is complete, and what is missing."""
    members = {each.slot: each.member for each in seen if each.member is not None}
    return Group(size, members, {each.slot for each in seen if each.ready})


def _label(what: str, slot: int, incarnation: int) -> str:
    return f"{what} of slot {slot}, incarnation {incarnation}"


def _completion_label(upto: int) -> str:
    # Of two complete groups that differ, one has a later incarnation: so this names one of them.
    return f"completion up to incarnation {upto}"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
