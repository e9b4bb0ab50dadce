"""Every verb over frames on a real local pilot, against Polars."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elevon.errors import DependencyFailed, DescriptionError, SchemaError, TaskFailed
from elevon.tasks.dataset import Dataset
from elevon.tasks.verbs import Verbs

pytestmark = [pytest.mark.no_mpi, pytest.mark.timeout(120)]

ROWS = 3000
TABLE = pa.table(
    {
        "n": range(ROWS),
        "k": [None if i % 11 == 0 else f"key {i % 7}" for i in range(ROWS)],
        "x": pa.array([None if i % 5 == 0 else i * 37 % 101 / 4 for i in range(ROWS)]),
    }
)
SMALL = pa.table({"k": ["key 1", "key 2", None], "name": ["one", "two", "none"]})
FRAME = pl.from_arrow(TABLE)
X = pc.field("x")


@pytest.fixture(scope="module")
def frame(tasks):
    return tasks.from_arrow(TABLE, ranks=3).result(60)


def rows(task):
    """The rows of a task's dataset, in order."""
    return list(pl.from_arrow(task.dataset(60).to_arrow()).iter_rows())


def test_joins_and_sorts_under_pandas_names(tasks, frame):
    merged = frame.merge(SMALL, on="k", how="left").sort_values("n", ascending=False)
    assert isinstance(merged.result(60), Dataset)
    assert merged.result().num_partitions == 3
    right = pl.from_arrow(SMALL)
    expected = FRAME.join(right, on="k", how="left").sort("n", descending=True)
    assert rows(merged) == list(expected.iter_rows())
    same = tasks.sort_values(tasks.merge(frame, SMALL, "left", "k", ranks=2), "n", ascending=False)
    equal = tasks.equals(same, merged, ranks=2)
    assert equal.result(60) is True
    assert tasks.submit(lambda truth: truth, equal).result(60) is True


def test_groups_and_aggregates(tasks, frame):
    grouped = frame.groupby(
        "k", total=("x", "sum"), q=("x", "quantile", 0.9), u=("x", "nunique"), s=("x", "std")
    )
    x = pl.col("x")
    expected = (
        FRAME.drop_nulls("k")
        .group_by("k")
        .agg(
            total=x.sum(),
            q=x.quantile(0.9, "linear"),
            u=x.drop_nulls().n_unique(),
            s=x.std(),
        )
        .sort("k")
    )
    found = rows(grouped.sort_values("k"))
    assert [row[0] for row in found] == expected["k"].to_list()
    assert [row[1:] for row in found] == [pytest.approx(row[1:]) for row in expected.iter_rows()]
    with_null = tasks.groupby(frame, "k", dropna=False, n=("n", "size"), ranks=4)
    assert dict(rows(with_null)) == dict(FRAME.group_by("k").len().iter_rows())
    ((mean, most),) = rows(frame.aggregate(mean=("x", "mean"), most=("x", "max")))
    assert (mean, most) == pytest.approx((FRAME["x"].mean(), FRAME["x"].max()))


def test_rows_as_sets(tasks, frame):
    first = frame.drop_duplicates("k", keep="last")
    expected = FRAME.unique("k", keep="last", maintain_order=True)
    assert rows(first) == list(expected.iter_rows())
    keys = frame.select("k")
    other = SMALL.select(["k"])
    all_keys = {(key,) for key in TABLE["k"].to_pylist()}
    assert set(rows(keys.union(pa.table({"k": ["new"]})))) == all_keys | {("new",)}
    assert sorted(rows(keys.intersect(other)), key=str) == [("key 1",), ("key 2",), (None,)]
    assert set(rows(keys.subtract(other))) == all_keys - {("key 1",), ("key 2",), (None,)}
    together = tasks.concat([frame, frame.slice(-10, 3), TABLE], ranks=3)
    assert rows(together) == rows_of(TABLE) + rows_of(TABLE.slice(ROWS - 10, 3)) + rows_of(TABLE)
    loose = tasks.concat([frame, frame], ordered=False, ranks=3)
    assert len(loose.dataset(60)) == 2 * ROWS


def rows_of(table):
    return list(pl.from_arrow(table).iter_rows())


