"""The table algebra takes every type that tables bring, also where functions of Arrow do not."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elevon.errors import DescriptionError, SchemaError
from elevon.frames.join_sort.distributed import join, sort
from elevon.frames.operators.expressions import filter_rows, project, rename
from elevon.frames.operators.groupby import groupby
from elevon.frames.operators.ranking import rank_rows
from elevon.frames.operators.rolling import rolling
from elevon.frames.operators.sets import combine_sets, drop_duplicates
from elevon.frames.operators.slices import concat, equals, repartition, slice_rows
from elevon.frames.schema.dictionaries import decode_extensions
from elevon.model.algebra import (
    SET_KINDS,
    Aggregate,
    Derived,
    Project,
    RankRows,
    Rename,
    Window,
)
from elevon.model.operations import Join
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import errors_of, shared
from tests.support.frames import multiset

ROWS = 12
WORDS = ["x", "y", None] * 4
#: Compared by the kernels: keys of groups, sets and ranks.
SCALARS = {
    "k": pa.array([i % 3 if i % 5 else None for i in range(ROWS)], pa.int8()),
    "dictionary": pa.array(WORDS).dictionary_encode(),
    "uuid": pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([bytes([i % 4]) * 16 for i in range(ROWS)], pa.binary(16))
    ),
    "view": pa.array(WORDS, pa.string_view()),
    "bytes": pa.array([b"a", None, b"b"] * 4, pa.binary_view()),
    "large": pa.array(WORDS, pa.large_string()),
    "fixed": pa.array([b"ab", b"ac", None] * 4, pa.binary(2)),
    "half": pa.array([0.0, -0.0, None, 1.5] * 3, pa.float16()),
    "nothing": pa.nulls(ROWS),
    "flag": pa.array([True, False, None] * 4),
    "date": pa.array([86_400_000 * (i % 3) for i in range(ROWS)], pa.date64()),
    "time": pa.array([i % 5 for i in range(ROWS)], pa.time32("s")),
    "zoned": pa.array([i % 5 for i in range(ROWS)], pa.timestamp("ms", "UTC")),
    "decimal": pa.array([i % 5 for i in range(ROWS)], pa.decimal128(20, 2)),
    "wide": pa.array([i % 5 for i in range(ROWS)], pa.decimal256(40, 2)),
}
#: Carried along.
NESTED = {
    "list": pa.array([[i] * (i % 3) if i % 4 else None for i in range(ROWS)]),
    "struct": pa.array([{"a": i, "b": str(i)} if i % 4 else None for i in range(ROWS)]),
    "pair": pa.array([[1, 2]] * ROWS, pa.list_(pa.int8(), 2)),
    "map": pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int8())),
}
TABLE = pa.table({"n": pa.array(range(ROWS)), **SCALARS, **NESTED})
PLAIN = pa.table(SCALARS)


def together(operator, table=TABLE, size=3):
    """What three ranks make, which must be what one makes."""
    parts = ThreadGroup(size).run(lambda comm: operator(comm, shared(table, comm)))
    (alone,) = ThreadGroup(1).run(lambda comm: operator(comm, table))
    assert [part.schema for part in parts] == [alone.schema] * size
    return pa.concat_tables(parts), alone


IN_ORDER = {
    "drop_duplicates": lambda c, t: drop_duplicates(c, t, ["k", "dictionary"]),
    "concat": lambda c, t: concat(c, [t, t]),
    "slice": lambda c, t: slice_rows(c, t, 1, -1),
    "filter": lambda c, t: filter_rows(c, t, (pc.field("view") == "x") & (pc.field("k") >= 0)),
    "project": lambda c, t: project(c, t, {"l": "list", "u": pc.utf8_upper(pc.field("view"))}),
    "rolling": lambda c, t: rolling(
        c, t, 2, [Window("a", "half", "sum"), Window("b", "list", "count")]
    ),
}


@pytest.mark.parametrize("name", IN_ORDER)
def test_columns_of_all_types_come_along(name):
    whole, alone = together(IN_ORDER[name])
    assert whole.num_rows > 0
    assert whole.equals(alone)


def test_rows_of_all_types_travel():
    whole, _ = together(lambda c, t: repartition(c, t, ["dictionary"]))
    assert sorted(whole["n"].to_pylist()) == list(range(ROWS))
    assert ThreadGroup(2).run(lambda c: equals(c, shared(TABLE, c), shared(TABLE, c))) == [True] * 2


@pytest.mark.parametrize("name", SCALARS)
def test_values_of_any_comparable_type_are_keys_and_have_extremes(name):
    distinct = len({str(value) for value in PLAIN[name].to_pylist()} - {"-0.0"})
    found, _ = together(lambda c, t: drop_duplicates(c, t.select([name])))
    assert found.num_rows == distinct
    ranked, _ = together(lambda c, t: rank_rows(c, t, name, "dense"))
    assert max(filter(None, ranked["rank"].to_pylist()), default=0) == distinct - (
        1 if PLAIN[name].null_count else 0
    )
    groups = pa.table({"g": [1] * ROWS, "v": SCALARS[name]})
    wanted = [Aggregate("u", "v", "nunique"), Aggregate("n", "v", "count")]
    if name != "nothing":
        wanted += [Aggregate("least", "v", "min"), Aggregate("most", "v", "max")]
    by_value, alone = together(lambda c, t: groupby(c, t, ["g"], wanted), groups)
    assert multiset(by_value) == multiset(alone)
    assert by_value["n"].to_pylist() == [ROWS - PLAIN[name].null_count]
    if name not in ("nothing", "half"):
        values = [value for value in PLAIN[name].to_pylist() if value is not None]
        extremes = [by_value[column].to_pylist()[0] for column in ("least", "most")]
        assert list(map(str, extremes)) == [str(min(values)), str(max(values))]


def test_sets_of_all_types():
    whole, alone = together(lambda c, t: combine_sets(c, "union", t, t), PLAIN)
    assert multiset(whole) == multiset(alone)
    assert (
        ThreadGroup(3).run(lambda c: equals(c, shared(PLAIN, c), shared(PLAIN, c), ordered=False))
        == [True] * 3
    )


@pytest.mark.parametrize("kind", ["column", "field"])
def test_a_name_that_would_not_come_through_is_refused(kind):
    """At a NUL names end between Arrow's libraries: two columns would be called a."""
    table = pa.table({"a": [1, 2], "b": [{"x\0y": 1}] * 2})
    if kind == "column":
        table = table.set_column(1, "a\0b", [[3, 4]])
    name = table.column_names[1]
    verbs = [
        lambda comm: sort(comm, table, "a"),
        lambda comm: join(comm, table, table, ["a"], ["a"]),
        lambda comm: groupby(comm, table, ["a"], [Aggregate("n", name, "count")]),
        lambda comm: drop_duplicates(comm, table, ["a"]),
        lambda comm: combine_sets(comm, "union", table.select([name]), table.select([name])),
        lambda comm: rank_rows(comm, table, "a"),
        lambda comm: rolling(comm, table, 2, [Window("w", "a", "sum")]),
        lambda comm: concat(comm, [table, table]),
        lambda comm: repartition(comm, table, ["a"]),
        lambda comm: slice_rows(comm, table, 1),
        lambda comm: filter_rows(comm, table, pc.field("a") > 1),
        lambda comm: equals(comm, table, table),
    ]
    for verb in verbs:
        for error in errors_of(2, verb):
            assert type(error) is SchemaError
            assert "a name holds a NUL" in str(error)
    if kind == "column":  # the way out
        renamed = ThreadGroup(1).run(lambda comm: rename(comm, table, {name: "c"}))
        assert renamed[0].column_names == ["a", "c"]


