"""The one schema of many files, and the columns that are wanted of it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from elevon.errors import SchemaError
from elevon.frames.exchange.agreement import spell
from elevon.frames.files.paths import Source
from elevon.frames.schema.join_plan import find_column


def pick_columns(schema: pa.Schema, columns: Sequence[str] | None, path: str) -> pa.Schema:
    """The wanted columns of one file, in the wanted order; all if None.

    What pandas or another writer noted about the file as a whole is not kept: it speaks of an
    index and of row numbers, which a share of the rows does not have.

    Raises:
        SchemaError: a column is not there.
    """
    if columns is None:
        return schema.remove_metadata()
    return pa.schema([schema.field(find_column(schema, name, path)) for name in columns])


def one_schema(
    sources: Sequence[Source], schemas: Sequence[pa.Schema], columns: Sequence[str] | None
) -> pa.Schema:
    """The schema of the wanted columns, which must be the same in all files.

    Raises:
        SchemaError: a column is not there, or two files differ in a name or a type.
    """
    wanted = [
        pick_columns(schema, columns, source.path)
        for source, schema in zip(sources, schemas, strict=True)
    ]
    for source, schema in zip(sources, wanted, strict=True):
        if spell(schema) != spell(wanted[0]):
            raise SchemaError(
                f"read: the files differ. {sources[0].path} has {spell(wanted[0])}; "
                f"{source.path} has {spell(schema)}"
            )
    return wanted[0]
