"""One form for values that have several: before columns are compared, grouped or aggregated.

A null may be an index or a value of a dictionary, bool8 has 255 ways to say true, and Arrow's
functions know neither dictionaries of views nor dictionaries of dictionaries.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

Column: TypeAlias = "pa.ChunkedArray[Any]"


def one_form(table: pa.Table) -> pa.Table:
    """The table with each value of a column stored in one way; types and values stay.

    Args:
        table: any rows; columns that have nothing to mend are shared.

    Returns:
        A table in which nulls of dictionaries are null indices, and bool8 is 0 or 1.
    """
    columns = [column_in_one_form(column) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def column_in_one_form(column: Column) -> Column:
    """One column of ``one_form``."""
    if not _has_forms(column.type):
        return column
    return pa.chunked_array([_chunk_in_one_form(chunk) for chunk in column.chunks], column.type)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values behind dictionaries and extension types."""
    if t.is_dictionary(kind):
        return plain_type(kind.value_type)
    if _is_bool8(kind):
        return pa.bool_()
    return plain_type(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else kind


def plain_values(column: Column) -> Column:
    """A column without dictionaries and extension types."""
    kind = column.type
    if not (t.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType)):
        return column
    return pa.chunked_array([_plain(chunk) for chunk in column.chunks], plain_type(kind))


def _has_forms(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _is_bool8(kind) or _has_forms(kind.storage_type)
    return bool(t.is_dictionary(kind))


def _is_bool8(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.Bool8Type)


def _chunk_in_one_form(chunk: Any) -> Any:
    kind = chunk.type
    if _is_bool8(kind):
        stored = chunk.cast(pa.bool_()).cast(pa.int8())
        return pa.ExtensionArray.from_storage(kind, stored)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _chunk_in_one_form(chunk.storage))
    return _null_indices(chunk)


def _null_indices(chunk: pa.DictionaryArray) -> pa.DictionaryArray:
    """Nulls among the dictionary's values as null indices."""
    there = _is_there(chunk.dictionary)
    if pc.all(there, min_count=0).as_py():
        return chunk
    pointed = there.take(chunk.indices)
    indices = pc.if_else(pc.fill_null(pointed, False), chunk.indices, None)
    # The values stay as they are: what is null among them is pointed at no longer.
    return pa.DictionaryArray.from_arrays(
        indices.cast(chunk.type.index_type), chunk.dictionary, ordered=chunk.type.ordered
    )


def _is_there(values: Any) -> Any:
    """For each value whether it is one, also behind a further dictionary."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return _is_there(values.storage)
    if t.is_dictionary(kind):
        return pc.fill_null(_is_there(values.dictionary).take(values.indices), False)
    return values.is_valid()


def _plain(chunk: Any) -> Any:
    kind = chunk.type
    if _is_bool8(kind):
        return chunk.cast(pa.bool_())
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(chunk.storage)
    if not t.is_dictionary(kind):
        return chunk
    return _taken(_plain(chunk.dictionary), chunk.indices)


def _taken(values: Any, indices: Any) -> Any:
    """Values by their positions; of views, Arrow takes their plain forms only."""
    kind = values.type
    if t.is_string_view(kind):
        return values.cast(pa.large_string()).take(indices).cast(kind)
    if t.is_binary_view(kind):
        return values.cast(pa.large_binary()).take(indices).cast(kind)
    return values.take(indices)
