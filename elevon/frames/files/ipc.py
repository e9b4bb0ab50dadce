"""Tables as bytes and back: Arrow IPC streams in memory files, and serialised schemas.

Reading copies nothing: the columns lie in the mapped file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def write_stream(table: pa.Table, descriptor: int) -> None:
    """Write a table's rows, and nothing that they share, to a descriptor, which stays open."""
    import pyarrow as pa

    from elevon.frames.exchange.own_bytes import writable

    with (
        open(descriptor, "wb", closefd=False) as file,
        pa.ipc.new_stream(file, table.schema) as writer,
    ):
        writer.write_table(writable(table))


def read_stream(buffer: memoryview) -> pa.Table:
    """The table that ``write_stream`` wrote; its columns lie in ``buffer``."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.py_buffer(buffer)).read_all()


def schema_to_bytes(schema: pa.Schema) -> bytes:
    """A schema for the wire."""
    return bytes(schema.serialize())


def schema_from_bytes(data: bytes) -> pa.Schema:
    """The schema that ``schema_to_bytes`` wrote."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(data))


def concat(schema: bytes, tables: Sequence[pa.Table]) -> pa.Table:
    """The tables one after the other; an empty table of ``schema`` where there are none.

    Chunks stay as they are: nothing is copied.
    """
    import pyarrow as pa

    if not tables:
        from elevon.frames.schema.empty import empty_table

        return empty_table(schema_from_bytes(schema))
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables)
