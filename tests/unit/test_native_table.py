"""Tables into the native module and out again: nothing changes, nothing malformed gets in."""

from __future__ import annotations

import ctypes
import gc

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from elevon import _native
from tests.support.native import EVERY_TYPE, Spoilt, scattered, values_at

INTS = pa.array([1, 2, None])
STRINGS = pa.array(["ab", "c", "def"])
VIEWS = pa.array(["a long string, in a buffer", "x"], pa.string_view())
LISTS = pa.array([[1], [2, 3], []])
LIST_VIEWS = pa.array([[1], [2, 3], []], pa.list_view(pa.int64()))
FIXED_LISTS = pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2))
STRUCTS = pa.array([{"a": 1}, {"a": 2}])
CATEGORIES = pa.array(["a", "b"]).dictionary_encode()


def rows(table: object) -> _native.Table:
    """A table that the module imported, all its rows taken."""
    number = pa.table(table).num_rows
    return _native.take(table, pa.array(range(number), pa.int64()))


def import_only(array: object) -> _native.Table:
    return _native.take(array, pa.array([], pa.int64()))


def test_every_type_goes_through() -> None:
    table = scattered(EVERY_TYPE)
    result = pa.table(rows(table))
    result.validate(full=True)
    assert result.equals(table)
    assert result.schema == table.schema


def test_field_metadata_and_nullability_are_kept() -> None:
    field = pa.field("a", pa.int64(), nullable=False, metadata={"unit": "s"})
    table = pa.table([pa.array([1, 2])], schema=pa.schema([field]))
    assert pa.table(rows(table)).schema.field(0).equals(field, check_metadata=True)


def test_a_row_that_becomes_null_makes_its_field_nullable() -> None:
    table = pa.table([pa.array([1])], schema=pa.schema([pa.field("a", pa.int64(), nullable=False)]))
    assert pa.table(_native.take(table, pa.array([None], pa.int64()))).schema.field(0).nullable


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb", "batch", "reader", "own"])
def test_tables_of_every_library_enter(library: str) -> None:
    table = pa.table({"a": [1, 2, None], "s": ["x", None, "z"]})
    source = {
        "pandas": lambda: table.to_pandas(types_mapper=pd.ArrowDtype),
        "polars": lambda: pl.DataFrame(table),
        "duckdb": lambda: duckdb.from_arrow(table),
        "batch": lambda: table.to_batches()[0],
        "reader": table.to_reader,
        "own": lambda: rows(table),
    }[library]()
    result = pa.table(_native.take(source, pa.array([2, 0], pa.int64())))
    assert result.to_pylist() == [{"a": None, "s": "z"}, {"a": 1, "s": "x"}]


def test_results_enter_every_library() -> None:
    table = rows(pa.table({"a": [1, 2], "s": ["x", None]}))
    assert pl.DataFrame(table).rows() == [(1, "x"), (2, None)]
    assert pd.DataFrame.from_arrow(table)["a"].tolist() == [1, 2]
    assert table.num_rows == 2
    assert table.num_columns == 2
    assert pa.schema(table).names == ["a", "s"]


def test_a_table_streams_out_again_and_again_and_outlives_its_source() -> None:
    table = rows(pa.table({"a": list(range(100))}))
    views = [pa.table(table) for _ in range(3)]
    del table
    gc.collect()
    assert all(view["a"].to_pylist() == list(range(100)) for view in views)


def test_an_unread_stream_is_released() -> None:
    before = pa.total_allocated_bytes()
    table = _native.take(pa.table({"a": np.zeros(10**6)}), pa.array([0], pa.int64()))
    capsule = table.__arrow_c_stream__()
    del table, capsule
    gc.collect()
    assert pa.total_allocated_bytes() <= before


def test_empty_tables() -> None:
    assert pa.table(rows(EVERY_TYPE.slice(0, 0))).equals(EVERY_TYPE.slice(0, 0))
    assert pa.table(rows(EVERY_TYPE.schema.empty_table())).schema == EVERY_TYPE.schema
    assert rows(pa.table({})).num_rows == 0


def test_an_empty_categorical_keeps_its_categories() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.array(["a", "b"]))
    result = pa.table(import_only(Spoilt(column)))  # pyarrow's own stream would skip it
    assert result.column(0).chunk(0).dictionary.to_pylist() == ["a", "b"]


def test_rows_without_columns_are_counted() -> None:
    batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}, {}], pa.struct([])))
    assert _native.take(batch, pa.array([0, 1], pa.int64())).num_rows == 2


