"""The verbs over frames: what users write becomes the operation they mean, or a helpful error."""

from __future__ import annotations

import inspect
import itertools
import pathlib
import sys

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elevon.errors import DescriptionError
from elevon.frames.operators.expressions import from_bytes
from elevon.model.algebra import (
    Aggregate,
    Concat,
    Derived,
    DropDuplicates,
    Equals,
    GroupBy,
    Project,
    RankRows,
    Repartition,
    Rolling,
    SetRows,
    SliceRows,
    Window,
)
from elevon.model.operations import (
    Call,
    Join,
    Load,
    Operation,
    Sort,
    WriteParquet,
)
from elevon.model.tasks import OPTION_NAMES, TaskDescription
from elevon.tasks.methods import FrameMethods
from elevon.tasks.verbs import Verbs


class Recorder(Verbs[tuple]):
    """Gives back what it was to run."""

    def run(self, operation, frames, options):
        return operation, frames, options


class Frame(FrameMethods[tuple]):
    """A frame of three ranks."""

    verbs = Recorder()
    made_on = 3


verbs = Recorder()
TEN = list(range(10))


def rolled():
    return verbs.rolling("f", 3, a=("x", "sum"))


X = pc.field("x")


def operation(result):
    return result[0]


def test_a_keyword_is_an_aggregate_or_an_option():
    made = verbs.groupby("f", "k", {"name": ("x", "max")}, total=("x", "sum"), ranks=3, name="n")
    total = Aggregate("total", "x", "sum")
    expected = GroupBy(("k",), (Aggregate("name", "x", "max"), total))
    assert made == (expected, ("f",), {"ranks": 3, "name": "n"})
    quantiles = operation(verbs.aggregate("f", a=("x", "median"), b=("x", "quantile", 0.9)))
    assert quantiles == GroupBy(
        (), (Aggregate("a", "x", "quantile"), Aggregate("b", "x", "quantile", 0.9))
    )


COLUMNS = {
    "select": [lambda **named: verbs.select("f", "x", **named), "k", X],
    "assign": [lambda **named: verbs.assign("f", **named), "k", X],
    "groupby": [lambda **named: verbs.groupby("f", "g", **named), ("x", "sum"), ["x", "sum"]],
    "aggregate": [lambda **named: verbs.aggregate("f", **named), ("x", "sum"), ("x", "max")],
    "rolling": [lambda **named: verbs.rolling("f", 2, **named), ("x", "sum"), ["x", "max"]],
}


@pytest.mark.parametrize("verb", COLUMNS)
@pytest.mark.parametrize("option", OPTION_NAMES)
def test_a_column_that_is_called_like_an_option_is_not_swallowed(verb, option):
    call, *specs = COLUMNS[verb]
    for spec in specs:
        with pytest.raises(DescriptionError, match=rf"mapping.*{option}.*\.options\({option}="):
            call(**{option: spec})


def test_a_column_may_be_called_like_an_option_in_a_mapping():
    named = dict.fromkeys(OPTION_NAMES, "k")
    derived = tuple(Derived(name, "k") for name in OPTION_NAMES)
    assert verbs.select("f", named, ranks=2) == (Project(derived), ("f",), {"ranks": 2})
    assert operation(verbs.assign("f", named)) == Project(derived, True)
    sums = dict.fromkeys(OPTION_NAMES, ("x", "sum"))
    assert len(operation(verbs.groupby("f", "k", sums, retries=1)).aggregates) == len(sums)
    assert len(operation(verbs.rolling("f", 2, sums, after=["t"])).columns) == len(sums)


def test_a_column_is_not_taken_for_a_parameter_either():
    for call in (
        lambda: verbs.groupby("f", "k", dropna=("x", "sum")),
        lambda: verbs.groupby("f", "k", aggregates=("x", "sum")),
        lambda: verbs.rolling("f", 3, min_periods=("x", "sum")),
        lambda: verbs.rolling("f", 3, columns=("x", "sum")),
        lambda: verbs.assign("f", columns="x"),
        lambda: verbs.assign("f", columns=X),
    ):
        with pytest.raises(DescriptionError, match="must be"):
            call()
    assert operation(verbs.select("f", columns="x")) == Project((Derived("columns", "x"),))


