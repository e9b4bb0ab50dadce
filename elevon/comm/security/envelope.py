"""Bytes that lie where others can write: closed with a code over their name and themselves.

The name makes a value that was moved or kept from an earlier time as worthless as one that was
changed; so a name is used for one value only. The bytes themselves can be read: whoever must not
see them must not see the store.
"""

from __future__ import annotations

import hmac
from typing import TypeAlias

from elevon.errors import WireError

CODE_BYTES = 32
Buffer: TypeAlias = bytes | bytearray | memoryview


def close(key: bytes, name: str, payload: Buffer) -> bytes:
    """The code, and the payload after it.

    Args:
        key: of the group.
        name: what this is; good for one value.
        payload: the bytes.
    """
    return b"".join((_code(key, name, payload), payload))


def unclose(key: bytes, name: str, closed: bytes) -> memoryview:
    """The payload.

    Args:
        key: of the group.
        name: as it was closed with.
        closed: what the store gave.

    Raises:
        WireError: it was not closed with this key and name.
    """
    payload = memoryview(closed)[CODE_BYTES:]
    if not hmac.compare_digest(_code(key, name, payload), closed[:CODE_BYTES]):
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
