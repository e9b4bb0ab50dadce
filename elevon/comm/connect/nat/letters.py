"""The two letters of an introduction: who calls whom, and where each of the two is to be found.

Pure: values in, values out. Both carry a code of the pairing key, which the relay does not have;
the answer's is made for this one call, and the session's key for both letters, so what was recorded
of another introduction is good for nothing.
"""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from elevon.comm.connect.nat.whereabouts import Whereabouts, check
from elevon.comm.security import proof
from elevon.errors import WireError

LONGEST_LETTER = 1024
_HEAD_BYTES = proof.PREFIX_BYTES + proof.CODE_BYTES


class Letter(msgspec.Struct, frozen=True):
    """What one member tells another.

    Attributes:
        name: its own.
        to: the other's.
        whereabouts: its own.
        nonce: makes this letter unlike all others.
    """

    name: str
    to: str
    whereabouts: Whereabouts
    nonce: bytes = msgspec.field(default_factory=lambda: secrets.token_bytes(proof.NONCE_BYTES))


_LETTERS: msgspec.msgpack.Decoder[Letter] = msgspec.msgpack.Decoder(Letter)


def write(letter: Letter, key: bytes, call: bytes = b"") -> bytes:
    """A letter with its code.

    Args:
        letter: what it says.
        key: the group's pairing key.
        call: the caller's letter as it came, where this one answers it.
    """
    return _seal(key, call).seal(msgspec.msgpack.encode(letter))


def read(written: bytes, key: bytes, expected: tuple[str, str], call: bytes = b"") -> Letter:
    """What a letter says.

    Args:
        written: as it came.
        key: the group's pairing key.
        expected: whose it has to be, and to whom.
        call: the caller's letter, where this one has to answer it.

    Raises:
        WireError: it is not from a member, to somebody else, or of another introduction.
    """
    if not _HEAD_BYTES < len(written) <= LONGEST_LETTER:
        raise WireError(
            f"{expected[0]} does not take us for a member of its group: is the secret right?"
        )
    payload = written[_HEAD_BYTES:]
    _seal(key, call).open(written[proof.PREFIX_BYTES : _HEAD_BYTES], payload)
    try:
        letter = _LETTERS.decode(payload)
    except msgspec.MsgspecError as error:
        raise WireError(f"what came from the other side is no letter: {error}") from error
    if (letter.name, letter.to) != expected:
        raise WireError(
            f"the relay brought a letter from {letter.name} to {letter.to} where one from "
            f"{expected[0]} to {expected[1]} is due"
        )
    check(letter.whereabouts)
    return letter


def session(key: bytes, call: bytes, answer: bytes) -> bytes:
    """The key that only the writers of these two letters have."""
    return proof.derive(key, "session", _digest(call), _digest(answer))


def _seal(key: bytes, call: bytes) -> proof.Seal:
    if not call:
        return proof.Seal(key, "calling")
    return proof.Seal(proof.derive(key, "answer", _digest(call)), "answering")


def _digest(written: bytes) -> str:
    return hashlib.sha256(written).hexdigest()