def test_rows_and_columns(frame):
    some = frame.filter((X > 20) & pc.is_in(pc.field("k"), value_set=pa.array(["key 3"])))
    kept = FRAME.filter((pl.col("x") > 20) & (pl.col("k") == "key 3"))
    assert rows(some) == list(kept.iter_rows())
    made = some.assign(x=X * 2, one=pc.scalar(1)).rename({"n": "number"}).drop("k")
    expected = kept.select(number="n", x=pl.col("x") * 2, one=1)
    assert made.dataset(60).column_names == expected.columns
    assert rows(made) == list(expected.iter_rows())
    assert rows(some.select("n", twice=X * 2)) == list(
        kept.select("n", twice=pl.col("x") * 2).iter_rows()
    )


def test_rows_by_their_place(tasks, frame):
    assert frame.head(2).equals(TABLE.slice(0, 2))
    assert frame.tail(1500).equals(TABLE.slice(1500))
    assert frame.tail(0).num_rows == 0
    assert rows(frame.slice(1400, 300)) == rows_of(TABLE.slice(1400, 300))
    deferred = frame.slice(10)
    assert rows(deferred.head(3)) == rows_of(TABLE.slice(10, 3))
    assert rows(tasks.tail(deferred.head(20), 2)) == rows_of(TABLE.slice(28, 2))
    uneven = frame.slice(0, 1001)
    even = uneven.repartition(ranks=4).dataset(60)
    assert sorted(part.rows for part in even.partitions) == [250, 250, 250, 251]
    by_key = frame.repartition("k").dataset(60)
    owners = [set(part["k"].to_pylist()) for part in by_key.iter_partitions()]
    assert sum(map(len, owners)) == len(set().union(*owners)) == 8
    assert by_key.equals(frame, ordered=False).result(60) is True
    assert by_key.equals(frame.slice(1), ordered=False).result(60) is False
    assert frame.equals(TABLE).result(60) is True


def test_windows(frame):
    week = frame.rolling(7, min_periods=2, mean=("x", "mean"), seen=("x", "count"))
    x = pl.col("x")
    mean = x.rolling_mean(7, min_samples=2)
    expected = FRAME.with_columns(mean=mean)["mean"].to_list()
    found = pl.from_arrow(week.dataset(60).to_arrow())
    assert found["mean"].to_list() == [
        value if value is None else pytest.approx(value) for value in expected
    ]
    ranked = frame.rank("x", method="min", ascending=False, column="place")
    places = {row[0]: row[-1] for row in rows(ranked)}
    assert places == dict(zip(range(ROWS), FRAME["x"].rank("min", descending=True), strict=True))


def test_a_wrong_column_is_an_error_of_the_task_that_names_it(tasks, frame):
    with pytest.raises(TaskFailed, match="no column 'z'") as caught:
        frame.groupby("k", total=("z", "sum")).result(60)
    assert isinstance(caught.value.__cause__, SchemaError)
    child = frame.filter(pc.field("z") > 1).head(1)
    with pytest.raises(DependencyFailed):
        child.result(60)
    assert frame.head(1).num_rows == 1


def test_a_function_that_only_the_client_has_is_told_by_name(frame):
    about = {"summary": "the client's own", "description": "unknown to the ranks"}
    types = {"x": pa.float64()}
    pc.register_scalar_function(lambda _, x: x, "clients_own", about, types, pa.float64())
    expression = pc.Expression._call("clients_own", [X])
    with pytest.raises(TaskFailed, match="clients_own") as caught:
        frame.filter(expression > 1).result(60)
    assert isinstance(caught.value.__cause__, SchemaError)


def test_a_task_that_gives_a_value_is_no_frame(tasks, frame):
    value = tasks.submit(lambda: pa.table({"x": [1]}))
    for verb in (value.head, lambda: frame.merge(value, on="k"), frame.equals(frame).head):
        with pytest.raises(DescriptionError, match="gives a value"):
            verb()
    made = tasks.options(returns="dataset", ranks=2).submit(
        lambda comm: pa.table({"x": [comm.rank]})
    )
    assert rows(made.tail(1)) == [(1,)]


def test_every_verb_was_tried_here():
    """A verb that is added and not used above is not tested on a pilot."""
    text = Path(__file__).read_text()
    verbs = [name for name in vars(Verbs) if not name.startswith("_") and name != "run"]
    assert len(verbs) == 24
    elsewhere = {"join", "sort", "write_parquet"}  # test_local_pilot
    assert [name for name in verbs if name not in elsewhere and f".{name}(" not in text] == []
