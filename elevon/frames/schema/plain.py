"""Columns in the form that operators know, before any of them looks at a value.

Every operator begins with this; what is plain already is shared, not copied.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from elevon.frames.schema.decoded import is_bool8
from elevon.frames.schema.dictionaries import plain_dictionaries


def plain_columns(table: pa.Table) -> pa.Table:
    """The same rows: nulls of dictionaries in their indices, and one value for each truth.

    Args:
        table: any table.

    Returns:
        A table that shares all columns that are plain already. Of an extension type bool8 the
        storage is 0 or 1 afterwards; see ``plain_dictionaries`` for the rest.
    """
    for number, field in enumerate(table.schema):
        if is_bool8(field.type):
            given = table.column(number)
            chunks = [_one_truth(chunk) for chunk in given.chunks]
            if any(a is not b for a, b in zip(chunks, given.chunks, strict=True)):
                table = table.set_column(number, field, pa.chunked_array(chunks, field.type))
    return plain_dictionaries(table)


def _one_truth(chunk: Any) -> Any:
    """In bool8 every value but 0 is true."""
    ends = pc.min_max(chunk.storage).as_py()
    if ends["min"] in (None, 0, 1) and ends["max"] in (None, 0, 1):
        return chunk
    truth = pc.not_equal(chunk.storage, 0).cast(pa.int8())
    return pa.ExtensionArray.from_storage(chunk.type, truth)
