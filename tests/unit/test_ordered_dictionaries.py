"""The least and the greatest value of an ordered dictionary are the dictionary's."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from elevon.errors import SchemaError
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
