"""The values behind dictionaries and extension types, for functions of Arrow that know neither.

The columns of a table keep their types (see ``plain.py``); what is here is looked at only.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.types as t

#: pyarrow has it since version 18.
_BOOL8: Final[Any] = getattr(pa, "Bool8Type", ())
_LISTS: Final[tuple[Any, ...]] = (
    (t.is_list, pa.list_),
    (t.is_large_list, pa.large_list),
    (t.is_list_view, pa.list_view),
    (t.is_large_list_view, pa.large_list_view),
)
Column: TypeAlias = "pa.ChunkedArray[Any]"


def is_bool8(kind: pa.DataType) -> bool:
    """Whether the values are truths that are stored as a byte each."""
    return isinstance(kind, _BOOL8)


def decoded_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values behind dictionaries and extension types."""
    if t.is_dictionary(kind):
        return decoded_type(kind.value_type)
    if is_bool8(kind):
        return pa.bool_()
    return decoded_type(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else kind


def decoded(column: Column) -> Column:
    """A column without dictionaries and extension types; what is inside of lists stays."""
    kind = column.type
    if not (t.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType)):
        return column
    return pa.chunked_array([_decoded(chunk) for chunk in column.chunks], decoded_type(kind))


def same_nested(left: Column, right: Column) -> bool:
    """Whether lists, structs or maps of one type hold the same values, however these are encoded.

    As in Arrow, NaN is not equal to NaN here.

    Args:
        left: values of a nested type.
        right: as many values of the same type.
    """
    kind = _decoded_throughout(left.type)
    if kind == left.type:
        return bool(left.equals(right))
    try:
        return bool(left.cast(kind).equals(right.cast(kind)))
    except pa.ArrowNotImplementedError:  # list views, and dictionaries of views
        return bool(left.to_pylist() == right.to_pylist())


def _decoded_throughout(kind: pa.DataType) -> pa.DataType:
    """The type of the same values without dictionaries and extension types at any depth."""
    kind = decoded_type(kind)
    if t.is_struct(kind):
        return pa.struct([_field(kind.field(i)) for i in range(kind.num_fields)])
    if t.is_map(kind):
        return pa.map_(_field(kind.key_field), _field(kind.item_field), kind.keys_sorted)
    if t.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field), kind.list_size)
    for is_kind, make in _LISTS:
        if is_kind(kind):
            return make(_field(kind.value_field))
    return kind


def _field(field: pa.Field[Any]) -> pa.Field[Any]:
    return field.with_type(_decoded_throughout(field.type))


def _decoded(chunk: Any) -> Any:
    kind = chunk.type
    if is_bool8(kind):
        return chunk.cast(pa.bool_())
    if isinstance(kind, pa.BaseExtensionType):
        return _decoded(chunk.storage)
    if not t.is_dictionary(kind):
        return chunk
    return _taken(_decoded(chunk.dictionary), chunk.indices)


def _taken(values: Any, indices: Any) -> Any:
    """Values by their positions; of views, Arrow takes their plain forms only."""
    kind = values.type
    if t.is_string_view(kind):
        return values.cast(pa.large_string()).take(indices).cast(kind)
    if t.is_binary_view(kind):
        return values.cast(pa.large_binary()).take(indices).cast(kind)
    return values.take(indices)
