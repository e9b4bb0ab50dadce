"""Columns in the form that operators know, before any of them looks at a value.

Every operator begins with this; what is plain already is shared, not copied.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from elevon.frames.schema.dictionaries import plain_dictionaries

#: pyarrow has it since version 18.
_BOOL8: Final[pa.DataType | None] = pa.bool8() if hasattr(pa, "bool8") else None


def plain_columns(table: pa.Table) -> pa.Table:
    """The same rows: nulls of dictionaries in their indices, and one value for each truth.

    Args:
        table: any table.

    Returns:
        A table that shares all columns that are plain already. Of an extension type bool8 the
        storage is 0 or 1 afterwards; see ``plain_dictionaries`` for the rest.
    """
    for number, field in enumerate(table.schema):
        if field.type == _BOOL8:
            column = pa.chunked_array(
                [_one_truth(chunk) for chunk in table.column(number).chunks], field.type
            )
            table = table.set_column(number, field, column)
    return plain_dictionaries(table)


def _one_truth(chunk: Any) -> Any:
    """In bool8 every value but 0 is true."""
    truth = pc.not_equal(chunk.storage, 0).cast(pa.int8())
    return pa.ExtensionArray.from_storage(chunk.type, truth)
