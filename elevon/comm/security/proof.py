"""Mutual authentication: both peers prove that they know a key before anything else is said.

Pure: bytes in, bytes out, no socket. The accepting side sends a nonce; the dialing side answers
with a claim, a nonce of its own and a code over all of it; the accepting side answers with its
code. Nonces make a recorded proof worthless, roles make a reflected one worthless. The key never
travels, and a peer that does not know it learns nothing but a nonce.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass

from elevon.errors import WireError

MAGIC = b"ELVP"
VERSION = 1
NONCE_BYTES = 32
CODE_BYTES = 32
KEY_BYTES = 32
LONGEST_CLAIM = 1024
LONGEST_MESSAGE = 256 * 1024

_GREETING = struct.Struct("<4sHH")
_LENGTH = struct.Struct("<I")
CHALLENGE_BYTES = _GREETING.size + NONCE_BYTES
PREFIX_BYTES = _LENGTH.size


def derive(secret: bytes, *labels: str) -> bytes:
    """A key for one purpose; nobody can get from it to the secret or to another key.

    Args:
        secret: 32 bytes.
        labels: the purpose, from the general to the particular.
    """
    if len(secret) != KEY_BYTES:
        raise ValueError(f"a secret has {KEY_BYTES} bytes, not {len(secret)}")
    # Lengths in front: ("a1", "2") and ("a", "12") are two purposes.
    parts = (label.encode() for label in labels)
    return _code(secret, *(_LENGTH.pack(len(part)) + part for part in parts))


def challenge() -> bytes:
    """What the accepting side says first, fresh for each connection."""
    return _GREETING.pack(MAGIC, VERSION, 0) + secrets.token_bytes(NONCE_BYTES)


def check_challenge(received: bytes) -> None:
    """Refuse what is no challenge of ours.

    Raises:
        WireError: it is not.
    """
    magic, version, _ = _GREETING.unpack_from(received)
    if magic != MAGIC:
        raise WireError("what answers there is no Elevon: check the address")
    if version != VERSION:
        raise WireError(f"the other side speaks version {version} of the proof, this one {VERSION}")


@dataclass(frozen=True, slots=True)
class Proof:
    """One exchange, as the dialing side makes it and the accepting side finds it.

    Attributes:
        claim: what the dialing side says of itself.
        message: what the dialing side sends.
        answer: what the accepting side sends back.
        session: a key that only the two of them have.
    """

    claim: bytes
    message: bytes
    answer: bytes
    session: bytes


def prove(challenge: bytes, key: bytes, claim: bytes, nonce: bytes = b"") -> Proof:
    """The dialing side's part.

    Args:
        challenge: as received.
        key: of the group.
        claim: what we say of ourselves; at most LONGEST_CLAIM bytes.
        nonce: ours; fresh where it is not given.
    """
    nonce = nonce or secrets.token_bytes(NONCE_BYTES)
    said = challenge + nonce + claim
    body = nonce + _code(key, b"dialing", said) + claim
    return Proof(
        claim=claim,
        message=_LENGTH.pack(len(body)) + body,
        answer=_code(key, b"accepting", said),
        session=_code(key, b"session", said),
    )


def length_of(prefix: bytes, longest: int) -> int:
    """How many bytes follow a length prefix.

    Raises:
        WireError: more than is allowed.
    """
    (length,) = _LENGTH.unpack(prefix)
    if length > longest:
        raise WireError(f"the other side announces {length} bytes where {longest} are allowed")
    return int(length)


LONGEST_PROOF = NONCE_BYTES + CODE_BYTES + LONGEST_CLAIM


def claim_of(body: bytes) -> bytes:
    """What the dialing side claims to be; nothing is proved yet.

    Raises:
        WireError: the message is too short to be one.
    """
    if len(body) < NONCE_BYTES + CODE_BYTES:
        raise WireError("the other side sent no proof")
    return body[NONCE_BYTES + CODE_BYTES :]


def check(challenge: bytes, body: bytes, key: bytes) -> Proof:
    """The accepting side's part: check what the dialing side sent.

    Args:
        challenge: as sent.
        body: what came after its length.
        key: of the group that the claim names.

    Raises:
        WireError: it does not know the key.
    """
    expected = prove(challenge, key, claim_of(body), body[:NONCE_BYTES])
    if not hmac.compare_digest(expected.message[PREFIX_BYTES:], body):
        raise WireError("the other side does not know the secret of this group")
    return expected


def check_answer(proof: Proof, received: bytes) -> None:
    """The dialing side's last step.

    Raises:
        WireError: the accepting side does not know the key.
    """
    if not hmac.compare_digest(proof.answer, received):
        raise WireError("what answers there does not know the secret of this group")


class Seal:
    """Codes for the messages of one direction of a session, each good for one place in it.

    Args:
        session: the key that both sides have.
        direction: tells the two directions apart.
    """

    def __init__(self, session: bytes, direction: str) -> None:
        self._key = _code(session, direction.encode())
        self._count = 0

    def seal(self, payload: bytes) -> bytes:
        """The next message, with length and code in front."""
        return _LENGTH.pack(len(payload)) + self._next(payload) + payload

    def open(self, code: bytes, payload: bytes) -> bytes:
        """The payload of the next message.

        Raises:
            WireError: one was changed, dropped or repeated.
        """
        if not hmac.compare_digest(self._next(payload), code):
            raise WireError("a message was changed on its way")
        return payload

    def _next(self, payload: bytes) -> bytes:
        self._count += 1
        return _code(self._key, struct.pack("<Q", self._count), payload)


def _code(key: bytes, *parts: bytes) -> bytes:
    code = hmac.new(key, digestmod="sha256")
    for part in parts:
        code.update(part)
    return code.digest()
