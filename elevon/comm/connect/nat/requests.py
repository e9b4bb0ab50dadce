"""What a rank asks of a relay, what the relay says, and the keys of both conversations.

A request is the claim of the proof that opens a connection, so the relay knows what is wanted, and
that a member of the group wants it, with the first bytes it takes. Calls and answers cannot wait
for that: they are sent on an allocation, a connection that was proved beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import msgspec

from elevon.comm.connect.nat.candidates import Address
from elevon.comm.connect.nat.offers import LONGEST_DESCRIPTION
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
    """What a relay has to know of a session: enough to check its members, and no more."""
    return proof.derive(secret, "relay")


def relaying_key(relay_secret: bytes, job: str, epoch: int) -> bytes:
    """A group's relaying key, as the relay derives it, too."""
    return proof.derive(relay_secret, job, str(epoch))


class RelayRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all requests: for which group.

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


class Observe(RelayRequest, frozen=True, tag=True, kw_only=True):
    """Tell me the address that you see; that is all."""


class Register(RelayRequest, frozen=True, tag=True, kw_only=True):
    """Tell me of calls, as long as this connection lives.

    Attributes:
        name: under which I can be called.
    """

    name: str


class Allocate(RelayRequest, frozen=True, tag=True, kw_only=True):
    """Tell me the address that you see; I shall call or answer from here when it is time."""


class Call(RelayRequest, frozen=True, tag=True, kw_only=True):
    """Connect me with another member.

    Attributes:
        name: mine.
        to: theirs.
        offer: for them, signed.
    """

    name: str
    to: str
    offer: bytes = b""


class Answer(RelayRequest, frozen=True, tag=True, kw_only=True):
    """Connect me with the member that has called.

    Attributes:
        call: its number.
        answer: to its offer, signed; empty where there is none.
    """

    call: bytes
    answer: bytes = b""


AnyRequest: TypeAlias = Observe | Register | Allocate | Call | Answer
AllocatedRequest: TypeAlias = Call | Answer


class Observed(msgspec.Struct, frozen=True, tag=True):
    """The address that a connection is seen to come from.

    Attributes:
        address: of the NAT, or the rank's own.
        second_port: of the relay, for a second observation.
    """

    address: Address
    second_port: int


class IncomingCall(msgspec.Struct, frozen=True, tag=True):
    """A member calls; to be answered from an allocation.

    Attributes:
        call: its number.
        caller: what it says its name is; only the offer proves it.
        offer: from it, signed.
    """

    call: bytes
    caller: str
    offer: bytes = b""


class Joined(msgspec.Struct, frozen=True, tag=True):
    """From now on all bytes go to the other member and come from there.

    Attributes:
        address: that this connection is seen to come from.
        answer: for the caller.
    """

    address: Address
    answer: bytes = b""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """What was asked for cannot be."""

    reason: str


FromRelay: TypeAlias = Observed | IncomingCall | Joined | Refused

E = TypeVar("E", bound=AnyRequest)

_REQUESTS: msgspec.msgpack.Decoder[AnyRequest] = msgspec.msgpack.Decoder(AnyRequest)
ON_ALLOCATION: msgspec.msgpack.Decoder[AllocatedRequest] = msgspec.msgpack.Decoder(AllocatedRequest)
FROM_RELAY: msgspec.msgpack.Decoder[FromRelay] = msgspec.msgpack.Decoder(FromRelay)


def encode_request(request: AnyRequest) -> bytes:
    """The request as the claim of a proof.

    Raises:
        UsageError: a name is empty or too long.
    """
    encoded = msgspec.msgpack.encode(request)
    if any(not 0 < len(name) <= LONGEST_NAME for name in _names(request)):
        raise UsageError(
            f"a job's and a rank's name have 1 to {LONGEST_NAME} characters: {_names(request)}"
        )
    return encoded


def decode_request(claim: bytes) -> AnyRequest:
    """What a claim asks for; nothing is proved yet.

    Raises:
        WireError: it is not a request.
    """
    try:
        request = _REQUESTS.decode(claim)
    except msgspec.MsgspecError as error:
        raise WireError(f"this is not a request: {error}") from error
    return checked(request)


def checked(request: E) -> E:
    """The same, if it keeps to the limits.

    Raises:
        WireError: it does not.
    """
    if any(not 0 < len(name) <= LONGEST_NAME for name in _names(request)):
        raise WireError(f"a name has 1 to {LONGEST_NAME} characters")
    if isinstance(request, Call | Answer) and len(_signed(request)) > LONGEST_DESCRIPTION:
        raise WireError(f"an offer or answer has at most {LONGEST_DESCRIPTION} bytes")
    return request


def _signed(request: AllocatedRequest) -> bytes:
    return request.offer if isinstance(request, Call) else request.answer


def _names(request: AnyRequest) -> tuple[str, ...]:
    if isinstance(request, Call):
        return request.job, request.name, request.to
    return (request.job, request.name) if isinstance(request, Register) else (request.job,)
