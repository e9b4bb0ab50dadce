"""Packed messages: what is packed is unpacked, and nothing else is believed."""

from __future__ import annotations

import gc
import random
import struct

import numpy as np
import pyarrow as pa
import pytest

from elevon import _native
from tests.support.native import EVERY_TYPE, scattered

HEADER = struct.Struct("<Qqqqq24x")
NODE = struct.Struct("<qqq")
BUFFER = struct.Struct("<qq")


def packed(table: pa.Table) -> bytearray:
    """The whole table as one message, to be spoilt."""
    return bytearray(_native.pack_slices(table, [0, table.num_rows])[0])


def unpacked(schema: pa.Schema, *messages: object) -> pa.Table:
    result = pa.table(_native.unpack(schema, messages))
    result.validate(full=True)
    return result


@pytest.mark.parametrize("chunked", [False, True])
def test_every_type_survives(chunked: bool) -> None:
    table = scattered(EVERY_TYPE, copies=50) if chunked else EVERY_TYPE
    rows = table.num_rows
    messages = _native.pack_slices(table, [0, 1, rows // 2, rows // 2, rows])
    assert [message.num_rows for message in messages] == [1, rows // 2 - 1, 0, rows - rows // 2]
    assert unpacked(table.schema, *messages).equals(table)


def test_bounds_need_not_cover_the_table() -> None:
    table = pa.table({"a": list(range(10))})
    assert unpacked(table.schema, *_native.pack_slices(table, [3, 5])).equals(table.slice(3, 2))
    assert _native.pack_slices(table, [4]) == []


@pytest.mark.parametrize("bounds", [[], [-1, 2], [2, 1], [0, 11]])
def test_wrong_bounds_are_refused(bounds: list[int]) -> None:
    with pytest.raises(ValueError, match="bound"):
        _native.pack_slices(pa.table({"a": list(range(10))}), bounds)


def test_a_message_is_a_read_only_buffer_of_whole_cache_lines() -> None:
    [message] = _native.pack_slices(EVERY_TYPE, [0, 4])
    view = memoryview(message)
    assert view.readonly
    assert view.nbytes == message.nbytes
    assert view.nbytes % 64 == 0
    assert np.frombuffer(message, np.uint8).ctypes.data % 64 == 0


def test_a_message_holds_only_the_rows_it_was_asked_for() -> None:
    table = pa.table({"s": ["x" * 1000] * 1000, "l": [[1] * 100] * 1000})
    [message] = _native.pack_slices(table, [500, 502])
    assert message.nbytes < 5000


def test_idle_entries_of_a_large_dictionary_stay_behind() -> None:
    words = pa.array([f"word {number}" for number in range(10_000)])
    column = pa.DictionaryArray.from_arrays(pa.array([5, 9_999, None, 5], pa.int32()), words)
    table = pa.table({"d": pa.chunked_array([column.slice(1), column])})
    [message] = _native.pack_slices(table, [0, 7])
    assert message.nbytes < 1000
    result = unpacked(table.schema, message)
    assert result.to_pylist() == table.to_pylist()
    assert result["d"].chunk(0).dictionary.to_pylist() == ["word 5", "word 9999"]


def test_idle_entries_of_a_few_long_ones_stay_behind() -> None:
    words = pa.array(["x" * 10_000, "y" * 10_000, "z", None])
    column = pa.DictionaryArray.from_arrays(pa.array([2, None, 2, 3], pa.int8()), words)
    table = pa.table({"d": column})
    [message] = _native.pack_slices(table, [0, 4])
    assert message.nbytes == _native.packed_bytes(table) < 1000
    assert unpacked(table.schema, message).to_pylist() == table.to_pylist()


@pytest.mark.parametrize("chunked", [False, True])
def test_the_bytes_of_a_message_are_known_before_it_is_packed(chunked: bool) -> None:
    table = scattered(EVERY_TYPE, copies=20) if chunked else EVERY_TYPE
    for rows in (table, table.slice(1, 2), table.slice(0, 0)):
        [message] = _native.pack_slices(rows, [0, rows.num_rows])
        assert _native.packed_bytes(rows) == message.nbytes


def test_unpacking_copies_nothing_and_keeps_the_messages_alive() -> None:
    table = pa.table({"a": np.arange(100_000)})
    [message] = _native.pack_slices(table, [0, 100_000])
    received = np.frombuffer(message, np.uint8).copy()
    start, size = received.ctypes.data, received.nbytes
    result = pa.table(_native.unpack(table.schema, [received]))
    del received, message
    gc.collect()
    assert start <= result["a"].chunk(0).buffers()[1].address < start + size
    assert result.equals(table)


@pytest.mark.parametrize("shift", range(1, 8))
def test_a_misaligned_message_is_copied(shift: int) -> None:
    message = packed(EVERY_TYPE)
    moved = memoryview(b"\0" * shift + message)[shift:]
    assert unpacked(EVERY_TYPE.schema, moved).equals(EVERY_TYPE)


def test_messages_from_many_kinds_of_buffers() -> None:
    table = pa.table({"a": [1, 2]})
    message = packed(table)
    for buffer in (bytes(message), message, memoryview(message), np.frombuffer(message, np.uint8)):
        assert unpacked(table.schema, buffer).equals(table)


def test_no_messages_and_empty_messages() -> None:
    empty = packed(EVERY_TYPE.slice(0, 0))
    assert unpacked(EVERY_TYPE.schema).equals(EVERY_TYPE.slice(0, 0))
    assert unpacked(EVERY_TYPE.schema, empty, empty).equals(EVERY_TYPE.slice(0, 0))
    assert unpacked(EVERY_TYPE.schema, empty, packed(EVERY_TYPE)).equals(EVERY_TYPE)


def test_a_table_without_columns_keeps_its_rows() -> None:
    batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}, {}], pa.struct([])))
    [message] = _native.pack_slices(batch, [0, 2])
    assert _native.unpack(batch.schema, [message]).num_rows == 2