@pytest.mark.parametrize(
    "make",
    [
        lambda name: Aggregate(name, "a", "sum"),
        lambda name: Window(name, "a", "sum"),
        lambda name: Project((Derived(name, "a"),)),
        lambda name: Rename((("a", name),)),
        lambda name: RankRows("a", name=name),
        lambda name: Join(("a",), ("a",), suffixes=("_x", name)),
    ],
)
def test_new_names_that_would_not_come_through_are_refused_at_once(make):
    assert make("c")
    with pytest.raises(DescriptionError, match="holds a NUL"):
        make("c\0d")


class Degrees(pa.ExtensionType):
    """A type of a user's own."""

    def __init__(self):
        super().__init__(pa.int32(), "test.degrees")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()


@pytest.mark.parametrize("size", [1, 2])
def test_an_extension_type_is_registered_or_refused(size):
    column = pa.ExtensionArray.from_storage(Degrees(), pa.array([3, 1, 2, 1], pa.int32()))
    table = pa.table({"v": column, "n": range(4)})
    verbs = [
        lambda comm, part: join(comm, part, part, ["v"], ["v"]),
        lambda comm, part: combine_sets(comm, "union", part, part),
        lambda comm, part: sort(comm, part, "v", memory_bytes=1),
        lambda comm, part: repartition(comm, part, ["v"]),
        lambda comm, part: filter_rows(comm, part, pc.field("n") > 0),
    ]
    for verb in verbs:
        for error in errors_of(size, lambda comm, verb=verb: verb(comm, shared(table, comm))):
            assert "register_extension_type" in str(error)
    pa.register_extension_type(Degrees())
    try:
        for verb in verbs:
            parts = ThreadGroup(size).run(lambda comm, verb=verb: verb(comm, shared(table, comm)))
            assert all(part.schema.field("v").type == column.type for part in parts)
    finally:
        pa.unregister_extension_type("test.degrees")


