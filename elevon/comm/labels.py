"""What travels ahead of arrays whose length only the sender knows.

Before it: ``protocol``. After it: the v-collectives of every communicator. A label says dtype and
length in a fixed number of bytes, so a receiver needs to know nothing and members may even send
different dtypes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from elevon.comm.protocol import Array, as_contiguous
from elevon.errors import UsageError

LABEL = np.dtype([("length", "<i8"), ("dtype", "S24")])


def as_payload(array: object) -> Array:
    """The array that a caller passed, fit to travel.

    Raises:
        UsageError: it holds Python objects or named fields.
    """
    result = as_contiguous(array)
    if result.dtype.hasobject or result.dtype.names is not None:
        raise UsageError(
            f"a collective moves plain numbers, not dtype {result.dtype}: encode it as bytes"
        )
    return result


def as_sequence(array: object) -> Array:
    """The same for a v-collective, which takes one dimension.

    Raises:
        UsageError: it has another number of dimensions, or a dtype that cannot travel.
    """
    result = as_payload(array)
    if result.ndim != 1:
        raise UsageError(f"arrays of any length have one dimension, not {result.ndim}")
    return result


def as_bytes(array: Array) -> Array:
    """A view of a contiguous array as one dimension of uint8."""
    return array.reshape(-1).view(np.uint8)


def labels_of(arrays: Iterable[Array]) -> Array:
    """One label for each array."""
    return np.array([(array.size, array.dtype.str.encode()) for array in arrays], dtype=LABEL)


def described_by(label: np.void) -> tuple[int, np.dtype[np.generic]]:
    """Length and dtype that a label tells."""
    return int(label["length"]), np.dtype(label["dtype"].decode())
