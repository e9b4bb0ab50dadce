"""What rows take by themselves, and rows in memory of their own.

A slice of a table shares the buffers of the whole. Arrow counts and writes what a slice needs of
them for most types, but of views, list views and dictionaries always the whole buffers: five rows
cut from a gigabyte of views are a gigabyte on the disk, on the wire and in the memory of whoever
keeps them.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.types as t

from elevon import _native
from elevon.frames.exchange.packed import compact
from elevon.frames.schema.key_types import is_carried_type

#: Rows may keep so many bytes alive that are not theirs before they are copied: as many as their
#: own, since a copy beside what its owner keeps anyway costs as much, and a few pages.
SPARE_SHARE: Final = 1
SPARE_BYTES: Final = 64 << 10


def own_bytes(table: pa.Table) -> int:
    """Bytes that the rows of a table take, and nothing else of the buffers in which they lie.

    Every decision about memory goes by this number, and by no other.

    Args:
        table: any rows.

    Returns:
        What they would take in buffers of their own, but for a few bytes of padding.
    """
    shared = [i for i, field in enumerate(table.schema) if shares_buffers(field.type)]
    plain = sum(table.column(i).nbytes for i in range(table.num_columns) if i not in set(shared))
    return int(plain) + (_packed_bytes(table.select(shared)) if shared else 0)


def owned(table: pa.Table) -> pa.Table:
    """The same rows, in memory of their own where they keep much more alive than they are.

    Args:
        table: any rows.

    Returns:
        The table itself where nothing has to be copied.
    """
    # Columns of one batch may live and die together: one that is light keeps the heavy ones, too.
    return copied(table) if any(map(partial(_keeps_others, table), _columns(table))) else table


def writable(table: pa.Table) -> pa.Table:
    """The same rows for Arrow to write: it cuts most columns to their rows, but shares the others.

    Args:
        table: any rows.

    Returns:
        A table of which a written stream holds the rows' own bytes only.
    """
    kinds = table.schema.types
    heavy = [i for i, kind in enumerate(kinds) if shares_buffers(kind) and _keeps_others(table, i)]
    return _copied(table, heavy)


def copied(table: pa.Table) -> pa.Table:
    """The same rows, in memory of their own in any case."""
    return _copied(table, list(_columns(table)))


def narrowed(kept: pa.Table, source: pa.Table) -> pa.Table:
    """Columns out of a table, in memory of their own where the others are more than they are.

    Columns that came in one batch live and die together, so whoever keeps one keeps them all.

    Args:
        kept: a result that may share memory with ``source``.
        source: what it was made of.

    Returns:
        The result itself, or a copy.
    """
    spare = (1 + SPARE_SHARE) * own_bytes(kept) + SPARE_BYTES
    if own_bytes(source) <= spare or _addresses(kept).isdisjoint(_addresses(source)):
        return kept
    return copied(kept)


def apart(table: pa.Table) -> pa.Table:
    """Rows whose views do not point into what was read, whose other columns would stay as long."""
    return copied(table) if any(map(shares_buffers, table.schema.types)) else table


def shares_buffers(kind: pa.DataType) -> bool:
    """Whether Arrow takes a slice of this type for the whole buffers that it refers to."""
    if isinstance(kind, pa.BaseExtensionType):
        return shares_buffers(kind.storage_type)
    if t.is_dictionary(kind) or t.is_string_view(kind) or t.is_binary_view(kind):
        return True
    if t.is_list_view(kind) or t.is_large_list_view(kind):
        return True
    return any(shares_buffers(kind.field(i).type) for i in range(kind.num_fields))


def _addresses(table: pa.Table) -> set[int]:
    """Where its buffers begin, also of a slice."""
    chunks = (chunk for column in table.columns for chunk in column.chunks)
    return {buffer.address for chunk in chunks for buffer in chunk.buffers() if buffer is not None}


def _columns(table: pa.Table) -> range:
    return range(table.num_columns)


def _packed_bytes(table: pa.Table) -> int:
    if all(is_carried_type(kind) for kind in table.schema.types):
        try:
            return _native.packed_bytes(table)
        except ValueError:
            # Chunks whose dictionaries are too many for one: the operator that needs them together
            # says so; here they are only counted.
            pass
    return int(table.nbytes)


def _keeps_others(table: pa.Table, index: int) -> bool:
    held = table.column(index).get_total_buffer_size()
    if held <= SPARE_BYTES:
        return False
    return bool(held > (1 + SPARE_SHARE) * own_bytes(table.select([index])) + SPARE_BYTES)


def _copied(table: pa.Table, columns: list[int]) -> pa.Table:
    """The table with new memory for some of its columns."""
    for index in columns:
        field = table.schema.field(index)
        rows = table.select([index])
        copy = compact(rows) if is_carried_type(field.type) else _rewritten(rows)
        table = table.set_column(index, field, copy.column(0))
    return table


def _rewritten(table: pa.Table) -> pa.Table:
    """What no kernel moves (unions, run ends), as Arrow's streams write and read it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()