def test_a_frame_has_a_place_for_options():
    frame = Frame()
    chosen = frame.options(name="n", priority=3)
    made = chosen.select("k", {"name": "k"})
    assert made == (
        Project((Derived("k", "k"), Derived("name", "k"))),
        (frame,),
        {"name": "n", "priority": 3, "ranks": 3},
    )
    assert frame.options(ranks=2).options(retries=1).union("g", retries=4)[2] == {
        "ranks": 2,
        "retries": 4,
    }
    assert chosen.head(2)[0] == SliceRows(0, 2)
    with pytest.raises(DescriptionError, match="did you mean 'ranks'"):
        frame.options(rank=3)
    with pytest.raises(DescriptionError, match="retries"):
        frame.options(retries="often")


def test_pandas_named_aggregation_is_understood():
    made = verbs.groupby("f", ["k"], total=pd.NamedAgg(column="x", aggfunc="sum"))
    assert operation(made).aggregates == (Aggregate("total", "x", "sum"),)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: verbs.groupby("f", "k", rank=4), "did you mean 'ranks'"),
        (lambda: verbs.groupby("f", "k", a=("x", "summ")), "did you mean 'sum'"),
        (lambda: verbs.groupby("f", "k", a=("x", max)), "by their names"),
        (lambda: verbs.groupby("f", "k", a=("x", "sum", 0.5)), "quantile"),
        (lambda: verbs.groupby("f", "k", a=("x", "quantile", 90)), "from 0 to 1"),
        (lambda: verbs.groupby("f", "k", k=("x", "sum")), "two columns are called 'k'"),
        (lambda: verbs.groupby("f", ()), "needs a key column or an aggregate"),
        (lambda: verbs.rolling("f", 0, a=("x", "sum")), "at least one row"),
        (lambda: verbs.rolling("f", 3), "no column"),
        (lambda: verbs.rolling("f", 3, a=("x", "median")), "function='median'"),
        (lambda: verbs.rolling("f", 3, a=("x", "sum"), min_periods=4), "min_periods=4"),
        (lambda: verbs.rank("f", "x", method="middle"), "method='middle'"),
        (lambda: verbs.drop_duplicates("f", keep="any"), "keep='any'"),
        (lambda: verbs.drop_duplicates("f", []), "subset"),
        (lambda: verbs.concat([]), "no frame"),
        (lambda: verbs.filter("f", "x > 1"), "pyarrow.compute.field"),
        (lambda: verbs.select("f"), "no column"),
        (lambda: verbs.select("f", X), "has no name"),
        (lambda: verbs.select("f", "x", x=X), "two columns are called 'x'"),
        (lambda: verbs.assign("f", one=1), "pyarrow.compute.scalar"),
        (lambda: verbs.slice("f", 1, -1), "negative"),
        (lambda: verbs.join("f", "g", on="k", left_on="k"), "either on"),
        (lambda: verbs.merge("f", "g"), "at least one"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(call, text):
    with pytest.raises(DescriptionError, match=text):
        call()


def test_columns_are_names_or_expressions():
    made = operation(verbs.select("f", "k", {"ranks": "x"}, twice=X * 2, y="x"))
    assert made.columns[:2] == (Derived("k", "k"), Derived("ranks", "x"))
    assert made.columns[3] == Derived("y", "x")
    assert from_bytes(made.columns[2].expression).equals(X * 2)
    assert not made.extend
    assert operation(verbs.assign("f", y="x", ranks=2)) == Project((Derived("y", "x"),), True)


@pytest.mark.parametrize("offset", [-12, -4, -1, 0, 3, 12])
@pytest.mark.parametrize("length", [None, 0, 2, 4, 30])
def test_a_slice_has_an_offset_and_a_length(offset, length):
    made = operation(verbs.slice("f", offset, length))
    start = max(offset + 10, 0) if offset < 0 else offset
    reach = start if offset >= -10 else offset + 10
    expected = TEN[start:] if length is None else TEN[start : max(reach + length, 0)]
    assert TEN[made.start : made.stop] == expected


@pytest.mark.parametrize("rows", [-12, -3, 0, 3, 12])
def test_head_and_tail_count_as_in_pandas(rows):
    head, tail = operation(verbs.head("f", rows)), operation(verbs.tail("f", rows))
    series = pd.Series(TEN)
    assert TEN[head.start : head.stop] == series.head(rows).tolist()
    assert TEN[tail.start : tail.stop] == series.tail(rows).tolist()


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (lambda: verbs.head("f", np.int64(2)), lambda: verbs.head("f", 2)),
        (lambda: verbs.tail("f", np.array(2)), lambda: verbs.tail("f", 2)),
        (lambda: verbs.tail("f", sys.maxsize), lambda: verbs.slice("f", -sys.maxsize)),
        (lambda: verbs.slice("f", 2, sys.maxsize), lambda: verbs.slice("f", 2, sys.maxsize - 2)),
        (lambda: verbs.rolling("f", np.uint8(3), a=("x", np.str_("sum"))), rolled),
        (lambda: verbs.rolling("f", 3, {np.str_("a"): ["x", "sum"]}), rolled),
        (lambda: verbs.drop("f", "k"), lambda: verbs.drop("f", ["k"])),
        (lambda: verbs.drop("f", pd.Index(["k", "x"])), lambda: verbs.drop("f", ("k", "x"))),
        (lambda: verbs.drop("f", np.array(["k"])), lambda: verbs.drop("f", "k")),
        (lambda: verbs.drop("f", {"k": 1}.keys()), lambda: verbs.drop("f", "k")),
        (lambda: verbs.union("f", "g", name="n"), lambda: verbs.union("f", right="g", name="n")),
        (lambda: verbs.concat(f for f in "fg"), lambda: verbs.concat(["f", "g"])),
        (lambda: verbs.equals("f", "g", ordered=np.True_), lambda: verbs.equals("f", "g")),
        (lambda: verbs.groupby("f", "k", dropna=1), lambda: verbs.groupby("f", ["k"])),
        (
            lambda: verbs.sort("f", by=["k", "x"], ascending=[0, np.True_]),
            lambda: verbs.sort("f", by=("k", "x"), ascending=(False, True)),
        ),
        (
            lambda: verbs.aggregate("f", a=("x", "quantile", np.float32(0.5))),
            lambda: verbs.aggregate("f", a=("x", "median")),
        ),
        (
            lambda: verbs.write_parquet("f", pathlib.Path("/a"), None),
            lambda: verbs.write_parquet("f", b"/a", "none"),
        ),
    ],
)
def test_what_is_plainly_meant_is_understood(given, plain):
    made, expected = given(), plain()
    assert made == expected
    assert msgspec.msgpack.encode(operation(made)) == msgspec.msgpack.encode(operation(expected))


