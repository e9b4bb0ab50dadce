"""Rows as one message and back: what leaves a rank, and what a scratch file holds.

A message is contiguous and holds the rows' own bytes, whatever larger table they were cut from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa

from elevon import _native
from elevon.comm.protocol import Array
from elevon.errors import SchemaError, UsageError
from elevon.frames.exchange.agreement import spell


@contextmanager
def told(what: str, schema: pa.Schema) -> Iterator[None]:
    """Turn what the kernels refuse for its values, not for its types, into an error of ours."""
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        raise SchemaError(
            f"{what}: {error}; the columns are {spell(schema)}. A dictionary that outgrows its "
            f"index type needs a wider one (int32), 2 GiB of text in one row large_string"
        ) from error


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
