"""The distributed group-by against DuckDB, over threads: every key type and number of ranks."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elevon.errors import DescriptionError, SchemaError
from elevon.frames.operators.groupby import groupby
from elevon.model.algebra import Aggregate
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import about_equal, ask, close, errors_of, shared
from tests.support.frames import KEYS, SIZES, partitions

#: Result column: (function, what DuckDB calls it). v is a small real number or null.
MEASURES = {
    "n": (Aggregate("n", "v", "count"), "count(v)"),
    "z": (Aggregate("z", "v", "size"), "count(*)"),
    "s": (Aggregate("s", "v", "sum"), "coalesce(sum(v), 0)"),
    "i": (Aggregate("i", "n", "sum"), "coalesce(sum(n), 0)::BIGINT"),
    "m": (Aggregate("m", "v", "mean"), "avg(v)"),
    "var": (Aggregate("var", "v", "var"), "var_samp(v)"),
    "std": (Aggregate("std", "v", "std"), "stddev_samp(v)"),
    "q0": (Aggregate("q0", "v", "quantile", 0.3), "quantile_cont(v, 0.3)"),
    "q1": (Aggregate("q1", "n", "quantile", 1.0), "quantile_cont(n::DOUBLE, 1.0)"),
    "lo": (Aggregate("lo", "w", "min"), "min(w)"),
    "hi": (Aggregate("hi", "w", "max"), "max(w)"),
    "u": (Aggregate("u", "w", "nunique"), "count(DISTINCT w)"),
}
#: DuckDB counts NaN as the greatest value; a minimum or maximum here looks past it.
FLOATS = {name: f"coalesce({name}(w) FILTER (NOT isnan(w)), {name}(w))" for name in ("min", "max")}


def with_values(parts):
    """Parts with the columns k0..., w, n, and v made of n."""
    rows = sum(part.num_rows for part in parts)
    values = pa.array(
        [None if n % 5 == 3 else n * 37 % 11 - 5.5 for n in range(rows)], pa.float64()
    )
    made, start = [], 0
    for part in parts:
        renamed = part.rename_columns([*part.column_names[:-2], "w", "n"])
        made.append(renamed.append_column("v", values.slice(start, part.num_rows)))
        start += part.num_rows
    return made


def oracle(parts, by, chosen, dropna, kind):
    floats = pa.types.is_floating(kind)
    columns = [
        f'{FLOATS[one.function] if floats and one.function in FLOATS else text} AS "{one.name}"'
        for one, text in (MEASURES[name] for name in chosen)
    ]
    table = pa.concat_tables(parts)
    missing = [f"{key} IS NULL" for key in by]
    missing += [f"isnan({key})" for key in by if pa.types.is_floating(table.schema.field(key).type)]
    where = f"WHERE NOT coalesce({' OR '.join(missing)}, TRUE)" if dropna and by else ""
    group = f"GROUP BY {', '.join(by)}" if by else ""
    return ask(f"SELECT {', '.join([*by, *columns])} FROM t {where} {group}", t=table)


@pytest.fixture(params=["hash", "sort"], autouse=True)
def way(request, monkeypatch):
    """Few groups are folded by the hash table, many by the sort kernel; each is to do all."""
    monkeypatch.setattr(
        "elevon.frames.operators.groupby.FEW_GROUPS", {"hash": 10**9, "sort": -1}[request.param]
    )


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), size=st.sampled_from(SIZES), dropna=st.booleans())
def test_the_groups_are_duckdbs(data, size, dropna):
    kinds = data.draw(st.lists(st.sampled_from(list(KEYS)), max_size=2))
    kind = data.draw(st.sampled_from(list(KEYS)))
    chosen = data.draw(st.lists(st.sampled_from(list(MEASURES)), min_size=1, unique=True))
    parts = with_values(data.draw(partitions([*kinds, kind], size, "n")))
    by = [f"k{i}" for i in range(len(kinds))]
    found = ThreadGroup(size).run(
        lambda comm: groupby(
            comm, parts[comm.rank], by, [MEASURES[name][0] for name in chosen], dropna
        )
    )
    assert len({str(part.schema) for part in found}) == 1
    expected = oracle(parts, by, chosen, dropna, kind)
    assert about_equal(pa.concat_tables(found), expected, len(by))
    assert by or [part.num_rows for part in found] == [1] + [0] * (size - 1)


@pytest.mark.parametrize("size", SIZES)
def test_a_variance_of_large_numbers_keeps_its_digits(size):
    noise = np.random.default_rng(3).normal(size=5000)
    table = pa.table({"k": np.arange(5000) % 3, "x": noise + 1e9})
    parts = ThreadGroup(size).run(
        lambda comm: groupby(comm, shared(table, comm), ["k"], [Aggregate("s", "x", "std")])
    )
    found = {row["k"]: row["s"] for part in parts for row in part.to_pylist()}
    # A float near 1e9 is exact to 1e-7; a difference of sums of squares would know nothing.
    exact = {k: (noise[k::3] + 1e9 - 1e9).std(ddof=1) for k in range(3)}
    assert found == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("keys", [5, 10**6])
def test_few_and_many_groups_of_many_rows(keys):
    """With as many groups as rows, a rank sends its rows as they are instead of folding them."""
    rng = np.random.default_rng(5)
    table = pa.table({"k": rng.integers(0, keys, 120_000), "v": rng.normal(size=120_000)})
    names = ["n", "s", "m", "std", "q0"]
    wanted = [MEASURES[name][0] for name in names]
    parts = ThreadGroup(3).run(lambda comm: groupby(comm, shared(table, comm), ["k"], wanted))
    columns = ", ".join(f"{MEASURES[name][1]} AS {name}" for name in names)
    expected = ask(f"SELECT k, {columns} FROM t GROUP BY k", t=table)
    assert about_equal(pa.concat_tables(parts), expected, 1)


@pytest.mark.parametrize("size", [1, 3])
def test_a_sum_that_64_bits_do_not_hold_is_an_error_and_never_wraps(size):
    table = pa.table({"k": [1] * 6, "x": pa.array([2**62] * 6)})

    def total(comm, rows):
        return groupby(
            comm, shared(table.slice(0, rows), comm), ["k"], [Aggregate("s", "x", "sum")]
        )

    with pytest.raises(SchemaError, match="more digits than int64"):
        ThreadGroup(size).run(lambda comm: total(comm, 6))
    assert sum(part.num_rows for part in ThreadGroup(size).run(lambda comm: total(comm, 1))) == 1


@pytest.mark.parametrize("size", [1, 2, 4])
def test_nan_and_infinity_are_values(size):
    inf, nan = math.inf, math.nan
    table = pa.table({"k": ["n", "n", "i", "i", "a"], "x": [1.0, nan, inf, 2.0, nan]})
    wanted = [
        Aggregate(name, "x", name)
        for name in ("sum", "min", "max", "mean", "var", "count", "nunique", "quantile")
    ]
    parts = ThreadGroup(size).run(lambda comm: groupby(comm, shared(table, comm), ["k"], wanted))
    rows = {row.pop("k"): list(row.values()) for part in parts for row in part.to_pylist()}
    expected = {
        "n": [nan, 1.0, 1.0, nan, nan, 2, 2, nan],
        "i": [inf, 2.0, inf, inf, nan, 2, 2, inf],
        "a": [nan, nan, nan, nan, None, 1, 1, nan],
    }
    for key, values in expected.items():
        for name, a, b in zip(wanted, rows[key], values, strict=True):
            same = a is b or (a is not None and b is not None and math.isnan(a) == math.isnan(b))
            assert same, (key, name.function, a, b)
            assert a is None or math.isnan(a) or close(a, b), (key, name.function, a, b)


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        (pa.string(), "sum"),
        (pa.date32(), "mean"),
        (pa.timestamp("s"), "quantile"),
        (pa.list_(pa.int8()), "min"),
        (pa.list_(pa.int8()), "nunique"),
    ],
)
def test_what_cannot_be_aggregated_is_an_error_on_every_rank(kind, function):
    table = pa.table({"k": pa.array([], pa.int64()), "x": pa.array([], kind)})
    errors = errors_of(3, lambda comm: groupby(comm, table, ["k"], [Aggregate("s", "x", function)]))
    assert [type(error) for error in errors] == [SchemaError] * 3
    assert all("'x'" in str(error) for error in errors)


def test_a_problem_of_one_rank_is_an_error_on_every_rank():
    good, bad = pa.table({"k": [1], "x": [1]}), pa.table({"k": [1], "y": [1]})
    wanted = [Aggregate("s", "x", "sum")]
    errors = errors_of(
        3, lambda comm: groupby(comm, bad if comm.rank == 1 else good, ["k"], wanted)
    )
    assert [type(error) for error in errors] == [SchemaError] * 3
    assert all("no column 'x'" in str(error) for error in errors)


def test_keys_that_have_no_equality_and_names_that_meet_are_refused():
    table = pa.table({"k": [[1]], "x": [1]})
    wanted = [Aggregate("x", "x", "sum")]
    lists = errors_of(2, lambda comm: groupby(comm, table, ["k"], wanted))
    twice = errors_of(2, lambda comm: groupby(comm, table, ["x"], wanted))
    assert [type(error) for error in (*lists, *twice)] == [SchemaError] * 2 + [DescriptionError] * 2


def test_types_stay_and_required_columns_may_be_keys():
    schema = pa.schema(
        [
            pa.field("k", pa.int8(), nullable=False, metadata={"a": "b"}),
            pa.field("d", pa.duration("s")),
            pa.field("f", pa.binary(2)),
            pa.field("b", pa.bool_()),
        ]
    )
    table = pa.table({"k": [1, 1], "d": [1, 2], "f": [b"ab", b"aa"], "b": [True, True]}, schema)
    wanted = [
        Aggregate("d", "d", "sum"),
        Aggregate("last", "d", "max"),
        Aggregate("f", "f", "min"),
        Aggregate("b", "b", "sum"),
        Aggregate("u", "f", "nunique"),
    ]
    for size in (1, 2):
        parts = ThreadGroup(size).run(
            lambda comm: groupby(comm, shared(table, comm), ["k"], wanted)
        )
        found = pa.concat_tables(parts)
        kinds = [
            pa.int8(),
            pa.duration("s"),
            pa.duration("s"),
            pa.binary(2),
            pa.int64(),
            pa.int64(),
        ]
        assert found.schema.types == kinds
        assert [column.cast(pa.int64())[0].as_py() for column in found.columns[1:3]] == [3, 2]
        assert found.select(["f", "b", "u"]).to_pylist() == [{"f": b"aa", "b": 2, "u": 2}]