def test_dictionaries_that_differ_between_chunks_are_unified() -> None:
    chunks = [["b", "a", None], ["c", "b"], ["a"]]
    column = pa.chunked_array([pa.array(chunk).dictionary_encode() for chunk in chunks])
    result = pa.table(rows(pa.table({"d": column})))["d"]
    assert result.to_pylist() == ["b", "a", None, "c", "b", "a"]
    assert [chunk.dictionary.to_pylist() for chunk in result.chunks] == [["b", "a", "c"]]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int64(), [5, -1, None]),
        (pa.large_string(), ["x", "y" * 20, None]),
        (pa.string_view(), ["x", "y" * 20, None]),
        (pa.bool_(), [True, False, None]),
        (pa.binary(2), [b"ab", b"cd", None]),
    ],
)
def test_dictionaries_of_every_kind_are_unified(kind: pa.DataType, values: list[object]) -> None:
    first = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None]), pa.array(values, kind))
    second = pa.DictionaryArray.from_arrays(pa.array([2, 1, 0, None]), pa.array(values[::-1], kind))
    result = pa.table(rows(pa.table({"d": pa.chunked_array([first, second])})))["d"]
    result.validate(full=True)
    decoded = [values[at] if at is not None else None for at in (0, 1, 2, None, 0, 1, 2, None)]
    assert result.to_pylist() == decoded


def test_a_unified_dictionary_must_fit_its_index_type() -> None:
    kind = pa.dictionary(pa.int8(), pa.int64())
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(range(at, at + 100)))
        for at in (0, 100)
    ]
    with pytest.raises(ValueError, match="200 values, too many for the index type"):
        rows(pa.table({"d": pa.chunked_array(chunks, kind)}))


@pytest.mark.parametrize(
    "array",
    [
        pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [INTS]),
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([1])),
    ],
)
def test_types_that_no_kernel_moves_are_refused(array: pa.Array) -> None:
    with pytest.raises(ValueError, match="is not supported"):
        import_only(pa.table({"x": array}))


def test_what_is_no_table_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"expected a table with .*, got dict"):
        import_only({"a": [1]})


def test_a_failing_stream_tells_why() -> None:
    def batches():
        yield pa.record_batch({"a": [1]})
        raise RuntimeError("the disk is gone")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())
    with pytest.raises(ValueError, match=r"stream failed at its next batch: .*the disk is gone"):
        import_only(reader)


def test_a_misaligned_buffer_is_copied_not_refused() -> None:
    moved = pa.py_buffer(b"\0" + np.arange(4, dtype=np.int64).tobytes()).slice(1)
    array = pa.Array.from_buffers(pa.int64(), 4, [None, moved])
    assert pa.table(rows(pa.table({"a": array})))["a"].to_pylist() == [0, 1, 2, 3]


def test_absent_buffers_of_no_rows_are_legal() -> None:
    for kind in (pa.int64(), pa.string(), pa.bool_(), pa.list_(pa.int8()), pa.string_view()):

        def spoil(array):
            for index in range(array.n_buffers):
                array.buffers[index] = None

        assert import_only(Spoilt(pa.array([], kind), spoil)).num_rows == 0


def test_a_null_views_garbage_is_never_read() -> None:
    def spoil(array):
        view = values_at(array, 1, ctypes.c_int32)
        for index in range(4):
            view[index] = 2**31 - 1

    strings = pa.array([None, "a long string, in a buffer"], pa.string_view())
    result = pa.table(_native.take(Spoilt(strings, spoil), pa.array([0, 1], pa.int64())))
    result.validate(full=True)
    assert result.column(0).to_pylist() == [None, "a long string, in a buffer"]


def test_a_null_index_may_lie_outside_of_its_dictionary() -> None:
    def spoil(array):
        values_at(array, 1, ctypes.c_int32)[1] = 77

    array = pa.array(["a", None]).dictionary_encode()
    hashes = pa.table(_native.hash_rows(Spoilt(array, spoil), [0]))["hash"].to_pylist()
    assert hashes == pa.table(_native.hash_rows(pa.array(["a", None]), [0]))["hash"].to_pylist()


def set_field(name: str, value: int):
    return lambda array: setattr(array, name, value)


def drop_buffer(index: int):
    def spoil(array):
        array.buffers[index] = None

    return spoil


def write(buffer: int, at: int, value: int, kind=ctypes.c_int32):
    def spoil(array):
        values_at(array, buffer, kind)[at] = value

    return spoil


def spoil_child(spoil):
    return lambda array: spoil(array.children[0].contents)


