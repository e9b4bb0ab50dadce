"""The first fold of a rank's rows where there are few groups: by Arrow's hash table.

A hash table of a few thousand groups stays in the cache, and rows are added to it where they lie;
only beyond that is sorting them the faster way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elevon.frames.aggregation.measures import in_form
from elevon.frames.aggregation.partial_states import Moments, States
from elevon.frames.aggregation.sort_groups import plain_key
from elevon.frames.exchange.shuffle import take_rows


def fold_few(states: States, table: pa.Table, on: Sequence[int]) -> pa.Table:
    """One row of states for each group.

    Args:
        states: which states.
        table: the user's rows.
        on: positions of the key columns.

    Returns:
        What ``states.folded`` makes of ``states.of_rows``, in no particular order.
    """
    keys = table.select(list(on))
    plain = {f"k{i}": plain_key(column) for i, column in enumerate(keys.columns)}
    rows = pa.array(np.arange(table.num_rows, dtype=np.int64))
    # With threads, the last bits of sums would differ from run to run.
    grouped = pa.table({**plain, **_values(states, table), "row": rows}).group_by(
        list(plain), use_threads=False
    )
    found = grouped.aggregate([("row", "min", None), *_wishes(states)])
    names = [str(i) for i in range(keys.num_columns)]
    first = take_rows(keys.rename_columns(names), found["row_min"].to_numpy())
    columns = dict(zip(names, first.columns, strict=True))
    columns |= {one.name: found[f"{one.name}_{one.function}"] for one in states.folds}
    for one in states.moments:
        columns |= _moments(one, found)
    return pa.table(columns)


def _values(states: States, table: pa.Table) -> dict[str, Any]:
    values = {one.name: in_form(table.column(one.column), one.form) for one in states.folds}
    for one in states.moments:
        values[one.names[0]] = in_form(table.column(one.column), "real")
    return values


def _wishes(states: States) -> list[tuple[str, str, Any]]:
    zero, all_of_them = pc.ScalarAggregateOptions(min_count=0), pc.VarianceOptions(ddof=0)
    wishes: list[tuple[str, str, Any]] = [
        (one.name, one.function, zero if one.function == "sum" else None) for one in states.folds
    ]
    for one in states.moments:
        name = one.names[0]
        wishes += [(name, "count", None), (name, "mean", None), (name, "variance", all_of_them)]
    return wishes


def _moments(one: Moments, found: pa.Table) -> dict[str, Any]:
    """Arrow takes two passes for a variance, so n times it is as good as M2."""
    n, mean, m2 = one.names
    count = found[f"{n}_count"]
    squares = pc.multiply(found[f"{n}_variance"], count.cast(pa.float64()))
    return {n: count, mean: pc.fill_null(found[f"{n}_mean"], 0.0), m2: pc.fill_null(squares, 0.0)}
