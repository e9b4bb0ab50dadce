"""The one schema of many files, and the columns that are wanted of it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from elevon.errors import DescriptionError, SchemaError
from elevon.frames.exchange.agreement import spell
from elevon.frames.files.paths import Source
from elevon.frames.schema.join_plan import find_column


def pick_columns(schema: pa.Schema, columns: Sequence[str] | None, path: str) -> pa.Schema:
    """The wanted columns of one file, in the wanted order; all if None.

    What pandas or another writer noted about the file as a whole is not kept: it speaks of an
    index and of row numbers, which a share of the rows does not have.

    Raises:
        DescriptionError: no column is wanted, or one twice.
        SchemaError: a column is not there, or two have one name.
    """
    if columns is None:
        for name in schema.names:
            find_column(schema, name, path)
        return schema.remove_metadata()
    if not columns or len(set(columns)) < len(columns):
        raise DescriptionError(
            f"read: columns={list(columns)}: name each wanted column once, at least one; "
            f"None stands for all"
        )
    return pa.schema([schema.field(find_column(schema, name, path)) for name in columns])


def one_schema(
    sources: Sequence[Source], schemas: Sequence[pa.Schema], columns: Sequence[str] | None
) -> pa.Schema:
    """The schema of the wanted columns, which must be the same in all files.

    Whether a column may hold nulls is no difference: it may if it may in one of the files.

    Raises:
        SchemaError: a column is not there, or two files differ in a name or a type.
    """
    wanted = [
        pick_columns(schema, columns, str(source))
        for source, schema in zip(sources, schemas, strict=True)
    ]
    for source, schema in zip(sources, wanted, strict=True):
        if spell(schema) != spell(wanted[0]):
            raise SchemaError(
                f"read: the files differ. {sources[0]} has {spell(wanted[0])}; "
                f"{source} has {spell(schema)}"
            )
    return pa.schema([pa.field(field.name, field.type) for field in wanted[0]])


def in_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A file's rows under the one schema of all files."""
    return pa.Table.from_arrays([table.column(name) for name in schema.names], schema=schema)
