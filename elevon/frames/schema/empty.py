"""A table without rows, of any schema."""

from __future__ import annotations

import pyarrow as pa


def empty_table(schema: pa.Schema) -> pa.Table:
    """No rows and no chunks.

    ``schema.empty_table()`` makes an empty array for each column, which Arrow cannot for unions and
    for lists of some extension types.
    """
    return pa.Table.from_batches([], schema=schema)
