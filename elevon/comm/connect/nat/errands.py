"""What a rank comes to a relay for, what the relay says, and the keys of both conversations.

An errand is the claim of the proof that opens a connection, so the relay knows what is wanted, and
that it is wanted by a member of the group, with the first bytes it takes. Calls and answers cannot
wait for that: they are said on a connection that was proved beforehand, with the errand to wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import msgspec

from elevon.comm.connect.nat.letters import LONGEST_LETTER
from elevon.comm.connect.nat.whereabouts import Address
from elevon.comm.security import proof
from elevon.errors import UsageError, WireError

# Three of them, four bytes a character, fit into the claim of a proof.
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, repr=False)
class NatKeys:
    """The two keys of a group.

    Attributes:
        relaying: proves membership to the relay.
        pairing: proves membership to another member, through the relay, which does not have it.
    """

    relaying: bytes
    pairing: bytes

    @classmethod
    def of(cls, secret: bytes, job: str, epoch: int, relays: bytes = b"") -> NatKeys:
        """From the session's secret, and the relay's where it has one of its own."""
        return cls(
            relaying_key(relays or relay_secret(secret), job, epoch),
            proof.derive(secret, "pairing", job, str(epoch)),
        )


def relay_secret(secret: bytes) -> bytes:
    """What a relay has to know of a session: enough to check who comes, and no more."""
    return proof.derive(secret, "relay")


def relaying_key(relay_secret: bytes, job: str, epoch: int) -> bytes:
    """A group's relaying key, as the relay derives it."""
    return proof.derive(relay_secret, job, str(epoch))


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all: for which group.

    Attributes:
        job: the group's.
        epoch: how many times its world was started anew.
    """

    job: str
    epoch: int

    @property
    def group(self) -> tuple[str, int]:
        """Job and epoch."""
        return self.job, self.epoch


class Observe(Errand, frozen=True, tag=True, kw_only=True):
    """Say where I am seen to come from; that is all."""


class Attend(Errand, frozen=True, tag=True, kw_only=True):
    """Tell me who calls, as long as this connection lives.

    Attributes:
        name: under which I can be called.
    """

    name: str


class Wait(Errand, frozen=True, tag=True, kw_only=True):
    """Say where I am seen to come from; I shall call or answer from here when it is time."""


class Call(Errand, frozen=True, tag=True, kw_only=True):
    """Connect me with another member.

    Attributes:
        name: mine.
        to: theirs.
        letter: for them.
    """

    name: str
    to: str
    letter: bytes = b""


class Answer(Errand, frozen=True, tag=True, kw_only=True):
    """Connect me with who has called.

    Attributes:
        call: as the relay rang it.
        letter: for them.
    """

    call: bytes
    letter: bytes = b""


AnyErrand: TypeAlias = Observe | Attend | Wait | Call | Answer
LaterErrand: TypeAlias = Call | Answer


class Observed(msgspec.Struct, frozen=True, tag=True):
    """Where a connection is seen to come from.

    Attributes:
        address: of the NAT, or the rank's own.
        second_port: of the relay, for a second observation.
    """

    address: Address
    second_port: int


class Ring(msgspec.Struct, frozen=True, tag=True):
    """Somebody calls; to be answered on a new connection.

    Attributes:
        call: its number.
        caller: who says to be calling; only the letter tells.
        letter: from them.
    """

    call: bytes
    caller: str
    letter: bytes = b""


class Joined(msgspec.Struct, frozen=True, tag=True):
    """From now on all bytes go to the other member and come from there.

    Attributes:
        address: where this connection is seen to come from.
        letter: the answer's, to the caller.
    """

    address: Address
    letter: bytes = b""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """It cannot be."""

    reason: str


FromRelay: TypeAlias = Observed | Ring | Joined | Refused

E = TypeVar("E", bound=AnyErrand)

_ERRANDS: msgspec.msgpack.Decoder[AnyErrand] = msgspec.msgpack.Decoder(AnyErrand)
LATER: msgspec.msgpack.Decoder[LaterErrand] = msgspec.msgpack.Decoder(LaterErrand)
FROM_RELAY: msgspec.msgpack.Decoder[FromRelay] = msgspec.msgpack.Decoder(FromRelay)


def claim(errand: AnyErrand) -> bytes:
    """The errand as the claim of a proof.

    Raises:
        UsageError: a name is empty or too long.
    """
    encoded = msgspec.msgpack.encode(errand)
    if any(not 0 < len(name) <= LONGEST_NAME for name in _names(errand)):
        raise UsageError(
            f"a job's and a rank's name have 1 to {LONGEST_NAME} characters: {_names(errand)}"
        )
    return encoded


def errand_of(claim: bytes) -> AnyErrand:
    """What a claim asks for; nothing is proved yet.

    Raises:
        WireError: it is no errand.
    """
    try:
        errand = _ERRANDS.decode(claim)
    except msgspec.MsgspecError as error:
        raise WireError(f"this is no errand: {error}") from error
    return checked(errand)


def checked(errand: E) -> E:
    """The same, if it keeps to the limits.

    Raises:
        WireError: it does not.
    """
    if any(not 0 < len(name) <= LONGEST_NAME for name in _names(errand)):
        raise WireError(f"a name has 1 to {LONGEST_NAME} characters")
    if isinstance(errand, Call | Answer) and len(errand.letter) > LONGEST_LETTER:
        raise WireError(f"a letter has at most {LONGEST_LETTER} bytes")
    return errand


def _names(errand: AnyErrand) -> tuple[str, ...]:
    if isinstance(errand, Call):
        return errand.job, errand.name, errand.to
    return (errand.job, errand.name) if isinstance(errand, Attend) else (errand.job,)