def test_dictionaries_of_an_extension_type_are_decoded():
    periods = pd.Categorical(pd.period_range("2020", periods=3, freq="M"))
    for column in (periods, pd.cut([1, 2, 3], 2)):
        table = pa.Table.from_pandas(pd.DataFrame({"v": column}))
        found = decode_extensions(table)
        found.validate(full=True)
        assert found.schema.field("v").type == table.schema.field("v").type.value_type
        assert list(found.to_pandas()["v"]) == list(column)
        stream = pa.ipc.read_schema(found.schema.serialize())
        assert stream.field("v").type == found.schema.field("v").type


@pytest.mark.parametrize("size", [1, 2, 3])
def test_digits_of_thousands_are_compared(size):
    values = [Decimal("3E3"), Decimal("1E3"), None, Decimal("3E3")]
    table = pa.table({"v": pa.array(values, pa.decimal128(5, -3))})
    count = [Aggregate("n", "v", "nunique")]
    parts = ThreadGroup(size).run(lambda comm: groupby(comm, shared(table, comm), [], count))
    assert [row["n"] for part in parts for row in part.to_pylist()] == [2]
    parts = ThreadGroup(size).run(lambda comm: drop_duplicates(comm, shared(table, comm), ["v"]))
    assert [value for part in parts for value in part["v"].to_pylist()] == values[:3]
    parts = ThreadGroup(size).run(lambda comm: rank_rows(comm, shared(table, comm), "v", "dense"))
    found = [value for part in parts for value in part["rank"].to_pylist()]
    assert found == [1, 2, 2, None]


def test_values_without_columns_are_refused():
    table = pa.table({"a": [1, 2]}).select([])
    for verb in (lambda comm: concat(comm, [table]), lambda comm: repartition(comm, table)):
        for error in errors_of(2, verb):
            assert "without columns" in str(error)


def test_far_values_have_a_middle_and_infinite_ones_no_spread():
    far = pa.table({"v": [-1e308, 1e308], "w": [1.0, math.inf]})
    median = [Aggregate("m", "v", "quantile")]
    (found,) = ThreadGroup(1).run(lambda comm: groupby(comm, far, [], median))
    assert found["m"].to_pylist() == [0.0]
    (found,) = ThreadGroup(1).run(lambda comm: rolling(comm, far, 2, [Window("s", "w", "var")]))
    assert math.isnan(found["s"].to_pylist()[1])


STRICT = pa.schema(
    [
        pa.field("left", pa.int64(), nullable=False, metadata={"unit": "m"}),
        pa.field("right", pa.dictionary(pa.int8(), pa.string()), nullable=False),
    ],
    {"pandas": "{}"},
)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("memory_bytes", [None, 1])
def test_what_a_field_says_beside_its_type_is_no_difference(size, memory_bytes):
    """Names that operators use for columns of their own among them."""
    columns = [pa.array([1, 2, 2, 3]), pa.array(["a", "b", "b", "c"]).dictionary_encode()]
    columns[1] = columns[1].cast(STRICT.types[1])
    strict = pa.Table.from_arrays(columns, schema=STRICT)
    loose = pa.Table.from_arrays(columns, STRICT.names).slice(0, 3)

    def body(comm):
        left, right = shared(strict, comm), shared(loose, comm)
        if comm.rank == 1:  # the fields of one table differ from rank to rank, too
            left = pa.Table.from_arrays(left.columns, left.column_names)
        options = {"memory_bytes": memory_bytes}
        rows = [combine_sets(comm, kind, left, right, **options).num_rows for kind in SET_KINDS]
        rows.append(drop_duplicates(comm, left, ["right", "left", "right"], **options).num_rows)
        rows.append(concat(comm, [left, right], **options).num_rows)
        same = [equals(comm, left, left, ordered, **options) for ordered in (True, False)]
        other = [equals(comm, left, right, ordered, **options) for ordered in (True, False)]
        return rows, [*same, *other]

    found = ThreadGroup(size, timeout_s=20).run(body)
    totals = dict(
        zip([*SET_KINDS, "distinct", "concat"], np.sum([r for r, _ in found], 0), strict=True)
    )
    assert totals == {"union": 3, "intersect": 2, "subtract": 1, "distinct": 3, "concat": 7}
    assert [answers for _, answers in found] == [[True, True, False, False]] * size


