"""What a sort will do, decided from the schema alone, and the order it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from elevon import _native
from elevon.errors import DescriptionError, SchemaError
from elevon.frames.schema.join_plan import check_columns, find_column
from elevon.frames.schema.kernel_errors import told
from elevon.frames.schema.key_types import is_key_type


@dataclass(frozen=True, slots=True)
class Order:
    """An order of rows: key columns by position, most significant first.

    NaN comes after every number and beside the nulls, whatever the direction.
    """

    by: tuple[int, ...]
    ascending: tuple[bool, ...]
    nulls_first: tuple[bool, ...]

    def sort(self, table: pa.Table, threads: int = 1) -> pa.Table:
        """The rows in this order; equal rows keep theirs."""
        with told("rows cannot be sorted", table.schema):
            return pa.table(_native.sort(table, self.by, self.ascending, self.nulls_first, threads))

    def merge(self, runs: Sequence[pa.Table], threads: int = 1) -> pa.Table:
        """One run out of several; equal rows in the order of the runs."""
        with told("runs cannot be merged", *(run.schema for run in runs[:1])):
            return pa.table(_native.merge(runs, self.by, self.ascending, self.nulls_first, threads))

    def of_keys(self) -> Order:
        """The same order for a table of the key columns alone."""
        return Order(tuple(range(len(self.by))), self.ascending, self.nulls_first)


def plan_sort(
    schema: pa.Schema,
    by: str | Sequence[str],
    ascending: bool | Sequence[bool] = True,
    na_position: str = "last",
) -> Order:
    """Plan a sort.

    Args:
        schema: the table's schema.
        by: names of the key columns, most significant first.
        ascending: one direction for all keys, or one for each.
        na_position: "first" or "last": where nulls (and NaN) go, whatever the direction.

    Returns:
        The order.

    Raises:
        DescriptionError: no key, another number of directions than keys, or a wrong
            ``na_position``.
        SchemaError: a key column is missing, named twice, or of a type that has no order here, or
            the kernels do not know the type of a column.
    """
    names = [by] if isinstance(by, str) else list(by)
    directions = [ascending] * len(names) if isinstance(ascending, bool) else list(ascending)
    if not names or len(names) != len(directions):
        raise DescriptionError(
            f"sort: needs at least one column and one direction for each: "
            f"by={names}, ascending={directions}"
        )
    if na_position not in ("first", "last"):
        raise DescriptionError(f"sort: na_position={na_position!r} is not first or last")
    check_columns(schema)
    return Order(
        tuple(_sortable(schema, name) for name in names),
        tuple(directions),
        (na_position == "first",) * len(names),
    )


def _sortable(schema: pa.Schema, name: str) -> int:
    index = find_column(schema, name, "the table")
    if not is_key_type(schema.field(index).type):
        raise SchemaError(
            f"cannot sort by {name!r}: {schema.field(index).type} has no order; "
            f"sort by a number, a time, text or bytes"
        )
    return index
