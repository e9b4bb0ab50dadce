"""Values that lie where others can write: signed with a code over their name and content.

The name makes a value that was moved or kept from an earlier time as worthless as one that was
changed; so a name is used for one value only. The content is not encrypted: a reader of the store
can read it.
"""

from __future__ import annotations

import hmac
from typing import TypeAlias

from elevon.errors import WireError

CODE_BYTES = 32
Buffer: TypeAlias = bytes | bytearray | memoryview


def sign(key: bytes, name: str, payload: Buffer) -> bytes:
    """The code, and the payload after it.

    Args:
        key: of the group.
        name: of the value; used for one value only.
        payload: the bytes.
    """
    return b"".join((_code(key, name, payload), payload))


def verify(key: bytes, name: str, signed: bytes) -> memoryview:
    """The payload of a signed value.

    Args:
        key: of the group.
        name: as it was signed with.
        signed: what the store gave.

    Raises:
        WireError: it was not signed with this key and name.
    """
    payload = memoryview(signed)[CODE_BYTES:]
    if not hmac.compare_digest(_code(key, name, payload), signed[:CODE_BYTES]):
        raise WireError(
            f"{name!r} in the store does not come from a member of this group: its secret is "
            "another one, or somebody else writes to the store"
        )
    return payload


def _code(key: bytes, name: str, payload: Buffer) -> bytes:
    label = name.encode()
    code = hmac.new(key, len(label).to_bytes(4, "little") + label, "sha256")
    code.update(payload)
    return code.digest()
