"""Rows with equal keys in one table: the local part of groups and sets, by the sort kernel.

Equal means what it means to the kernels that partition and join: one NaN, one zero, null equals
null; so the rows that a shuffle brings together are grouped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from numpy.typing import NDArray

from elevon.errors import SchemaError
from elevon.frames.schema.decoded import Column, decoded
from elevon.frames.schema.join_plan import find_column
from elevon.frames.schema.key_types import is_key_type
from elevon.frames.schema.sort_plan import Order

_WHOLE: Final = {
    width: getattr(pa, f"decimal{width}")
    for width in (32, 64, 128, 256)
    if hasattr(pa, f"decimal{width}")
}
Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Groups:
    """Which rows of a table have equal keys.

    Attributes:
        order: the rows, group by group; within a group as they are in the table.
        starts: where in ``order`` each group begins.
        values: the other columns of the table, in that order.
    """

    order: Rows
    starts: Rows
    values: pa.Table

    def __len__(self) -> int:
        return len(self.starts)

    @staticmethod
    def of(keys: pa.Table, values: Mapping[str, Column] | None = None, threads: int = 1) -> Groups:
        """Find the groups of a table.

        Args:
            keys: its key columns.
            values: others, which the sort brings into order on the way.
            threads: how many threads the sort kernel may use.

        Returns:
            The groups, in the order of the keys.
        """
        others = values or {}
        rows = pa.array(np.arange(keys.num_rows, dtype=np.int64))
        columns = [*map(plain_key, keys.columns), *others.values(), rows]
        names = [*(str(i) for i in range(keys.num_columns)), *others, "row"]
        order = ascending(keys.num_columns)
        ordered = order.sort(pa.Table.from_arrays(columns, names), threads)
        starts = np.flatnonzero(_begins(ordered.select(list(order.by))))
        rest = ordered.select(range(keys.num_columns, len(names) - 1))
        return Groups(_int64(ordered.column(len(names) - 1)), starts.astype(np.int64), rest)

    @property
    def first(self) -> Rows:
        """Each group's first row in the table."""
        return self.order[self.starts]

    @property
    def last(self) -> Rows:
        """Each group's last row in the table."""
        last: Rows = self.order[self.starts + self.lengths - 1]
        return last

    @property
    def lengths(self) -> Rows:
        """How many rows each group has."""
        edges = np.append(self.starts, len(self.order))
        lengths: Rows = edges[1:] - edges[:-1]
        return lengths

    @property
    def numbers(self) -> Rows:
        """For each row of the table, the number of its group."""
        numbers = np.empty(len(self.order), dtype=np.int64)
        numbers[self.order] = np.repeat(np.arange(len(self)), self.lengths)
        return numbers


def ascending(columns: int) -> Order:
    """The order of rows by their first columns, nulls last."""
    return Order(tuple(range(columns)), (True,) * columns, (False,) * columns)


def first_rows(keys: pa.Table, threads: int = 1) -> Rows:
    """Where each different row of ``keys`` is for the first time, ascending."""
    return np.sort(Groups.of(keys, threads=threads).first)


def differ(left: Column, right: Column) -> NDArray[np.bool_]:
    """For each pair of plain key values, whether they are different."""
    changed = pc.not_equal(left, right)
    if t.is_floating(left.type):
        changed = pc.and_not(changed, pc.and_(pc.is_nan(left), pc.is_nan(right)))
    if left.null_count or right.null_count:
        changed = pc.fill_null(changed, pc.xor(left.is_null(), right.is_null()))
    return np.asarray(changed.to_numpy(), dtype=np.bool_)


def plain_key(column: Column) -> Column:
    """A column in which values that are equal to the kernels are equal to Arrow."""
    column = decoded(column)
    kind = column.type
    if t.is_float16(kind):
        return plain_key(column.cast(pa.float32()))
    # Functions of Arrow that compare know no views.
    if t.is_string_view(kind):
        return column.cast(pa.large_string())
    if t.is_binary_view(kind):
        return column.cast(pa.large_binary())
    if t.is_null(kind):
        return column.cast(pa.int8())
    if t.is_decimal(kind) and kind.scale < 0:  # nor decimals of thousands: their digits do
        whole = _WHOLE[kind.bit_width](kind.precision, 0)
        return pa.chunked_array([chunk.view(whole) for chunk in column.chunks], whole)
    return _one_zero_one_nan(column) if t.is_floating(kind) else column


def find_keys(schema: pa.Schema, names: Sequence[str], verb: str) -> list[int]:
    """The positions of key columns.

    Args:
        schema: where to look.
        names: names of the columns.
        verb: what they are wanted for, as the message is to say it.

    Raises:
        SchemaError: one is missing, there twice, or of a type whose values cannot be compared.
    """
    found = [find_column(schema, name, "the table") for name in names]
    for index in found:
        field = schema.field(index)
        if not is_key_type(field.type):
            raise SchemaError(
                f"cannot {verb} {field.name!r}: values of the type {field.type} are not compared; "
                f"use a column of numbers, times, text or bytes"
            )
    return found


def _begins(ordered: pa.Table) -> NDArray[np.bool_]:
    """For each of the ordered rows, whether it is different from the one before it."""
    rows = ordered.num_rows
    begins = np.zeros(rows, dtype=np.bool_)
    begins[:1] = True
    if rows > 1:
        for column in ordered.columns:
            begins[1:] |= differ(column.slice(1), column.slice(0, rows - 1))
    return begins


def _int64(column: Column) -> Rows:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _one_zero_one_nan(column: Column) -> Column:
    zero, nan = pa.scalar(0.0, column.type), pa.scalar(float("nan"), column.type)
    return pc.if_else(pc.is_nan(column), nan, pc.add(column, zero))
