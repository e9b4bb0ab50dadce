"""The distributed sort against Polars, over threads: order, borders, stability and shares."""

import bisect
import itertools
from unittest import mock

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.errors import SchemaError
from elevon.frames.exchange.ranges import has_numbers
from elevon.frames.exchange.shuffle import even_bounds, gather_table
from elevon.frames.exchange.splitters import Sampling, locate
from elevon.frames.join_sort import in_memory, strategy
from elevon.frames.join_sort.distributed import sort
from elevon.frames.operators.slices import repartition
from elevon.frames.schema.sort_plan import Order, plan_sort
from elevon.testing.threads import ThreadGroup
from tests.support.frames import KEYS, SIZES, multiset, partitions


def oracle(table, keys, ascending, na_position):
    """The row numbers in the order that Polars gives, nulls and NaN where we want them.

    Each key becomes two: what kind of value it is (number, NaN, null), and the value.
    """
    side = 1 if na_position == "last" else -1
    by, descending = [], []
    for name, up in zip(keys, ascending, strict=True):
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        series = pl.from_arrow(column).alias("value")
        kind = pl.select(pl.when(series.is_null()).then(2).otherwise(0).alias("kind"))["kind"]
        if series.dtype.is_float():
            kind = kind + pl.select(series.is_nan().fill_null(False).cast(pl.Int32)).to_series()
            series = series.fill_nan(None) + 0.0
        by += [kind * side, series]
        descending += [False, not up]
    frame = pl.DataFrame([s.alias(str(i)) for i, s in enumerate(by)]).with_row_index("row")
    names = [str(i) for i in range(len(by))]
    ordered = frame.sort(names, descending=descending, nulls_last=True, maintain_order=True)
    return ordered["row"].to_list()


