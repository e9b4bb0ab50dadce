"""The verbs over frames: what users write becomes the operation they mean, or a helpful error."""

from __future__ import annotations

import inspect

import msgspec
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
    makes_dataset,
    operation_name,
    repeatable,
)
from elevon.model.tasks import TaskDescription
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


def test_pandas_named_aggregation_is_understood():
    pandas = pytest.importorskip("pandas")
    made = verbs.groupby("f", ["k"], total=pandas.NamedAgg(column="x", aggfunc="sum"))
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
    pandas = pytest.importorskip("pandas")
    head, tail = operation(verbs.head("f", rows)), operation(verbs.tail("f", rows))
    series = pandas.Series(TEN)
    assert TEN[head.start : head.stop] == series.head(rows).tolist()
    assert TEN[tail.start : tail.stop] == series.tail(rows).tolist()


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


@pytest.mark.parametrize("one", ALL, ids=operation_name)
def test_operations_travel_and_may_run_again(one):
    inputs = tuple("abc"[: one.inputs])
    description = TaskDescription(operation=one, inputs=inputs)
    data = msgspec.msgpack.encode(description)
    assert msgspec.msgpack.decode(data, type=TaskDescription) == description
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Operation) == one
    assert repeatable(one)
    assert makes_dataset(one) != isinstance(one, Equals)


def test_what_has_effects_does_not_run_again():
    assert not any(map(repeatable, [Call("f", b""), Load("a", 1), WriteParquet("p")]))


def test_names_in_reports_are_the_verbs():
    names = [operation_name(one) for one in ALL]
    assert names == [
        *("join", "sort", "groupby", "drop_duplicates", "union", "concat", "select", "slice"),
        *("equals", "repartition", "rolling", "rank"),
    ]
    assert operation_name(Project((Derived("a", "b"),), extend=True)) == "assign"


def test_an_expression_is_checked_before_it_is_sent():
    with pytest.raises(DescriptionError, match="not int"):
        verbs.filter("f", 3)