@pytest.mark.parametrize(
    "call",
    [
        lambda: verbs.head("f", 2.0),
        lambda: verbs.head("f", True),
        lambda: verbs.head("f", 2**70),
        lambda: verbs.tail("f", "2"),
        lambda: verbs.tail("f", -(2**63)),
        lambda: verbs.slice("f", None),
        lambda: verbs.rolling("f", 2.0, a=("x", "sum")),
        lambda: verbs.rolling("f", 2, a=("x", "sum"), min_periods=1.0),
        lambda: verbs.rename("f", {1: "x"}),
        lambda: verbs.rename("f", {"x": None}),
        lambda: verbs.rename("f", [("x", "y")]),
        lambda: verbs.drop("f", [1]),
        lambda: verbs.drop("f", None),
        lambda: verbs.drop("f", {"k"}),
        lambda: verbs.sort("f", by="\udc80"),
        lambda: verbs.sort("f", by=None),
        lambda: verbs.sort("f", by=b"k"),
        lambda: verbs.sort("f", by={"k": 1}),
        lambda: verbs.sort("f", by=itertools.count()),
        lambda: verbs.sort("f", by="k", ascending="no"),
        lambda: verbs.sort("f", by="k", ascending=[True, False]),
        lambda: verbs.sort("f", by="k", ascending=[2]),
        lambda: verbs.sort("f", by="k", na_position=None),
        lambda: verbs.join("f", "g", on=[1]),
        lambda: verbs.join("f", "g", on="k", suffixes="xy"),
        lambda: verbs.join("f", "g", on="k", suffixes=("_x",)),
        lambda: verbs.join("f", "g", on="k", suffixes=(1, 2)),
        lambda: verbs.join("f", "g", on="k", nulls_equal="yes"),
        lambda: verbs.join("f", "g", on="k", how=["inner"]),
        lambda: verbs.groupby("f", None, a=("x", "sum")),
        lambda: verbs.groupby("f", "k", a=("x", "quantile", float("nan"))),
        lambda: verbs.groupby("f", "k", a=("x", "quantile", True)),
        lambda: verbs.drop_duplicates("f", subset=3),
        lambda: verbs.rank("f", ["x"]),
        lambda: verbs.rank("f", "x", column=None),
        lambda: verbs.concat(pa.table({"k": [1]})),
        lambda: verbs.concat(5),
        lambda: verbs.repartition("f", 3),
        lambda: verbs.write_parquet("f", "/a\0b"),
        lambda: verbs.write_parquet("f", "/a", "zip"),
        lambda: verbs.write_parquet("f", ""),
        lambda: verbs.write_parquet("f", "/\udc80.parquet"),
        lambda: verbs.equals("f", "g", ordered=None),
    ],
)
def test_what_is_of_another_type_is_refused_at_once(call):
    with pytest.raises(DescriptionError):
        call()


