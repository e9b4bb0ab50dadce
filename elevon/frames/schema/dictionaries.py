"""What a dictionary-encoded column means: its values, whatever the dictionary looks like.

A null among the dictionary's values is a null of the column: operators look for nulls in the
indices only. Values that are views become plain text or bytes, which every kernel knows. Nested
values are not kept in a dictionary, because no two dictionaries of them can become one. The order
of an ordered dictionary is the kernels' business (``is_ordered`` in cpp/arrow/type.hpp).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

from elevon.errors import SchemaError


def plain_dictionaries(table: pa.Table) -> pa.Table:
    """The same rows, with every null of a dictionary column in its indices.

    Args:
        table: any table; only columns that are dictionaries themselves are looked at.

    Returns:
        A table that shares all columns that are plain already; a dictionary of views has the type
        of a dictionary of text or bytes.
    """
    for number, field in enumerate(table.schema):
        if t.is_dictionary(field.type):
            given = table.column(number)
            column = _plain_column(given, plain_dictionary_type(field.type))
            if column is not given:
                table = table.set_column(number, field.with_type(column.type), column)
    return table


def plain_dictionary_type(kind: pa.DataType) -> pa.DataType:
    """The type that a column of this type has afterwards."""
    if not t.is_dictionary(kind):
        return kind
    if t.is_dictionary(kind.value_type):
        return plain_dictionary_type(kind.value_type)
    if t.is_nested(kind.value_type):
        return kind.value_type
    values = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind.value_type)
    return kind if values is None else pa.dictionary(kind.index_type, values, kind.ordered)


def decode_extensions(table: pa.Table) -> pa.Table:
    """The same rows, without dictionaries of an extension type (of pandas' periods, for one).

    Arrow's streams say of such a column that all of it is of the extension type, and readers take
    the indices for its values. So this comes before a table goes into one.

    Raises:
        SchemaError: there is one inside of a list, struct or map.
    """
    for number, field in enumerate(table.schema):
        if t.is_dictionary(field.type) and isinstance(field.type.value_type, pa.BaseExtensionType):
            kind = field.type.value_type
            chunks = [chunk.dictionary.take(chunk.indices) for chunk in table.column(number).chunks]
            table = table.set_column(
                number, field.with_type(kind).remove_metadata(), pa.chunked_array(chunks, kind)
            )
        elif "dictionary<values=extension<" in str(field.type):
            raise SchemaError(
                f"column {field.name!r} ({field.type}) holds a dictionary of an extension type, "
                f"which would come back as another: decode it first"
            )
    return table


def unordered(kind: pa.DataType) -> pa.DataType:
    """The type without an order of its dictionary's; of no dictionary, the type itself."""
    if not t.is_dictionary(kind):
        return kind
    return pa.dictionary(kind.index_type, kind.value_type, ordered=False)


def without_orders(table: pa.Table) -> pa.Table:
    """The same rows for operators that only ask whether values are equal.

    Two ordered dictionaries may disagree about the order of the same values; what they are equal to
    does not depend on it.

    Args:
        table: any table.

    Returns:
        A table that shares all values, and whose dictionaries have no order.
    """
    for number, field in enumerate(table.schema):
        kind = unordered(field.type)
        if kind != field.type:
            chunks = [
                pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary)
                for chunk in table.column(number).chunks
            ]
            column = pa.chunked_array(chunks, kind)
            table = table.set_column(number, field.with_type(kind), column)
    return table


def as_dictionary(column: pa.ChunkedArray[Any], kind: pa.DataType) -> pa.ChunkedArray[Any]:
    """A plain column of the dictionary's values as a column of that type.

    Args:
        column: values of the dictionary's value type, or a dictionary of these.
        kind: a dictionary type.

    Raises:
        ArrowInvalid: there are more values than the index type can address.
    """
    if not t.is_dictionary(column.type):
        column = column.dictionary_encode()
    chunks = [
        pa.DictionaryArray.from_arrays(
            chunk.indices.cast(kind.index_type), chunk.dictionary, ordered=kind.ordered
        )
        for chunk in column.unify_dictionaries().chunks
    ]
    return pa.chunked_array(chunks, kind)


def _plain_column(column: pa.ChunkedArray[Any], kind: pa.DataType) -> pa.ChunkedArray[Any]:
    inner = column.type.value_type
    if t.is_dictionary(inner):
        taken = [chunk.dictionary.take(chunk.indices) for chunk in column.chunks]
        return _plain_column(pa.chunked_array(taken, inner), kind)
    if column.type == kind and not any(chunk.dictionary.null_count for chunk in column.chunks):
        return column
    return pa.chunked_array([_plain_chunk(chunk, kind) for chunk in column.chunks], kind)


def _plain_chunk(chunk: Any, kind: pa.DataType) -> Any:
    if not t.is_dictionary(kind):
        return chunk.dictionary.take(chunk.indices)
    indices, values = chunk.indices, chunk.dictionary.cast(kind.value_type)
    if values.null_count:
        valid = values.is_valid()
        numbers = pc.subtract(pc.cumulative_sum(valid.cast(pa.int64())), 1)
        renumbered = pc.if_else(valid, numbers, pa.scalar(None, pa.int64()))
        indices = renumbered.take(indices).cast(kind.index_type)
        values = values.drop_null()
    return pa.DictionaryArray.from_arrays(indices, values, ordered=kind.ordered)
