"""Rolling windows and ranks over a group of ranks, against DuckDB and Polars, over threads."""

import math

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.errors import DescriptionError, SchemaError
from elevon.frames.operators.ranking import rank_rows
from elevon.frames.operators.rolling import rolling
from elevon.model.algebra import RANK_METHODS, WINDOWS, Window
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import ask, close, errors_of, rows_of, shared
from tests.support.frames import KEYS, SIZES, partitions

SQL = {
    "sum": "coalesce(sum(x) OVER w, 0)",
    "mean": "avg(x) OVER w",
    "min": "min(x) OVER w",
    "max": "max(x) OVER w",
    "count": "count(x) OVER w",
    "var": "var_samp(x) OVER w",
    "std": "stddev_samp(x) OVER w",
}
numbers = st.none() | st.integers(-9, 9) | st.sampled_from([0.25, -1e6, 3.5])


@settings(deadline=None, max_examples=70)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    window=st.sampled_from([1, 2, 3, 4, 7, 10, 64, 1000]),
    values=st.lists(numbers, max_size=30),
)
def test_windows_are_duckdbs(data, size, window, values):
    least = data.draw(st.none() | st.integers(0, min(window, 4)))
    rows = len(values)
    table = pa.table({"n": pa.array(range(rows), pa.int64()), "x": pa.array(values, pa.float64())})
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), min_size=size - 1, max_size=size - 1)))
    bounds = [0, *cuts, rows]
    wanted = [Window(name, "x", name) for name in WINDOWS]
    found = ThreadGroup(size).run(
        lambda comm: rolling(
            comm,
            table.slice(bounds[comm.rank], bounds[comm.rank + 1] - bounds[comm.rank]),
            window,
            wanted,
            least,
        )
    )
    needed = window if least is None else least
    columns = ", ".join(
        f"CASE WHEN count({'*' if name == 'count' else 'x'}) OVER w >= {needed} "
        f"THEN {SQL[name]} END AS {name}"
        for name in WINDOWS
    )
    expected = ask(
        f"SELECT n, x, {columns} FROM t WINDOW w AS "
        f"(ORDER BY n ROWS BETWEEN {window - 1} PRECEDING AND CURRENT ROW) ORDER BY n",
        t=table,
    )
    assert len({str(part.schema) for part in found}) == 1
    left, right = rows_of(pa.concat_tables(found)), rows_of(expected)
    assert len(left) == len(right)
    assert all(
        close(a, b)
        for one, two in zip(left, right, strict=True)
        for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_count_is_of_windows_with_enough_rows_as_in_pandas(size):
    table = pa.table({"x": [1.0, None, 3.0, 4.0]})
    expected = {None: [None, None, 2, 2], 2: [None, 1, 2, 2], 0: [1, 1, 2, 2]}
    for least, counts in expected.items():
        found = ThreadGroup(size).run(
            lambda comm, least=least: rolling(
                comm, shared(table, comm), 3, [Window("n", "x", "count")], least
            )
        )
        assert pa.concat_tables(found)["n"].to_pylist() == counts


@pytest.mark.parametrize("size", [1, 3])
def test_what_has_left_the_window_leaves_no_trace(size):
    """A running sum would keep NaN for ever, and the digits that 1e17 has cost it."""
    table = pa.table({"x": [math.nan, 1e17, 1.0, 2.0, 3.0, 4.0]})
    wanted = [Window(name, "x", name) for name in ("sum", "std", "min")]
    parts = ThreadGroup(size).run(lambda comm: rolling(comm, shared(table, comm), 2, wanted))
    found = pa.concat_tables(parts)
    assert found["sum"].to_pylist()[3:] == [3.0, 5.0, 7.0]
    assert found["std"].to_pylist()[3:] == pytest.approx([math.sqrt(0.5)] * 3)
    assert found["min"].to_pylist() == [None, 1e17, 1.0, 1.0, 2.0, 3.0]
    assert math.isnan(found["sum"].to_pylist()[1])


@settings(deadline=None, max_examples=80)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    kind=st.sampled_from(list(KEYS)),
    method=st.sampled_from(RANK_METHODS),
    ascending=st.booleans(),
)
def test_ranks_are_polars(data, size, kind, method, ascending):
    parts = data.draw(partitions([kind], size, "n"))
    found = ThreadGroup(size).run(
        lambda comm: rank_rows(comm, parts[comm.rank], "k0", method, ascending)
    )
    table = pa.concat_tables(parts)
    # Polars makes "first" ordinal, and orders categories by their own rules.
    plain = table["k0"].cast(pa.string()) if pa.types.is_dictionary(kind) else table["k0"]
    values = pl.from_arrow(pa.table({"k": plain}))["k"]
    if pa.types.is_floating(kind):
        values = values.fill_nan(None) + 0.0
    ordinal = "ordinal" if method == "first" else method
    expected = dict(
        zip(table["n"].to_pylist(), values.rank(ordinal, descending=not ascending), strict=True)
    )
    together = pa.concat_tables(found)
    assert (
        dict(zip(*(together[name].to_pylist() for name in ("n", "rank")), strict=True)) == expected
    )
    places = [rank for rank in together["rank"].to_pylist() if rank is not None]
    assert places == sorted(places), "the result is not in order"


def test_one_run_over_many_ranks_has_one_rank():
    table = pa.table({"x": [5] * 100})
    for method, expected in (("average", 50.5), ("min", 1), ("max", 100), ("dense", 1)):
        parts = ThreadGroup(4).run(
            lambda comm, m=method: rank_rows(comm, shared(table, comm), "x", m)
        )
        assert set(pa.concat_tables(parts)["rank"].to_pylist()) == {expected}


@pytest.mark.parametrize(
    ("verb", "kind", "text"),
    [
        (lambda c, t: rank_rows(c, t, "z"), SchemaError, "no column 'z'"),
        (lambda c, t: rank_rows(c, t, "l"), SchemaError, "no order"),
        (lambda c, t: rank_rows(c, t, "x", "middle"), DescriptionError, "'middle'"),
        (lambda c, t: rank_rows(c, t, "x", name="s"), DescriptionError, "column 's' already"),
        (lambda c, t: rolling(c, t, 2, [Window("y", "z", "sum")]), SchemaError, "no column 'z'"),
        (lambda c, t: rolling(c, t, 2, [Window("y", "s", "sum")]), SchemaError, "no number"),
        (lambda c, t: rolling(c, t, 2, [Window("s", "x", "sum")]), DescriptionError, "already"),
    ],
)
def test_what_does_not_fit_is_an_error_on_every_rank(verb, kind, text):
    table = pa.table({"x": [1], "s": ["a"], "l": [[1]]})
    errors = errors_of(3, lambda comm: verb(comm, table))
    assert [type(error) for error in errors] == [kind] * 3
    assert all(text in str(error) for error in errors)


def test_a_large_window_is_cheap():
    table = pa.table({"x": np.arange(200_000) % 7})
    (found,) = ThreadGroup(1).run(
        lambda comm: rolling(comm, table, 70_000, [Window("s", "x", "sum")])
    )
    assert found["s"].null_count == 69_999
    assert set(found["s"].to_pylist()[69_999:]) == {210_000.0}