@pytest.mark.parametrize(
    ("array", "spoil", "message"),
    [
        (INTS, set_field("length", -1), "length or offset out of range"),
        (INTS, set_field("offset", -1), "length or offset out of range"),
        (INTS, set_field("length", 2**63 - 1), "length or offset out of range"),
        (INTS, set_field("n_buffers", 1), "wrong number of buffers"),
        (INTS, set_field("n_buffers", 3), "wrong number of buffers"),
        (INTS, set_field("n_children", 1), "wrong number of children"),
        (INTS, drop_buffer(0), "nulls without a bitmap"),
        (INTS, drop_buffer(1), "a buffer is missing"),
        (STRINGS, drop_buffer(1), "a buffer is missing"),
        (STRINGS, drop_buffer(2), "the bytes are missing"),
        (STRINGS, write(1, 0, -5), "its offsets descend"),
        (STRINGS, write(1, 2, 0), "its offsets descend"),
        (VIEWS, drop_buffer(1), "a buffer is missing"),
        (VIEWS, drop_buffer(2), "a data buffer is missing"),
        (VIEWS, drop_buffer(3), "the sizes of its data buffers are missing"),
        (VIEWS, write(1, 0, -1), "a view lies outside"),
        (VIEWS, write(1, 0, 2**31 - 1), "a view lies outside"),
        (VIEWS, write(1, 2, 1), "a view lies outside"),
        (VIEWS, write(1, 2, -1), "a view lies outside"),
        (VIEWS, write(1, 3, 1), "a view lies outside"),
        (VIEWS, write(1, 3, -1), "a view lies outside"),
        (LISTS, write(1, 3, 4), "an offset lies behind its values"),
        (LISTS, write(1, 1, -1), "its offsets descend"),
        (LISTS, spoil_child(set_field("length", 2)), "an offset lies behind its values"),
        (LISTS, set_field("n_children", 0), "wrong number of children"),
        (LIST_VIEWS, write(1, 0, -1), "a list lies outside of its values"),
        (LIST_VIEWS, write(2, 1, -1), "a list lies outside of its values"),
        (LIST_VIEWS, write(1, 1, 2), "a list lies outside of its values"),
        (LIST_VIEWS, write(2, 1, 2**31 - 1), "a list lies outside of its values"),
        (FIXED_LISTS, spoil_child(set_field("length", 3)), "its child is too short"),
        (FIXED_LISTS, set_field("length", 2**46), "its child is too short"),
        (STRUCTS, spoil_child(set_field("length", 1)), "a child is too short"),
        (CATEGORIES, write(1, 0, 2), "an index lies outside of the dictionary"),
        (CATEGORIES, write(1, 0, -1), "an index lies outside of the dictionary"),
    ],
)
def test_malformed_arrays_are_refused(array, spoil, message) -> None:
    fresh = pa.array(array.to_pylist(), array.type)  # what is spoilt must not be shared
    with pytest.raises(ValueError, match=message):
        import_only(Spoilt(fresh, spoil))


def spoil_format(text: bytes):
    return lambda schema: setattr(schema, "format", text)


@pytest.mark.parametrize(
    ("array", "spoil_schema", "message"),
    [
        (INTS, spoil_format(b"?"), "is not supported"),
        (INTS, spoil_format(b""), "is not supported"),
        (INTS, spoil_format(None), "no format"),
        (INTS, spoil_format(b"d:"), "a number is missing"),
        (INTS, spoil_format(b"d:5,2,77"), "a width that Arrow does not define"),
        (INTS, spoil_format(b"w:-1"), "a size out of range"),
        (INTS, spoil_format(b"w:99999999999999999999"), "a number is missing"),
        (INTS, spoil_format(b"+l"), "wrong number of children"),
        (STRUCTS, set_field("n_children", -1), "malformed children"),
        (STRUCTS, set_field("children", None), "malformed children"),
        (STRUCTS, spoil_format(b"l"), "wrong number of children"),
        (INTS, spoil_format(b"+m"), "wrong number of children"),
        (LISTS, spoil_format(b"+m"), "a map's entries are no pairs"),
        (CATEGORIES, spoil_format(b"g"), "cannot be the index of a dictionary"),
    ],
)
def test_malformed_schemas_are_refused(array, spoil_schema, message) -> None:
    with pytest.raises(ValueError, match=message):
        import_only(Spoilt(array, spoil_schema=spoil_schema))


def test_a_type_nested_too_deeply_is_refused() -> None:
    kind = pa.int8()
    for _ in range(80):
        kind = pa.list_(kind)
    with pytest.raises(ValueError, match="nested too deeply"):
        import_only(pa.array([None], kind))


def test_a_table_with_null_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="a table cannot have null rows"):
        import_only(pa.array([{"a": 1}, None]))


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_a_senseless_number_of_threads_is_refused(threads: int) -> None:
    with pytest.raises(ValueError, match="threads must be from 1 to 1024"):
        _native.take(pa.table({"a": [1]}), pa.array([0]), threads)


def test_freed_buffers_are_kept_for_the_next_call_and_given_back_on_request() -> None:
    table = pa.table({"a": np.zeros(10**6, np.int64)})
    rows(table)
    assert 8_000_000 <= _native.pooled_bytes() <= 2**30
    _native.trim_pool()
    assert _native.pooled_bytes() == 0
