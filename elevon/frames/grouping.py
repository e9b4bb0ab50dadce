"""Rows with equal keys in one table: the local part of groups and sets, by Arrow's engine.

Before it: ``key_types``. After it: ``aggregates`` and ``sets``. Equal means what it means to the
kernels that partition and join: one NaN, one zero, null equals null; so the rows that a shuffle
brings together are the rows that are grouped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from numpy.typing import NDArray

from elevon.errors import SchemaError
from elevon.frames.key_types import is_key_type
from elevon.frames.planning import find_column

Rows: TypeAlias = NDArray[np.int64]
Column: TypeAlias = "pa.ChunkedArray[Any]"
#: A column, one of Arrow's grouped functions, and its options.
Wish: TypeAlias = tuple[str, str, Any]


@dataclass(frozen=True, slots=True)
class Groups:
    """Which rows of a table have equal keys.

    Attributes:
        first: where each group's first row is.
        numbers: for each row, the number of its group.
    """

    first: Rows
    numbers: Rows

    def __len__(self) -> int:
        return len(self.first)

    @staticmethod
    def of(keys: pa.Table) -> Groups:
        """The groups of a table whose columns are all keys, numbered by their first rows."""
        listed = aggregate_groups(keys, {}, [("row", "list", None)])["row_list"].combine_chunks()
        order = listed.flatten().to_numpy()
        lengths = listed.value_lengths().to_numpy().astype(np.int64)
        numbers = np.empty(keys.num_rows, dtype=np.int64)
        numbers[order] = np.repeat(np.arange(len(lengths)), lengths)
        return Groups(order[np.cumsum(lengths) - lengths], numbers)


def aggregate_groups(keys: pa.Table, values: Mapping[str, Any], wishes: Sequence[Wish]) -> pa.Table:
    """Arrow's grouped functions of some columns, per group of equal keys.

    Args:
        keys: the key columns, whatever they are called.
        values: other columns of as many rows, by names that are no "k" with a number.
        wishes: which function of which of them, or of "row", which numbers the rows.

    Returns:
        One row per group, in order of the groups' first rows, with columns "<name>_<function>";
        "row_min" says where each group's first row is.
    """
    plain = {f"k{i}": plain_key(column) for i, column in enumerate(keys.columns)}
    rows = pa.array(np.arange(keys.num_rows, dtype=np.int64))
    table = pa.table({**plain, **values, "row": rows})
    # With threads, the last bits of sums would differ from run to run.
    grouped = table.group_by(list(plain), use_threads=False)
    # Arrow gives the groups in whatever order its hash table has them.
    return _in_order(grouped.aggregate([("row", "min", None), *wishes]))


def first_rows(keys: pa.Table) -> Rows:
    """Where each different row of ``keys`` is for the first time, ascending."""
    return np.asarray(aggregate_groups(keys, {}, [])["row_min"].to_numpy(), dtype=np.int64)


def plain_key(column: Column) -> Column:
    """A column in which values that are equal to the kernels are equal to Arrow."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        stored = [chunk.storage for chunk in column.chunks]
        return plain_key(pa.chunked_array(stored, kind.storage_type))
    if t.is_dictionary(kind):
        return plain_key(column.cast(kind.value_type))
    if t.is_float16(kind):
        return plain_key(column.cast(pa.float32()))
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


def _in_order(found: pa.Table) -> pa.Table:
    first = found["row_min"].to_numpy()
    return found if (np.diff(first) > 0).all() else found.take(np.argsort(first))


def _one_zero_one_nan(column: Column) -> Column:
    zero, nan = pa.scalar(0.0, column.type), pa.scalar(float("nan"), column.type)
    return pc.if_else(pc.is_nan(column), nan, pc.add(column, zero))
