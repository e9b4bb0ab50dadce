"""The values behind dictionaries and extension types, for functions of Arrow that know neither.

The columns of a table keep their types (see ``schema/plain.py``); what is here is looked at only.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.types as t

#: pyarrow has it since version 18.
_BOOL8: Final[Any] = getattr(pa, "Bool8Type", ())
Column: TypeAlias = "pa.ChunkedArray[Any]"


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


def _is_bool8(kind: pa.DataType) -> bool:
    return isinstance(kind, _BOOL8)


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
