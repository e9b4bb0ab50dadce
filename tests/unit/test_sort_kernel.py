"""What sort and merge promise by name: rules for NaN and nulls, what is copied, what is refused."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from elevon import _native
from tests.support.native import EVERY_TYPE, scattered


def sort(table, by, ascending=None, nulls_first=None, threads=1):
    ascending = ascending or [True] * len(by)
    nulls_first = nulls_first or [False] * len(by)
    return pa.table(_native.sort(table, by, ascending, nulls_first, threads))


def merge(tables, by, ascending=None, nulls_first=None, threads=1):
    ascending = ascending or [True] * len(by)
    nulls_first = nulls_first or [False] * len(by)
    return pa.table(_native.merge(tables, by, ascending, nulls_first, threads))


@pytest.mark.parametrize(
    ("ascending", "nulls_first", "expected"),
    [
        (True, False, [-math.inf, 1.0, math.inf, "NaN", None]),
        (False, False, [math.inf, 1.0, -math.inf, "NaN", None]),
        (True, True, [None, "NaN", -math.inf, 1.0, math.inf]),
        (False, True, [None, "NaN", math.inf, 1.0, -math.inf]),
    ],
)
@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_nan_and_nulls_lie_together_at_one_end(kind, ascending, nulls_first, expected):
    number = kind.to_pandas_dtype()
    values = [number(1), number("nan"), None, number("inf"), number("-inf")]
    table = pa.table({"k": pa.array(values, kind)})
    result = sort(table, [0], [ascending], [nulls_first])["k"].to_pylist()
    assert [v if v is None or v == v else "NaN" for v in result] == expected


def test_zeros_are_equal_whatever_their_sign_and_keep_it():
    table = pa.table({"k": [0.0, -0.0, 0.0, -1.0], "row": [0, 1, 2, 3]})
    result = sort(table, [0])
    assert result["row"].to_pylist() == [3, 0, 1, 2]
    assert [math.copysign(1, value) for value in result["k"].to_pylist()] == [-1, 1, -1, 1]


def test_dictionaries_sort_by_value_and_not_by_index():
    key = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 2, 3, 4]), pa.array(["c", "a", None, "b", "a"])
    )
    table = pa.table({"k": key, "row": range(6)})
    assert sort(table, [0])["row"].to_pylist() == [1, 5, 4, 0, 2, 3]
    assert sort(table, [0], [False], [True])["row"].to_pylist() == [2, 3, 0, 4, 1, 5]


def test_shorter_strings_sort_first_also_where_the_longer_one_goes_on_with_zero_bytes():
    values = [b"a\0\0", b"a", b"", b"a\0", b"a\0b", b"\0"]
    assert sort(pa.table({"k": values}), [0])["k"].to_pylist() == sorted(values)
    deep = [b"p" * 40 + value for value in values]
    assert sort(pa.table({"k": deep}), [0])["k"].to_pylist() == sorted(deep)


def test_bytes_of_the_whole_range_fill_a_word_and_the_rest_still_counts():
    values = [b"\0" * 16 + b"\xff", b"\0" * 8 + b"\xff" + b"\0" * 8]
    table = pa.table({"k": values[::-1]})
    assert sort(table, [0])["k"].to_pylist() == values


@pytest.mark.parametrize("threads", [1, 3])
def test_payload_of_every_type_follows_its_row(threads):
    table = with_origin(copies=15_000)
    numbers = pa.array(np.random.default_rng(0).permutation(table.num_rows))
    result = sort(table.append_column("number", numbers), [table.num_columns], threads=threads)
    result.validate(full=True)
    assert result["number"].to_pylist() == list(range(table.num_rows))
    assert_rows_whole(result)


@pytest.mark.parametrize("threads", [1, 3])
def test_merge_moves_payload_of_every_type(threads):
    numbers = np.arange(60_000)
    tables = [
        with_origin(copies=5_000).append_column("number", pa.array(numbers[run::3]))
        for run in range(3)
    ]
    result = merge(tables, [tables[0].num_columns - 1], threads=threads)
    result.validate(full=True)
    assert result["number"].to_pylist() == numbers.tolist()
    assert_rows_whole(result)


def with_origin(copies):
    """Rows of every type with the number of the row that each one is a copy of; four chunks."""
    table = EVERY_TYPE.append_column("origin", pa.array(range(4)))
    return scattered(pa.concat_tables([table] * (copies // 2)).combine_chunks(), 2)


def assert_rows_whole(table):
    """Rows at both ends and in the middle hold what their origin holds, in every column."""
    for start in (0, table.num_rows // 2, table.num_rows - 500):
        part = table.slice(start, 500)
        origins = part["origin"].to_pylist()
        for name in EVERY_TYPE.column_names:
            values = EVERY_TYPE[name].to_pylist()
            expected = [repr(values[origin]) for origin in origins]  # repr: -0.0 is not 0.0
            assert list(map(repr, part[name].to_pylist())) == expected


def test_a_table_in_order_is_not_copied():
    table = pa.table({"k": [1, 1, 2], "row": [0, 1, 2]})
    result = sort(table, [0])
    address = table["row"].chunk(0).buffers()[1].address
    assert result["row"].chunk(0).buffers()[1].address == address


def test_tables_that_do_not_overlap_are_merged_without_a_copy():
    tables = [pa.table({"k": keys}) for keys in ([1, 2], [], [2, 3])]
    tables[1] = tables[0].slice(0, 0)
    result = merge(tables, [0])
    assert result["k"].to_pylist() == [1, 2, 2, 3]
    addresses = [table["k"].chunk(0).buffers()[1].address for table in (tables[0], tables[2])]
    assert [chunk.buffers()[1].address for chunk in result["k"].chunks] == addresses


def test_reversed_rows_keep_the_order_of_equal_ones():
    table = pa.table({"k": [3, 2, 2, 1], "row": [0, 1, 2, 3]})
    assert sort(table, [0])["row"].to_pylist() == [3, 1, 2, 0]
    assert sort(table, [0], [False])["row"].to_pylist() == [0, 1, 2, 3]
    assert sort(table.slice(0, 2), [0])["row"].to_pylist() == [1, 0]


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row(rows):
    table = EVERY_TYPE.slice(0, rows)
    for key in range(EVERY_TYPE.column_names.index("list")):
        assert sort(table, [key]).equals(table)
        assert merge([table], [key]).equals(table)
    assert merge([EVERY_TYPE.slice(0, 0), EVERY_TYPE.slice(0, 1)], [0]).num_rows == 1


def test_a_key_of_nulls_only_leaves_the_rows_as_they_are():
    table = pa.table({"k": pa.nulls(3), "j": pa.array([None] * 3, pa.int64()), "row": [2, 0, 1]})
    assert sort(table, [0, 1])["row"].to_pylist() == [2, 0, 1]


@pytest.mark.parametrize("name", ["list", "large_list", "fixed_list", "struct", "map", "list_view"])
def test_keys_without_an_order_are_refused(name):
    position = EVERY_TYPE.column_names.index(name)
    with pytest.raises(ValueError, match=f"column '{name}'.* cannot be a sort key"):
        sort(EVERY_TYPE, [position])


def test_what_a_caller_can_get_wrong():
    table = pa.table({"k": [2, 1]})
    with pytest.raises(ValueError, match="at least one key"):
        sort(table, [])
    with pytest.raises(ValueError, match="column"):
        sort(table, [1])
    with pytest.raises(ValueError, match="column"):
        sort(table, [-1])
    with pytest.raises(ValueError, match="differ in length"):
        _native.sort(table, [0], [True, False], [False])
    with pytest.raises(ValueError, match="thread"):
        sort(table, [0], threads=0)
    with pytest.raises(ValueError, match="at least one table"):
        merge([], [0])
    with pytest.raises(ValueError, match="differ in columns"):
        merge([table, table.append_column("j", table["k"])], [0])
    with pytest.raises(ValueError, match="int64 and int32"):
        merge([table, table.cast(pa.schema({"k": pa.int32()}))], [0])
    with pytest.raises(TypeError):
        sort("rows", [0])