def test_messages_of_different_dictionaries_give_one() -> None:
    first, second = (pa.table({"d": pa.array(text).dictionary_encode()}) for text in ("ab", "ca"))
    result = unpacked(first.schema, packed(first), packed(second))
    assert result["d"].to_pylist() == ["a", "b", "c", "a"]


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        (pa.schema([("a", pa.int64()), ("b", pa.int64())]), "holds less than the schema says"),
        (pa.schema([]), "holds more than the schema says"),
        (pa.schema([("a", pa.string())]), "holds less than the schema says"),
        (pa.schema([("a", pa.decimal128(9, 1))]), "a buffer is shorter than its rows"),
    ],
)
def test_another_schema_is_refused(schema: pa.Schema, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        _native.unpack(schema, [packed(pa.table({"a": [1, 2]}))])


def spoilt(table: pa.Table, offset: int, number: int) -> bytearray:
    """The table's message with one 64-bit number overwritten."""
    message = packed(table)
    struct.pack_into("<q", message, offset, number)
    return message


def place(table: pa.Table, buffer: int) -> int:
    """Where the bytes of a buffer begin in the table's message."""
    message = packed(table)
    nodes = HEADER.unpack_from(message)[3]
    return BUFFER.unpack_from(message, HEADER.size + nodes * NODE.size + buffer * BUFFER.size)[0]


INTS = pa.table({"a": pa.array([1, None])})
STRINGS = pa.table({"s": ["ab", "c"]})
VIEWS = pa.table({"v": pa.array(["long enough not to be inline", ""], pa.string_view())})
LISTS = pa.table({"l": [[1], [2, 3]]})
CATEGORIES = pa.table({"d": pa.array(["a", "b"]).dictionary_encode()})
ENTRY = HEADER.size + NODE.size  # of the first buffer, where there is one node


@pytest.mark.parametrize(
    ("table", "offset", "number", "error"),
    [
        (INTS, 0, 0, "not a message of this version"),
        (INTS, 8, 0, "its length is wrong"),
        (INTS, 8, 2**40, "its length is wrong"),
        (INTS, 8, 100, "its length is wrong"),
        (INTS, 16, -1, "its rows are out of range"),
        (INTS, 16, 1, "a column has not the frame's rows"),
        (INTS, 24, -1, "its tables are longer than it is"),
        (INTS, 24, 2**60, "its tables are longer than it is"),
        (INTS, 24, 0, "holds less than the schema says"),
        (INTS, 32, -1, "its tables are longer than it is"),
        (INTS, 32, 2**60, "its tables are longer than it is"),
        (INTS, 32, 1, "holds less than the schema says"),
        (INTS, 64, -1, "a length is out of range"),
        (INTS, 64, 2**62, "a length is out of range"),
        (INTS, 72, 3, "a length is out of range"),
        (INTS, 80, -1, "a length is out of range"),
        (INTS, ENTRY, -8, "a buffer lies outside of it"),
        (INTS, ENTRY, 4, "a buffer lies outside of it"),
        (INTS, ENTRY, 2**62, "a buffer lies outside of it"),
        (INTS, ENTRY + 8, -1, "a buffer lies outside of it"),
        (INTS, ENTRY + 8, 2**63 - 1, "a buffer lies outside of it"),
        (INTS, ENTRY + 8, 0, "a buffer is shorter than its rows"),
        (STRINGS, place(STRINGS, 1) + 8, 2**31 - 1, "a string ends behind its bytes"),
        (STRINGS, place(STRINGS, 1), -1, "its offsets descend"),
        (VIEWS, place(VIEWS, 1) + 8, 2**31, "a view lies outside"),
        (VIEWS, place(VIEWS, 1) + 8, 1, "a view lies outside"),
        (LISTS, place(LISTS, 1) + 8, 2**31 - 1, "an offset lies behind its values"),
        (CATEGORIES, place(CATEGORIES, 1), 2, "an index lies outside of the dictionary"),
    ],
)
def test_malformed_messages_are_refused(table, offset, number, error) -> None:
    with pytest.raises(ValueError, match=error):
        _native.unpack(table.schema, [spoilt(table, offset, number)])


@pytest.mark.parametrize("size", [0, 1, 63, 64, 128])
def test_cut_messages_are_refused(size: int) -> None:
    message = packed(EVERY_TYPE)
    with pytest.raises(ValueError, match="malformed packed message"):
        _native.unpack(EVERY_TYPE.schema, [message[:size]])
    with pytest.raises(ValueError, match="malformed packed message"):
        _native.unpack(EVERY_TYPE.schema, [message[: len(message) - max(size, 64)]])


def test_random_damage_never_crashes() -> None:
    """Each damaged message is refused, or gives a table whose rows can all be read."""
    table = scattered(EVERY_TYPE, copies=3)
    message = packed(table)
    dice = random.Random(11)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(message)
        for _ in range(dice.choice([1, 1, 2, 8])):
            at = dice.randrange(0, len(damaged) - 8, dice.choice([1, 8]))
            value = dice.choice(
                [0, 1, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1, dice.getrandbits(64)]
            )
            struct.pack_into("<Q", damaged, at, value)
        try:
            result = _native.unpack(table.schema, [damaged])
        except ValueError:
            refused += 1
        else:
            positions = pa.array(range(result.num_rows), pa.int64())
            taken = pa.table(_native.take(result, positions))
            assert taken.num_rows == result.num_rows == table.num_rows
    assert 100 < refused < 2900


def test_what_is_no_buffer_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        _native.unpack(INTS.schema, [object()])
    with pytest.raises(TypeError, match="expected a schema with __arrow_c_schema__"):
        _native.unpack({"a": "int64"}, [])
