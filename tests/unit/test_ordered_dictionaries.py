"""The least and the greatest value of an ordered dictionary are the dictionary's."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from elevon.errors import SchemaError
from elevon.frames.join_sort.distributed import join, sort
from elevon.frames.operators.groupby import groupby
from elevon.frames.operators.ranking import rank_rows
from elevon.frames.operators.sets import combine_sets
from elevon.frames.operators.slices import equals
from elevon.model.algebra import Aggregate
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import errors_of, shared

SIZES = ["low", "mid", "high", None, "mid", "low"]
LEVELS = ["low", "mid", "high"]
WANTED = [Aggregate("a", "v", "min"), Aggregate("b", "v", "max"), Aggregate("n", "v", "nunique")]
COLUMNS = {
    "pandas": pa.array(pd.Categorical(SIZES, LEVELS, ordered=True)),
    "polars": pa.table(pl.DataFrame({"v": pl.Series(SIZES, dtype=pl.Enum(LEVELS))}))["v"],
}


def extremes(size, by, part, memory_bytes=None):
    parts = ThreadGroup(size, timeout_s=20).run(
        lambda comm: groupby(comm, part(comm), by, WANTED, memory_bytes=memory_bytes)
    )
    return sorted(
        tuple(row.values()) for part in parts for row in part.select(["a", "b", "n"]).to_pylist()
    )


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("memory_bytes", [None, 1])
def test_extremes_are_those_of_the_dictionary(name, size, memory_bytes):
    table = pa.table({"g": [1, 1, 2, 2, 2, 1], "v": COLUMNS[name]})
    found = extremes(size, ["g"], lambda comm: shared(table, comm), memory_bytes)
    assert found == [("low", "mid", 2), ("mid", "high", 2)]
    found = extremes(size, [], lambda comm: shared(table, comm), memory_bytes)
    assert found == [("low", "high", 3)]


def coded(values, levels):
    return pa.table({"v": pa.array(pd.Categorical(values, levels, ordered=True))})


def test_dictionaries_that_differ_are_one_order_where_they_say_so():
    parts = [coded(["high", "mid"], ["mid", "high"]), coded(["low"], ["low", "mid"])]
    both = WANTED[:2]
    found, _ = ThreadGroup(2).run(lambda comm: groupby(comm, parts[comm.rank], [], both))
    assert found.to_pylist() == [{"a": "low", "b": "high"}]


def test_an_unordered_dictionary_is_ordered_by_value():
    table = pa.table({"v": pa.array(pd.Categorical(SIZES, LEVELS))})
    assert extremes(2, [], lambda comm: shared(table, comm)) == [("high", "mid", 3)]


@pytest.mark.parametrize(
    ("levels", "message"),
    [(["high", "mid"], "contradict each other"), (["huge", "mid"], "do not say which of")],
)
def test_orders_that_cannot_be_one_are_an_error_on_every_rank(levels, message):
    parts = [coded(["mid"], ["mid", "high"]), coded(["mid"], levels)]
    if "say" in message:
        parts[0] = coded(["mid"], ["high", "mid"])
    for error in errors_of(2, lambda comm: groupby(comm, parts[comm.rank], [], WANTED)):
        assert type(error) is SchemaError
        assert message in str(error)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("by", [["g"], []])
def test_an_extreme_keeps_the_order(size, by):
    """So that what is sorted or aggregated further goes by it, too."""
    table = pa.table({"g": [1, 1, 2, 2, 3, 3], "v": COLUMNS["pandas"]})
    parts = ThreadGroup(size, timeout_s=20).run(
        lambda comm: groupby(comm, shared(table, comm), by, WANTED[1:2])
    )
    found = pa.concat_tables(parts)
    greatest = (found.sort_by("g") if by else found)["b"].combine_chunks()
    assert greatest.type.ordered
    assert greatest.dictionary.to_pylist() == LEVELS
    assert greatest.to_pylist() == (["mid", "high", "mid"] if by else ["high"])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("memory_bytes", [None, 1])
@pytest.mark.parametrize("keys", [[1, None, 1], [None] * 3, []])
def test_extremes_of_the_rows_that_belong_to_a_group(size, memory_bytes, keys):
    values = pa.array(pd.Categorical(["mid", "high", "low"][: len(keys)], LEVELS, ordered=True))
    table = pa.table({"g": pa.array(keys, pa.int64()), "v": values, "places of v": values})
    found = extremes(size, ["g"], lambda comm: shared(table, comm), memory_bytes)
    assert found == ([("low", "mid", 2)] if 1 in keys else [])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("memory_bytes", [1, 1000])
def test_what_was_spilled_keeps_its_order(size, memory_bytes):
    """Rows share one large dictionary, so that it is written once, apart from the rows."""
    levels = [f"{7919 * i % 1000:03}" for i in range(20)]
    at = [None if i % 9 == 0 else i * 7 % 20 for i in range(400)]
    column = pa.DictionaryArray.from_arrays(
        pa.array(at, pa.int16()), pa.array(levels), ordered=True
    )
    table = pa.table({"v": column, "n": range(400)})
    joined = ThreadGroup(size, timeout_s=60).run(
        lambda comm: join(
            comm,
            shared(table, comm),
            shared(table.slice(0, 30).rename_columns(["v", "m"]), comm),
            ["v"],
            ["v"],
            "outer",
            memory_bytes=memory_bytes,
        )
    )
    pairs = sum(max(1, at[:30].count(v)) for v in at if v is not None)
    assert sum(part.num_rows for part in joined) == pairs + at.count(None) + at[:30].count(None)
    assert {part.schema.field("v").type for part in joined} == {column.type}
    ordered = ThreadGroup(size, timeout_s=60).run(
        lambda comm: sort(comm, shared(table, comm), ["v", "n"], memory_bytes=memory_bytes)
    )
    found = [value for part in ordered for value in part["v"].to_pylist()]
    there = sorted(v for v in at if v is not None)
    assert found == [levels[v] for v in there] + [None] * at.count(None)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("memory_bytes", [None, 1])
def test_ranks_go_by_the_order(size, ascending, memory_bytes):
    table = pa.table({"v": COLUMNS["pandas"]})
    parts = ThreadGroup(size, timeout_s=20).run(
        lambda comm: rank_rows(
            comm, shared(table, comm), "v", "dense", ascending, memory_bytes=memory_bytes
        )
    )
    found = {tuple(row.values()) for part in parts for row in part.to_pylist()}
    levels = LEVELS if ascending else LEVELS[::-1]
    assert found == {*zip(levels, (1, 2, 3), strict=True), (None, None)}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("memory_bytes", [None, 1])
def test_what_is_equal_does_not_depend_on_the_order(size, memory_bytes):
    left, right = coded(["low", "mid"], LEVELS), coded(["mid", "high"], LEVELS[::-1])
    wanted = {"union": {"low", "mid", "high"}, "intersect": {"mid"}, "subtract": {"low"}}
    for kind, values in wanted.items():
        parts = ThreadGroup(size, timeout_s=20).run(
            lambda comm, kind=kind: combine_sets(
                comm, kind, shared(left, comm), shared(right, comm), memory_bytes=memory_bytes
            )
        )
        found = [value for part in parts for value in part["v"].to_pylist()]
        assert sorted(found) == sorted(values)
    turned = coded(["mid", "low"], LEVELS[::-1])
    same = ThreadGroup(size, timeout_s=20).run(
        lambda comm: [
            equals(
                comm, shared(left, comm), shared(turned, comm), ordered, memory_bytes=memory_bytes
            )
            for ordered in (False, True)
        ]
    )
    assert same == [[True, False]] * size