@settings(deadline=None, max_examples=150)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    na_position=st.sampled_from(["first", "last"]),
    memory_bytes=st.sampled_from([None, None, 500]),
)
def test_the_order_is_polars_and_every_share_is_even(data, size, na_position, memory_bytes):
    kinds = data.draw(st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=2))
    ascending = data.draw(st.lists(st.booleans(), min_size=len(kinds), max_size=len(kinds)))
    parts = data.draw(partitions(kinds, size, "row"))
    keys = [f"k{i}" for i in range(len(kinds))]
    ranges = ThreadGroup(size).run(
        lambda comm: sort(
            comm, parts[comm.rank], keys, ascending, na_position, memory_bytes=memory_bytes
        )
    )
    whole, result = pa.concat_tables(parts), pa.concat_tables(ranges)
    assert result["row"].to_pylist() == oracle(whole, keys, ascending, na_position)
    assert multiset(result) == multiset(whole)
    if memory_bytes is None:
        # So few rows are all offered as samples, so the cuts are exact.
        edges = [rank * whole.num_rows // size for rank in range(size + 1)]
        assert [part.num_rows for part in ranges] == list(np.diff(edges))


def skewed(kind, rows, rng):
    """Keys that crowd: one value only, a few heavy ones, sorted already, or reversed."""
    return {
        "one value": np.zeros(rows, np.int64),
        "zipf": rng.zipf(1.2, rows),
        "sorted": np.arange(rows),
        "reversed": np.arange(rows)[::-1].copy(),
        "uniform": rng.integers(0, rows, rows),
    }[kind]


@pytest.mark.parametrize("kind", ["one value", "zipf", "sorted", "reversed", "uniform"])
@pytest.mark.parametrize("size", SIZES)
def test_shares_are_nearly_even_however_the_keys_crowd(kind, size):
    rng = np.random.default_rng(7)
    rows = 20_000
    keys = skewed(kind, rows, rng)
    whole = pa.table({"k": pa.array(keys), "row": np.arange(rows)})
    # Rank 0 has most rows, the last has none.
    bounds = [0, *(rows // 2 + rows // (2 * size) * np.arange(size - 1)), rows, rows][: size + 1]
    bounds[-1] = rows
    parts = [whole.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    ranges = ThreadGroup(size).run(lambda comm: sort(comm, parts[comm.rank], "k"))
    order = np.argsort(keys, kind="stable")
    assert pa.concat_tables(ranges)["row"].to_pylist() == order.tolist()
    assert max(part.num_rows for part in ranges) <= rows / size * 1.05 + 1


def test_a_rank_looks_at_a_constant_number_of_rows_for_each_rank():
    for size in (2, 64, 1000):
        rows = np.full(size, 10**12, dtype=np.int64)
        offered = sum(len(Sampling.of(rows).positions(rank)) for rank in range(size))
        assert offered <= 257 * size


@given(rows=st.lists(st.integers(0, 60), min_size=1, max_size=6), per_rank=st.integers(1, 20))
def test_an_offered_row_is_traced_to_its_place(rows, per_rank):
    sampling = Sampling.of(np.array(rows, dtype=np.int64), per_rank)
    places = [
        (rank, int(position)) for rank in range(len(rows)) for position in sampling.positions(rank)
    ]
    ranks, positions = sampling.origin(np.arange(len(places)))
    assert list(zip(ranks.tolist(), positions.tolist(), strict=True)) == places


@settings(deadline=None)
@given(
    run=st.lists(st.integers(0, 9), max_size=3000).map(sorted),
    wanted=st.lists(st.tuples(st.integers(-1, 10), st.booleans()), min_size=1, max_size=9),
)
def test_locate_is_bisect(run, wanted):
    found = locate(
        Order((0,), (True,), (False,)),
        pa.table({"k": pa.array(run, pa.int64())}),
        pa.table({"k": pa.array([value for value, _ in wanted], pa.int64())}),
        np.array([after for _, after in wanted]),
    )
    assert found.tolist() == [
        (bisect.bisect_right if after else bisect.bisect_left)(run, value)
        for value, after in wanted
    ]


PLAIN = [
    kind
    for kind in KEYS
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)
]


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    size=st.sampled_from([2, 3, 7]),
    kind=st.sampled_from(PLAIN),
    ascending=st.booleans(),
    chunked_bytes=st.sampled_from([0, strategy.CHUNKED_BYTES]),
)
def test_plain_numbers_leave_for_their_range_before_they_are_sorted(
    data, size, kind, ascending, chunked_bytes
):
    parts = data.draw(partitions([kind], size, "row"))
    order = plan_sort(parts[0].schema, "k0", ascending)
    values = [value for part in parts for value in part["k0"].to_pylist()]
    plain = all(has_numbers(order, part) for part in parts)
    assert plain == (None not in values and not any(value != value for value in values))
    with (
        mock.patch.object(in_memory, "cut_run", wraps=in_memory.cut_run) as by_runs,
        mock.patch.object(strategy, "CHUNKED_BYTES", chunked_bytes),
    ):
        ranges = ThreadGroup(size).run(lambda comm: sort(comm, parts[comm.rank], "k0", ascending))
    whole, result = pa.concat_tables(parts), pa.concat_tables(ranges)
    rows = oracle(whole, ["k0"], [ascending], "last")
    assert result["row"].to_pylist() == rows
    assert by_runs.called == (not plain or rows == list(range(len(rows))))
    edges = [rank * len(rows) // size for rank in range(size + 1)]
    assert [part.num_rows for part in ranges] == list(np.diff(edges))


@settings(deadline=None)
@given(data=st.data(), size=st.sampled_from(SIZES))
def test_repartition_keeps_the_order_and_evens_the_shares(data, size):
    parts = data.draw(partitions([pa.string(), pa.bool_()], size, "row"))
    even = ThreadGroup(size).run(lambda comm: repartition(comm, parts[comm.rank]))
    whole = pa.concat_tables(parts)
    assert pa.concat_tables(even).equals(whole)
    edges = [rank * whole.num_rows // size for rank in range(size + 1)]
    assert [part.num_rows for part in even] == list(np.diff(edges))


@pytest.mark.parametrize("size", SIZES)
def test_gather_brings_all_rows_to_the_root_in_order(size):
    whole = pa.table({"n": range(10), "s": [None if i % 3 else str(i) for i in range(10)]})
    bounds = [rank * 10 // size for rank in range(size + 1)]
    root = size - 1
    found = ThreadGroup(size).run(
        lambda comm: gather_table(
            comm, whole.slice(bounds[comm.rank], bounds[comm.rank + 1] - bounds[comm.rank]), root
        )
    )
    assert found[root].equals(whole)
    assert found[:root] == [None] * root


def test_bounds_are_those_of_global_shares():
    assert [even_bounds([0, 7, 1], rank) for rank in range(3)] == [
        [0, 0, 0, 0],
        [0, 2, 5, 7],
        [0, 0, 0, 1],
    ]


@pytest.mark.parametrize("size", SIZES)
def test_a_column_that_one_rank_lacks_is_an_error_on_every_rank(size):
    def run(comm):
        table = pa.table({"k" if comm.rank else "other": [1, 2]})
        with pytest.raises(SchemaError, match="no column 'k'"):
            sort(comm, table, "k")
        comm.barrier()

    ThreadGroup(size, timeout_s=20).run(run)


def test_a_type_that_one_rank_has_is_an_error_on_every_rank():
    def run(comm):
        table = pa.table({"k": pa.array([1], pa.int64() if comm.rank else pa.int32())})
        with pytest.raises(SchemaError, match="ask for different things"):
            sort(comm, table, "k")
        comm.barrier()

    ThreadGroup(3, timeout_s=20).run(run)
