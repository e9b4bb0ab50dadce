"""One value per group out of a column: sums, minima and maxima.

Numbers are folded by numpy where they lie side by side; text, bytes and decimals, which numpy does
not have, by Arrow's engine.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from numpy.typing import NDArray

from elevon.frames.aggregation.sort_groups import Groups
from elevon.frames.schema.decoded import Column

FoldName: TypeAlias = Literal["sum", "min", "max"]
Numbers: TypeAlias = NDArray[Any]

#: fmin and fmax look past NaN where there is a number, as Arrow does.
_FLOATS: Final[dict[str, np.ufunc]] = {"sum": np.add, "min": np.fmin, "max": np.fmax}
_INTEGERS: Final[dict[str, np.ufunc]] = {"sum": np.add, "min": np.minimum, "max": np.maximum}


def fold(groups: Groups, column: Column, function: FoldName) -> Column:
    """Fold the values of each group; nulls are left out.

    Args:
        groups: the groups of a table.
        column: one of their ``values``.
        function: "sum", of which integers wrap around, "min" or "max".

    Returns:
        One value per group, of the same type: null, or 0 for a sum, where there is none.
    """
    if not (t.is_integer(column.type) or t.is_floating(column.type)):
        return _by_arrow(groups, column, function)
    valid = None if not column.null_count else column.is_valid().to_numpy()
    values = column.to_numpy() if valid is None else _filled(column, function)
    found = per_group(groups, values, _function_of(values, function))
    if valid is None or function == "sum":
        return pa.chunked_array([pa.array(found, column.type)])
    there = per_group(groups, valid, np.logical_or)
    return pa.chunked_array([pa.array(found, column.type, mask=~there)])


@np.errstate(all="ignore")  # infinite values go where arithmetic takes them
def per_group(groups: Groups, values: Numbers, function: np.ufunc = np.add) -> Numbers:
    """One number per group.

    Args:
        groups: the groups.
        values: one number for each row of their table, in their order.
        function: how two numbers become one.

    Returns:
        As many numbers as there are groups, of the same dtype.
    """
    if not len(groups):
        return values[:0]
    folded: Numbers = function.reduceat(values, groups.starts)
    return folded


def _function_of(values: Numbers, function: FoldName) -> np.ufunc:
    return (_FLOATS if values.dtype.kind == "f" else _INTEGERS)[function]


def _filled(column: Column, function: FoldName) -> Numbers:
    """The values with what changes no result in the place of nulls."""
    nothing: float = 0
    if function != "sum" and t.is_floating(column.type):
        nothing = np.nan
    elif function != "sum":
        limits = np.iinfo(str(column.type))
        nothing = limits.max if function == "min" else limits.min
    return np.asarray(pc.fill_null(column, pa.scalar(nothing, column.type)).to_numpy())


def _by_arrow(groups: Groups, column: Column, function: FoldName) -> Column:
    """By Arrow, whose hash table stays in the cache where equal rows lie side by side."""
    numbers = pa.array(np.repeat(np.arange(len(groups), dtype=np.int64), groups.lengths))
    table = pa.table({"group": numbers, "value": column})
    options = pc.ScalarAggregateOptions(min_count=0) if function == "sum" else None
    # With threads, the order of groups would differ from run to run.
    found = table.group_by("group", use_threads=False).aggregate([("value", function, options)])
    return found.sort_by("group")[f"value_{function}"]