INSIDE = {
    "codes": [
        pa.DictionaryArray.from_arrays(pa.array(at, pa.int8()), pa.array(values))
        for at, values in [([0, 1, 2, None], ["x", "y", None]), ([2, 0, None, 1], ["y", None, "x"])]
    ],
    "codes of views": [
        pa.DictionaryArray.from_arrays(pa.array(at, pa.int8()), pa.array(values, pa.string_view()))
        for at, values in [([0, 1], ["x", "y"]), ([1, 0], ["y", "x"])]
    ],
    "bool8": [
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array(truths, pa.int8()))
        for truths in ([0, 1, None, 7], [0, -3, None, 1])
    ],
}
AROUND = {
    "list": lambda v: pa.ListArray.from_arrays(pa.array([0, 1, len(v)], pa.int32()), v),
    "large_list": lambda v: pa.LargeListArray.from_arrays(pa.array([0, 1, len(v)]), v),
    "list_view": lambda v: pa.ListViewArray.from_arrays(
        pa.array([0, 1], pa.int32()), pa.array([1, len(v) - 1], pa.int32()), v
    ),
    "pair": lambda v: pa.FixedSizeListArray.from_arrays(v, 2),
    "struct": lambda v: pa.StructArray.from_arrays([v], ["a"]),
    "map": lambda v: pa.MapArray.from_arrays(
        pa.array([0, len(v)], pa.int32()), pa.array([str(i) for i in range(len(v))]), v
    ),
}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("inside", INSIDE)
def test_nested_values_are_equal_however_they_are_encoded(inside, around, size):
    first, second = (AROUND[around](values) for values in INSIDE[inside])
    left, right = (pa.table({"v": pa.chunked_array([it])}) for it in (first, second))
    other = pa.table({"v": pa.concat_arrays([second.slice(1), second.slice(0, 1)])})
    cases = [(right, True), (left, True), (other, len(second) == 1)]
    for table, wanted in cases:
        found = ThreadGroup(size).run(
            lambda comm, b=table: equals(comm, shared(left, comm), shared(b, comm))
        )
        assert found == [wanted] * size


def test_truths_of_a_byte_choose_rows():
    truths = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 5, None, 1], pa.int8()))
    table = pa.table({"n": range(4), "b": truths})
    (found,) = ThreadGroup(1).run(lambda comm: filter_rows(comm, table, pc.field("b")))
    assert found["n"].to_pylist() == [1, 3]


def test_expressions_read_the_text_that_polars_hands_out():
    table = pa.table(pl.DataFrame({"s": ["a", "b", None], "x": [1, 2, 3]}))
    whole, _ = together(lambda c, t: filter_rows(c, t, pc.field("s") == "b"), table)
    assert whole.to_pylist() == [{"s": "b", "x": 2}]
    assert whole.schema == table.schema


def test_a_decimal_beside_an_integer_is_refused_with_the_way_out():
    values = [Decimal("300.00"), Decimal("300.01"), None]
    table = pa.table({"q": pa.array(values, pa.decimal128(38, 2))})
    (error,) = errors_of(1, lambda comm: filter_rows(comm, table, pc.field("q") > 300))
    assert type(error) is SchemaError
    assert "decimal.Decimal('300')" in str(error)
    exact, _ = together(lambda c, t: filter_rows(c, t, pc.field("q") > Decimal("300")), table)
    assert exact["q"].to_pylist() == values[1:2]
