"""Groups of equal rows in one table, and what is folded out of them."""

from __future__ import annotations

import decimal
import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elevon.errors import SchemaError
from elevon.frames.aggregation.measures import check_aggregate, in_form
from elevon.frames.aggregation.segments import fold
from elevon.frames.aggregation.sort_groups import Groups, find_keys, first_rows
from elevon.model.algebra import Aggregate
from tests.support.frames import KEYS, columns, plain

NAN = math.nan


def numbered(keys: pa.Table) -> list[list[int]]:
    groups = Groups.of(keys)
    edges = np.append(groups.starts, len(groups.order))
    return [groups.order[a:b].tolist() for a, b in itertools.pairwise(edges)]


@given(data=st.data(), kinds=st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=3))
def test_rows_are_together_if_and_only_if_they_are_equal(data, kinds):
    rows = data.draw(st.integers(0, 25))
    keys = pa.table([data.draw(columns(kind, rows)) for kind in kinds], list("abc")[: len(kinds)])
    groups = Groups.of(keys)
    values = [column.to_pylist() for column in keys.columns]
    wanted: dict[object, list[int]] = {}
    for row, key in enumerate(zip(*values, strict=True)):
        wanted.setdefault(tuple(map(plain, key)), []).append(row)
    assert sorted(numbered(keys)) == sorted(wanted.values())
    assert first_rows(keys).tolist() == sorted(rows[0] for rows in wanted.values())
    assert sorted(groups.last.tolist()) == sorted(rows[-1] for rows in wanted.values())
    assert all(groups.numbers[row] == at for at, rows in enumerate(numbered(keys)) for row in rows)


@pytest.mark.parametrize(
    ("column", "sizes"),
    [
        (pa.array([0.0, -0.0, NAN, -NAN, None, None], pa.float32()), [2, 2, 2]),
        (pa.array([1.0, 1.0, NAN, NAN], pa.float16()), [2, 2]),
        (pa.nulls(3), [3]),
        (pa.array(["a", "b", "a"], pa.string_view()), [2, 1]),
        (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16] * 2, pa.binary(16))), [2]),
        (pa.array([decimal.Decimal("1.0"), None, None], pa.decimal128(5, 1)), [1, 2]),
    ],
    ids=["float32", "float16", "null", "view", "extension", "decimal"],
)
def test_what_is_equal_to_the_kernels_is_one_group(column, sizes):
    assert sorted(map(len, numbered(pa.table({"k": column})))) == sorted(sizes)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(21, 1)])
def test_nulls_are_left_out_of_a_fold(kind):
    keys = pa.table({"k": [1, 2, 1, 2, 3]})
    values = pa.chunked_array([pa.array([5, None, 7, 3, None]).cast(kind)])
    groups = Groups.of(keys, {"v": values})
    found = {name: fold(groups, groups.values["v"], name).to_pylist() for name in ("min", "max")}
    assert found == {"min": [5, 3, None], "max": [7, 3, None]}
    assert fold(groups, groups.values["v"], "sum").cast(pa.int64()).to_pylist() == [12, 3, 0]


def test_text_is_folded_in_its_order():
    keys = pa.table({"k": [2, 1, 2, 1]})
    groups = Groups.of(keys, {"v": pa.chunked_array([["b", None, "a", "c"]])})
    assert fold(groups, groups.values["v"], "min").to_pylist() == ["c", "a"]
    assert fold(groups, groups.values["v"], "max").to_pylist() == ["c", "b"]


def test_no_rows_make_no_groups():
    keys = pa.table({"k": pa.array([], pa.string())})
    groups = Groups.of(keys, {"v": pa.chunked_array([], pa.int64())})
    assert len(groups) == len(groups.lengths) == len(groups.numbers) == 0
    assert fold(groups, groups.values["v"], "sum").to_pylist() == []


@pytest.mark.parametrize(
    ("kind", "function", "result"),
    [
        (pa.int8(), "sum", pa.int64()),
        (pa.uint8(), "sum", pa.uint64()),
        (pa.bool_(), "sum", pa.int64()),
        (pa.float32(), "sum", pa.float64()),
        (pa.decimal128(5, 2), "sum", pa.decimal128(38, 2)),
        (pa.duration("s"), "sum", pa.duration("s")),
        (pa.int8(), "mean", pa.float64()),
        (pa.date32(), "min", pa.date32()),
        (pa.dictionary(pa.int8(), pa.string()), "max", pa.string()),
        (pa.string(), "nunique", pa.int64()),
        (pa.list_(pa.int8()), "count", pa.int64()),
        (pa.list_(pa.int8()), "size", pa.int64()),
    ],
)
def test_results_have_a_type_with_room(kind, function, result):
    schema = pa.schema([("x", kind)])
    assert check_aggregate(schema, Aggregate("r", "x", function)) == pa.field("r", result)


def test_a_column_of_dictionaries_has_an_order_and_numbers_a_mean():
    words = pa.chunked_array([pa.array(["b", "a"]).dictionary_encode()])
    assert in_form(words, "order").to_pylist() == ["b", "a"]
    large = pa.chunked_array([pa.array([2**60 + 1])])
    assert in_form(large, "real").to_pylist() == [float(2**60)]


def test_a_key_that_is_missing_or_has_no_equality_is_told():
    schema = pa.schema([("abc", pa.int8()), ("l", pa.list_(pa.int8()))])
    with pytest.raises(SchemaError, match="did you mean 'abc'"):
        find_keys(schema, ["abd"], "group by")
    with pytest.raises(SchemaError, match="cannot group by 'l'"):
        find_keys(schema, ["l"], "group by")