def test_a_suffix_may_be_none_as_in_pandas():
    made = operation(verbs.join("f", "g", on="k", suffixes=(None, "_right")))
    assert made.suffixes == (None, "_right")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Operation) == made


def test_a_relative_path_needs_a_directory(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(DescriptionError, match="working directory"):
        verbs.write_parquet("f", "here")


def test_a_method_is_the_verb_on_its_frame_and_on_its_ranks():
    frame = Frame()
    assert frame.merge("g", on="k") == verbs.merge(frame, "g", on="k", ranks=3)
    assert frame.sort_values("k", ranks=2) == verbs.sort(frame, by="k", ranks=2)
    assert frame.groupby("k", frame=("x", "sum"))[2] == {"ranks": 3}


def test_every_method_has_the_signature_of_its_verb_without_the_frame():
    methods = [name for name in vars(FrameMethods) if callable(getattr(Verbs, name, None))]
    assert len(methods) == 18
    for name in methods:
        verb, method = getattr(Verbs, name), getattr(FrameMethods, name)
        given = list(inspect.signature(verb).parameters)
        assert list(inspect.signature(method).parameters) == [given[0], *given[2:]]
        assert method.__doc__ == verb.__doc__


ALL = [
    Join(("k",), ("k",)),
    Sort(("k",), (True,)),
    GroupBy(("k",), (Aggregate("a", "x", "sum"),)),
    DropDuplicates(),
    SetRows("union"),
    Concat(3),
    Project((Derived("a", "b"),)),
    SliceRows(1, None),
    Equals(),
    Repartition(),
    Rolling(3, (Window("a", "x", "sum"),)),
    RankRows("k"),
]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.verb)
def test_operations_travel_and_may_run_again(one):
    inputs = tuple("abc"[: one.inputs])
    description = TaskDescription(operation=one, inputs=inputs)
    data = msgspec.msgpack.encode(description)
    assert msgspec.msgpack.decode(data, type=TaskDescription) == description
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Operation) == one
    assert one.repeatable
    assert one.result == ("value" if isinstance(one, Equals) else "partitions")


def test_what_has_effects_does_not_run_again():
    assert not any(one.repeatable for one in [Call("f", b""), Load("a", 1), WriteParquet("p")])


def test_names_in_reports_are_the_verbs():
    names = [one.verb for one in ALL]
    assert names == [
        *("join", "sort", "groupby", "drop_duplicates", "union", "concat", "select", "slice"),
        *("equals", "repartition", "rolling", "rank"),
    ]
    assert Project((Derived("a", "b"),), extend=True).verb == "assign"


def test_an_expression_is_checked_before_it_is_sent():
    with pytest.raises(DescriptionError, match="not int"):
        verbs.filter("f", 3)


def test_an_expression_that_is_too_deep_for_a_rank_is_refused():
    chain, wide = X, X
    for _ in range(5_000):
        chain = chain + 1
    with pytest.raises(DescriptionError, match="nests 5,001 calls"):
        verbs.filter("f", chain > 1)
    for _ in range(6):
        wide = wide + wide
    assert operation(verbs.select("f", y=pc.coalesce(*[wide] * 50, pc.scalar('"(' * 5_000))))
