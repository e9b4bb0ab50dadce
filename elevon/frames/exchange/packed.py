"""Rows as one message and back: what leaves a rank, and what a scratch file holds.

A message is contiguous and holds the rows' own bytes, whatever larger table they were cut from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from elevon import _native
from elevon.comm.protocol import Array
from elevon.frames.schema.kernel_errors import told


def unpack(schema: pa.Schema, messages: Sequence[Array]) -> pa.Table:
    """The rows of all messages in order, laid over the messages' memory.

    Raises:
        SchemaError: the dictionaries of the messages have no room in one.
    """
    with told("rows of several ranks do not fit into one table", schema):
        return pa.table(_native.unpack(schema, [message.data for message in messages]))


def compact(table: pa.Table) -> pa.Table:
    """The same rows in memory of their own, free of the larger table they were cut from."""
    return unpack(table.schema, [whole(table)])


def whole(table: pa.Table) -> Array:
    """All rows as one message.

    Raises:
        SchemaError: the dictionaries of the chunks have no room in one, or a row is too large.
    """
    with told("rows cannot be sent", table.schema):
        return bytes_of(_native.pack_slices(table, [0, table.num_rows])[0])


def bytes_of(part: _native.Packed) -> Array:
    """A packed message as a communicator takes it."""
    return np.asarray(memoryview(part), dtype=np.uint8)
