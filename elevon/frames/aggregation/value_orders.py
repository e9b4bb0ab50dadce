"""The order of an ordered dictionary's values, as all ranks have it: what is least and greatest.

pandas calls such columns ordered categoricals, Polars enums. Each rank, and each chunk, has a
dictionary of its own; they agree where one order explains them all and leaves nothing open.
"""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

from elevon.comm.protocol import Communicator
from elevon.errors import SchemaError
from elevon.frames.aggregation.sort_groups import plain_key
from elevon.frames.exchange.shuffle import replicate
from elevon.frames.schema.decoded import Column


def is_ordered(kind: pa.DataType) -> bool:
    """Whether values are ordered by their dictionary instead of by themselves."""
    return bool(t.is_dictionary(kind) and kind.ordered)


def shared_order(comm: Communicator, column: Column, name: str) -> pa.Array[Any]:
    """The values of an ordered dictionary column, from the least to the greatest.

    Collective.

    Args:
        comm: the group of ranks.
        column: this rank's rows.
        name: what the column is called, for the message.

    Returns:
        The different values of all dictionaries, as ``plain_key`` has them; the same on all ranks.

    Raises:
        SchemaError: on every rank: two dictionaries contradict each other, or do not say which of
            two values is less.
    """
    own = [_values(chunk) for chunk in column.chunks]
    numbers = np.repeat(np.arange(len(own), dtype=np.int64), [len(each) for each in own])
    kind = plain_key(column.slice(0, 0)).type
    table = pa.table({"dictionary": numbers, "value": pa.chunked_array(own, kind)})
    if comm.size > 1:
        ranks = np.full(len(numbers), comm.rank, dtype=np.int64)
        table = replicate(comm, table.append_column("rank", pa.array(ranks)))
    return _merged(_dictionaries(table), name)


def codes(column: Column, order: pa.Array[Any]) -> Column:
    """The place of each value in an order; null for a null."""
    return pc.index_in(plain_key(column), value_set=order)


def in_order(places: Column, order: pa.Array[Any]) -> Column:
    """The values at some places of an order, as a dictionary that keeps it."""
    indices = places.combine_chunks().cast(pa.int32())
    found = pa.DictionaryArray.from_arrays(indices, order, ordered=True)
    return pa.chunked_array([found], ordered_type(order))


def ordered_type(order: pa.Array[Any]) -> pa.DataType:
    """The type of a dictionary that keeps this order."""
    return pa.dictionary(pa.int32(), order.type, ordered=True)


def _values(chunk: Any) -> Any:
    plain = plain_key(pa.chunked_array([chunk.dictionary])).combine_chunks()
    return plain.drop_null().unique()


def _dictionaries(table: pa.Table) -> list[pa.Array[Any]]:
    """The different dictionaries out of their values, one after the other."""
    values = table["value"].combine_chunks()
    starts = np.zeros(table.num_rows, dtype=np.bool_)
    starts[:1] = True
    for name in set(table.column_names) - {"value"}:
        starts[1:] |= np.diff(table[name].to_numpy()) != 0
    edges = [*np.flatnonzero(starts).tolist(), table.num_rows]
    found: list[pa.Array[Any]] = []
    for low, high in pairwise(edges):
        one = values.slice(low, high - low)
        if not any(one.equals(other) for other in found):
            found.append(one)
    return found or [values]


def _merged(dictionaries: Sequence[pa.Array[Any]], name: str) -> pa.Array[Any]:
    if len(dictionaries) == 1:
        return dictionaries[0]
    before: dict[object, set[object]] = {}
    for values in dictionaries:
        listed = values.to_pylist()
        for value in listed:
            before.setdefault(value, set())
        for low, high in pairwise(listed):
            before[high].add(low)
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError as error:
        raise SchemaError(
            f"the ordered dictionaries of {name!r} contradict each other about {error.args[1]}: "
            f"cast the column to one dictionary, or to {dictionaries[0].type}"
        ) from None
    for low, high in pairwise(order):
        if low not in before[high]:
            raise SchemaError(
                f"the ordered dictionaries of {name!r} do not say which of {low!r} and {high!r} is "
                f"less: cast the column to one dictionary, or to {dictionaries[0].type}"
            )
    return pa.array(order, dictionaries[0].type)
