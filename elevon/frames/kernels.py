"""Join, sort, take and hash on one core: the kernels, for any table that speaks Arrow.

A table is anything with ``__arrow_c_stream__`` (pyarrow, pandas, polars, DuckDB) or
``__arrow_c_array__``. The index of a pandas DataFrame is not a column, as in ``pandas.merge``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import pyarrow as pa

from elevon import _native
from elevon.errors import DescriptionError, SchemaError
from elevon.frames.schema.join_plan import cast_keys, find_column, plan_join, run_join
from elevon.frames.schema.plain import plain_columns
from elevon.frames.schema.sort_plan import plan_sort

if TYPE_CHECKING:
    import pandas as pd

Names: TypeAlias = str | Sequence[str]


def join(
    left: object,
    right: object,
    on: Names | None = None,
    left_on: Names | None = None,
    right_on: Names | None = None,
    how: str = "inner",
    suffixes: tuple[str | None, str | None] = ("_x", "_y"),
    nulls_equal: bool = False,
    threads: int | None = None,
) -> pa.Table:
    """Join two tables by equal keys.

    Args:
        left: the left table.
        right: the right table.
        on: names of the key columns that both tables have; without any names, all columns that
            both tables have.
        left_on: names of the left key columns, where they differ.
        right_on: names of the right key columns, as many.
        how: inner, left, right, outer, semi or anti.
        suffixes: appended to the names of other columns that both tables have.
        nulls_equal: whether a null key matches a null key, as in pandas; in SQL none does.
        threads: how many threads the kernel may use; None means one.

    Returns:
        The joined rows, in an order that is not specified. Columns are those of ``pandas.merge``
        in its order: a key of one name appears once. Semi and anti keep the left columns, and
        the left order.

    Raises:
        DescriptionError: ``how`` is unknown, or the key arguments do not fit each other.
        SchemaError: a key column is missing, or two keys have no common type.
        TypeError: an argument is no table.
    """
    left_table, right_table = _rows(left), _rows(right)
    left_names, right_names = _key_names(left_table, right_table, on, left_on, right_on)
    plan = plan_join(left_table.schema, right_table.schema, left_names, right_names, how, suffixes)
    return run_join(
        plan,
        cast_keys(left_table, plan.left_on, plan.key_types),
        cast_keys(right_table, plan.right_on, plan.key_types),
        nulls_equal,
        _threads(threads),
    )


def sort(
    table: object,
    by: Names,
    ascending: bool | Sequence[bool] = True,
    na_position: str = "last",
    threads: int | None = None,
) -> pa.Table:
    """Sort a table; equal rows keep their order.

    Args:
        table: the table.
        by: names of the key columns, most significant first.
        ascending: one direction for all keys, or one for each.
        na_position: "first" or "last": where nulls (and NaN) go, whatever the direction.
        threads: how many threads the kernel may use; None means one.

    Returns:
        The sorted rows.

    Raises:
        DescriptionError: the arguments do not fit each other.
        SchemaError: a key column is missing or has no order.
        TypeError: ``table`` is no table.
    """
    rows = _rows(table)
    return plan_sort(rows.schema, by, ascending, na_position).sort(rows, _threads(threads))


def take(table: object, indices: object, threads: int | None = None) -> pa.Table:
    """The rows of a table at some positions, in the order of the positions.

    Args:
        table: the table.
        indices: positions from 0 on: an Arrow or numpy array, or a list; None gives a row of nulls.
        threads: how many threads the kernel may use; None means one.

    Returns:
        One row for each position.

    Raises:
        ValueError: a position is out of range, or no integer.
        TypeError: ``table`` is no table.
    """
    rows = _rows(table)
    positions = indices if _speaks_arrow(indices) else pa.array(indices, pa.int64())
    return pa.table(_native.take(rows, positions, _threads(threads)))


def hash_rows(
    table: object, on: Names | None = None, threads: int | None = None
) -> pa.ChunkedArray:
    """A 64-bit hash of each row, the one that decides which rank gets a row.

    Equal values of different width or encoding hash equal; the values are the same on every
    machine and in every version (tests pin them).

    Args:
        table: the table.
        on: names of the columns to hash; None means all.
        threads: how many threads the kernel may use; None means one.

    Returns:
        One uint64 for each row.

    Raises:
        SchemaError: a column is missing.
        TypeError: ``table`` is no table.
    """
    rows = _rows(table)
    names = rows.column_names if on is None else _listed(on)
    columns = [find_column(rows.schema, name, "the table") for name in names]
    return pa.table(_native.hash_rows(rows, columns, _threads(threads)))["hash"]


def as_table(source: object) -> pa.Table:
    """Any table as a pyarrow one; nothing is copied where the columns are Arrow already.

    Args:
        source: something with ``__arrow_c_stream__`` or ``__arrow_c_array__``.

    Returns:
        The table; of a pandas DataFrame without its index.

    Raises:
        TypeError: it has neither.
    """
    if isinstance(source, pa.Table):
        return source
    if _is_pandas(source):
        return pa.Table.from_pandas(source, preserve_index=False)
    if _speaks_arrow(source):
        return pa.table(source)
    raise TypeError(
        f"expected a table with __arrow_c_stream__ (pyarrow, pandas, polars, DuckDB), "
        f"got {type(source).__name__}"
    )


def _rows(source: object) -> pa.Table:
    return plain_columns(as_table(source))


def _speaks_arrow(source: object) -> TypeGuard[_native.ArrowStream]:
    return hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__")


def _is_pandas(source: object) -> TypeGuard[pd.DataFrame]:
    """Without importing pandas: who has a DataFrame has imported it."""
    pandas: Any = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def _threads(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise DescriptionError(f"threads={threads}: at least one is needed")
    return 1 if threads is None else threads


def _key_names(
    left: pa.Table, right: pa.Table, on: Names | None, left_on: Names | None, right_on: Names | None
) -> tuple[list[str], list[str]]:
    """The names of the keys on both sides, whichever way they were given."""
    if on is not None:
        if left_on is not None or right_on is not None:
            raise DescriptionError("join: give either on, or left_on and right_on")
        return _listed(on), _listed(on)
    if left_on is not None and right_on is not None:
        return _listed(left_on), _listed(right_on)
    if left_on is not None or right_on is not None:
        raise DescriptionError("join: left_on and right_on go together")
    common = [name for name in left.column_names if name in set(right.column_names)]
    if not common:
        raise SchemaError(
            f"join: no column is common to both tables, so on, or left_on and right_on, are "
            f"needed: the left has {left.column_names}, the right has {right.column_names}"
        )
    return common, common


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
