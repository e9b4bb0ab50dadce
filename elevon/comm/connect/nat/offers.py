"""The signed offer and answer of two ranks that are to be connected: the candidates of both.

Pure: values in, values out. Both are signed with the pairing key, which the relay does not have; an
answer is signed for this one offer, and the session's key is made from both, so what was recorded
of another call is good for nothing.
"""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from elevon.comm.connect.nat.candidates import PeerCandidates, check
from elevon.comm.security import proof
from elevon.errors import WireError

LONGEST_DESCRIPTION = 1024
_HEAD_BYTES = proof.PREFIX_BYTES + proof.CODE_BYTES


class SessionDescription(msgspec.Struct, frozen=True):
    """What one member offers or answers.

    Attributes:
        name: its own.
        to: the other's.
        candidates: its own.
        nonce: makes this description unlike all others.
    """

    name: str
    to: str
    candidates: PeerCandidates
    nonce: bytes = msgspec.field(default_factory=lambda: secrets.token_bytes(proof.NONCE_BYTES))


_DECODER: msgspec.msgpack.Decoder[SessionDescription] = msgspec.msgpack.Decoder(SessionDescription)


def sign(description: SessionDescription, key: bytes, offer: bytes = b"") -> bytes:
    """A signed offer, or the answer to one.

    Args:
        description: what it says.
        key: the group's pairing key.
        offer: as it came, where this answers it.
    """
    return _seal(key, offer).seal(msgspec.msgpack.encode(description))


def verify(
    signed: bytes, key: bytes, expected: tuple[str, str], offer: bytes = b""
) -> SessionDescription:
    """What an offer or answer says.

    Args:
        signed: as it came.
        key: the group's pairing key.
        expected: from which member to which it has to be.
        offer: the one that this has to answer, if it is to be an answer.

    Raises:
        WireError: it is not from a member, to another one, or of another call.
    """
    if not _HEAD_BYTES < len(signed) <= LONGEST_DESCRIPTION:
        raise WireError(
            f"{expected[0]} does not take us for a member of its group: is the secret right?"
        )
    payload = signed[_HEAD_BYTES:]
    _seal(key, offer).open(signed[proof.PREFIX_BYTES : _HEAD_BYTES], payload)
    try:
        found = _DECODER.decode(payload)
    except msgspec.MsgspecError as error:
        raise WireError(f"what the other side sent is no offer or answer: {error}") from error
    if (found.name, found.to) != expected:
        raise WireError(
            f"the relay brought a description from {found.name} to {found.to} where one from "
            f"{expected[0]} to {expected[1]} is due"
        )
    check(found.candidates)
    return found


def session_key(key: bytes, offer: bytes, answer: bytes) -> bytes:
    """The key that only the two that signed these have."""
    return proof.derive(key, "session", _digest(offer), _digest(answer))


def _seal(key: bytes, offer: bytes) -> proof.Seal:
    if not offer:
        return proof.Seal(key, "calling")
    return proof.Seal(proof.derive(key, "answer", _digest(offer)), "answering")


def _digest(signed: bytes) -> str:
    return hashlib.sha256(signed).hexdigest()
