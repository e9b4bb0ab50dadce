"""The distributed join against DuckDB, over threads: every kind, key type and number of ranks."""

from unittest import mock

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.errors import DescriptionError, SchemaError, UsageError
from elevon.frames.join_sort import strategy
from elevon.frames.join_sort.distributed import join
from elevon.testing.threads import ThreadGroup
from tests.support.frames import KEYS, SIZES, multiset, partitions

HOWS = ["inner", "left", "right", "outer", "semi", "anti"]
#: Pairs of types that meet in a third, beside every type with itself.
MIXED = [
    (pa.int8(), pa.int64()),
    (pa.uint32(), pa.int32()),
    (pa.float32(), pa.float64()),
    (pa.int32(), pa.float64()),
    (pa.timestamp("s"), pa.timestamp("us")),
    (pa.string(), pa.dictionary(pa.int8(), pa.string())),
    (pa.large_string(), pa.string()),
]
PAIRS = [*((kind, kind) for kind in KEYS), *MIXED]
DUCKDB = duckdb.connect()


def oracle(left, right, keys, how, nulls_equal):
    """The same join by DuckDB, with the columns in pandas' order."""
    test = "IS NOT DISTINCT FROM" if nulls_equal else "="
    on = " AND ".join(f"l.k{i} {test} r.k{i}" for i in range(keys))
    DUCKDB.register("l", without_durations(left))
    DUCKDB.register("r", without_durations(right))
    if how in ("semi", "anti"):
        return DUCKDB.sql(f"SELECT l.* FROM l {how} JOIN r ON {on}").to_arrow_table()
    shared = ", ".join(
        f"CASE WHEN l.lid IS NULL THEN r.k{i} ELSE l.k{i} END AS k{i}" for i in range(keys)
    )
    kind = "FULL" if how == "outer" else how
    return DUCKDB.sql(f"SELECT {shared}, lid, rid FROM l {kind} JOIN r ON {on}").to_arrow_table()


@settings(deadline=None, max_examples=150)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    how=st.sampled_from(HOWS),
    nulls=st.booleans(),
    memory_bytes=st.sampled_from([None, None, 500]),
    chunked_bytes=st.sampled_from([0, strategy.CHUNKED_BYTES]),
)
def test_the_rows_are_duckdbs(data, size, how, nulls, memory_bytes, chunked_bytes):
    pairs = data.draw(st.lists(st.sampled_from(PAIRS), min_size=1, max_size=2))
    # One side is often much smaller, so that it is replicated.
    small, large = data.draw(st.sampled_from([(40, 40), (3, 60)]))
    left = data.draw(partitions([kind for kind, _ in pairs], size, "lid", large))
    right = data.draw(partitions([kind for _, kind in pairs], size, "rid", small))
    if data.draw(st.booleans()):
        left, right = rename(right, "rid", "lid"), rename(left, "lid", "rid")
    keys = [f"k{i}" for i in range(len(pairs))]
    with mock.patch.object(strategy, "CHUNKED_BYTES", chunked_bytes):
        parts = ThreadGroup(size).run(
            lambda comm: join(
                comm,
                left[comm.rank],
                right[comm.rank],
                keys,
                keys,
                how,
                nulls_equal=nulls,
                memory_bytes=memory_bytes,
            )
        )
    expected = oracle(pa.concat_tables(left), pa.concat_tables(right), len(pairs), how, nulls)
    assert len({str(part.schema) for part in parts}) == 1
    assert parts[0].column_names == expected.column_names
    assert multiset(without_durations(pa.concat_tables(parts))) == multiset(expected)


def without_durations(table):
    """DuckDB has intervals of months, days and nanoseconds instead; a count will do as a key."""
    schema = [
        field.with_type(pa.int64()) if pa.types.is_duration(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(schema))


def rename(parts, old, new):
    return [
        part.rename_columns([new if name == old else name for name in part.column_names])
        for part in parts
    ]


@pytest.mark.parametrize("suffixes", [(None, "_right"), ("_left", None)])
@pytest.mark.parametrize("size", [1, 3])
def test_a_suffix_may_be_none(size, suffixes):
    left, right = pa.table({"k": [1, 2], "v": [3, 4]}), pa.table({"k": [1, 2], "v": [5, 6]})
    parts = ThreadGroup(size).run(
        lambda comm: join(comm, own(left, comm), own(right, comm), ["k"], ["k"], suffixes=suffixes)
    )
    names = ["k", "v" + (suffixes[0] or ""), "v" + (suffixes[1] or "")]
    assert {tuple(part.column_names) for part in parts} == {tuple(names)}
    rows = sorted(tuple(row.values()) for row in pa.concat_tables(parts).to_pylist())
    assert rows == [(1, 3, 5), (2, 4, 6)]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", SIZES)
def test_columns_that_both_tables_have(size, how):
    left = pa.table({"a": [1, 2, 2], "v": ["p", "q", "r"], "w": [1.5, None, 2.5]})
    right = pa.table({"b": [2, 2, 3], "v": ["s", "t", None]})
    parts = ThreadGroup(size).run(
        lambda comm: join(comm, own(left, comm), own(right, comm), ["a"], ["b"], how, ("_l", "_r"))
    )
    names = ["a", "v", "w"] if how in ("semi", "anti") else ["a", "v_l", "w", "b", "v_r"]
    assert parts[0].column_names == names
    frames = left.to_pandas(), right.to_pandas()
    if how not in ("semi", "anti"):
        merged = frames[0].merge(
            frames[1], left_on="a", right_on="b", how=how, suffixes=("_l", "_r")
        )
        expected = pa.Table.from_pandas(merged, schema=parts[0].schema, preserve_index=False)
        assert multiset(pa.concat_tables(parts)) == multiset(expected)


def own(table, comm):
    """Rank 0 holds everything, the others nothing."""
    return table if comm.rank == 0 else table.slice(0, 0)


@pytest.mark.parametrize("how", ["left", "outer", "anti", "inner"])
def test_rows_with_null_keys_do_not_all_meet_on_one_rank(how):
    rows = 4000
    left = pa.table({"k": pa.array([None] * rows, pa.int64()), "lid": range(rows)})
    right = pa.table({"k": pa.array([None, *range(rows)], pa.int64()), "rid": range(rows + 1)})
    parts = ThreadGroup(4).run(lambda comm: join(comm, left, right, ["k"], ["k"], how))
    unmatched = [part.filter(part["k"].is_null()).num_rows for part in parts]
    kept = {"left": rows, "outer": rows + 1, "anti": rows, "inner": 0}[how]
    assert unmatched == [kept] * 4


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize("size", SIZES)
def test_a_missing_column_is_an_error_on_every_rank(size):
    table = pa.table({"k": [1]})
    errors = errors_of(size, lambda comm: join(comm, table, table, ["k"], ["j"]))
    assert [type(error) for error in errors] == [SchemaError] * size
    assert all("no column 'j'" in str(error) for error in errors)


def test_a_problem_of_one_rank_is_an_error_on_every_rank():
    good, bad = pa.table({"k": [1], "v": [1]}), pa.table({"key": [1], "v": [1]})
    errors = errors_of(
        3, lambda comm: join(comm, bad if comm.rank == 1 else good, good, ["k"], ["k"])
    )
    assert [type(error) for error in errors] == [SchemaError] * 3
    assert all("no column 'k'" in str(error) for error in errors)
    assert str(errors[0]).startswith("rank 1 of 3: ")


def test_a_value_of_one_rank_that_does_not_fit_is_an_error_on_every_rank():
    seconds = pa.table({"t": pa.array([0], pa.timestamp("s"))})
    year_9999 = pa.table({"t": pa.array([253402300799], pa.timestamp("s"))})
    nanos = pa.table({"t": pa.array([0], pa.timestamp("ns"))})
    errors = errors_of(
        2, lambda comm: join(comm, year_9999 if comm.rank else seconds, nanos, ["t"], ["t"])
    )
    assert [type(error) for error in errors] == [SchemaError] * 2


@pytest.mark.parametrize("difference", ["how", "nulls_equal", "column", "type"])
def test_ranks_that_ask_for_different_things_are_told_so(difference):
    tables = {"column": pa.table({"k": [1], "w": [1]}), "type": pa.table({"k": [1], "v": [1.5]})}

    def run(comm):
        odd = comm.rank == 2
        table = pa.table({"k": [1], "v": [1]})
        return join(
            comm,
            tables.get(difference, table) if odd else table,
            table,
            ["k"],
            ["k"],
            how="left" if odd and difference == "how" else "inner",
            nulls_equal=odd and difference == "nulls_equal",
        )

    errors = errors_of(3, run)
    assert [type(error) for error in errors] == [SchemaError] * 3
    assert all("the ranks ask for different things" in str(error) for error in errors)


def test_an_unknown_kind_of_join_keeps_its_type_of_error():
    table = pa.table({"k": [1]})
    errors = errors_of(2, lambda comm: join(comm, table, table, ["k"], ["k"], "cross"))
    assert [type(error) for error in errors] == [DescriptionError] * 2


def errors_of(size, function):
    """What each rank raised; it must have come out of the collectives without a deadline."""

    def run(comm):
        with pytest.raises(UsageError) as caught:
            function(comm)
        comm.barrier()
        return caught.value

    return ThreadGroup(size, timeout_s=20).run(run)
