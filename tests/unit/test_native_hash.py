"""The hash of key rows: pinned, by value, well mixed."""

from __future__ import annotations

import decimal
import math

import numpy as np
import pyarrow as pa
import pytest

from elevon import _native, frames
from elevon.errors import SchemaError
from tests.support.native import EVERY_TYPE, scattered

NULL = 6781935837989979437


def hashes(*columns: pa.Array | pa.ChunkedArray, threads: int = 1) -> list[int]:
    table = pa.table({str(index): column for index, column in enumerate(columns)})
    found = pa.table(_native.hash_rows(table, range(len(columns)), threads))
    assert found.schema.names == ["hash"]
    return found["hash"].to_pylist()


# Ranks of different versions may meet, and partitions on disk outlive a version: a change of the
# hash is a decision (and a new version of the message), not an accident.
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            [pa.array([0, 1, -1, 2**62, None])],
            [
                61407299762524204,
                2283051591479927121,
                12941147795746384033,
                9923670466366290227,
                NULL,
            ],
        ),
        (
            [pa.array([0.0, 1.5, math.nan, -math.inf, None])],
            [
                61407299762524204,
                1900542935677882973,
                17543993627201944818,
                17603274566401957230,
                NULL,
            ],
        ),
        ([pa.array([False, True, None])], [61407299762524204, 2283051591479927121, NULL]),
        (
            [pa.array(["", "a", "abcd", "abcdefgh", "abcdefghijklmnopq", "x" * 100, None])],
            [
                773385617903589094,
                184408272851392066,
                13919737987905483944,
                476699242591860330,
                1205289427709156085,
                13307351156157826877,
                NULL,
            ],
        ),
        (
            [pa.array([decimal.Decimal(10**30), None], pa.decimal128(38, 0))],
            [14395934451243481371, NULL],
        ),
        (
            [pa.array([1, 2, None]), pa.array(["a", None, None])],
            [4054831539365479823, 1027091453589937407, 3231536404994434328],
        ),
    ],
)
def test_golden_hashes(columns: list[pa.Array], expected: list[int]) -> None:
    assert hashes(*columns) == expected


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.date32(), pa.timestamp("s"), pa.time64("ns"), pa.duration("ms")),
        pa.decimal128(30, 0),
    ],
)
def test_whole_numbers_hash_alike_in_every_form(kind: pa.DataType) -> None:
    numbers = pa.array([0, 1, 100, None], pa.int64())
    assert hashes(numbers.cast(_storage(kind)).cast(kind)) == hashes(numbers)
    assert hashes(numbers.dictionary_encode()) == hashes(numbers)


def _storage(kind: pa.DataType) -> pa.DataType:
    """What int64 has to become before it can be cast to ``kind``."""
    return pa.int32() if kind.bit_width == 32 else pa.int64()


def test_negative_numbers_hash_alike_in_every_width() -> None:
    numbers = pa.array([-1, -128, None], pa.int64())
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.decimal128(30, 0)):
        assert hashes(numbers.cast(kind)) == hashes(numbers)


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()),
        pa.dictionary(pa.int32(), pa.string()),
    ],
)
def test_strings_hash_alike_in_every_form(kind: pa.DataType) -> None:
    strings = pa.array(["", "a", "twelve bytes", "thirteen byte", "x" * 99, None])
    if pa.types.is_dictionary(kind):
        assert hashes(strings.dictionary_encode()) == hashes(strings)
    else:
        assert hashes(strings.cast(kind)) == hashes(strings)


def test_floats_hash_alike_in_every_width_with_one_zero_and_one_nan() -> None:
    other_nan = np.array([0x7FF8000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    doubles = pa.array([0.0, -0.0, math.nan, *other_nan, 1.5, math.inf, None])
    found = hashes(doubles)
    assert found[0] == found[1]
    assert found[2] == found[3] == found[4]
    assert len(set(found)) == 5
    assert hashes(doubles.cast(pa.float32())) == found
    assert hashes(doubles.cast(pa.float16())) == found


def test_half_numbers_of_every_kind_convert_exactly() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    found = hashes(pa.array(halves))
    assert found == hashes(pa.array(halves.astype(np.float64)))


def test_a_null_entry_of_a_dictionary_is_a_null() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", None]))
    assert hashes(column)[1:] == [NULL, NULL]


def test_chunks_slices_and_threads_do_not_matter() -> None:
    keys = [name for name in EVERY_TYPE.column_names if _hashable(EVERY_TYPE[name].type)]
    table = scattered(EVERY_TYPE.select(keys), copies=5000)
    expected = hashes(*EVERY_TYPE.select(keys).columns)
    order = pa.table(scattered(pa.table({"row": [0, 1, 2, 3]}), copies=5000))["row"].to_pylist()
    for threads in (1, 2, 3):
        assert hashes(*table.columns, threads=threads) == [expected[row] for row in order]


def _hashable(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_run_end_encoded(kind))


def test_the_order_of_columns_matters() -> None:
    one, two = pa.array([1, 2]), pa.array([2, 1])
    assert hashes(one, two) != hashes(two, one)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(1 << 16),
        np.arange(1 << 16) << 32,
        np.arange(1 << 16) * 1024,
        np.arange(1 << 16).astype(np.float64),
    ],
)
def test_regular_keys_spread_evenly_by_high_and_by_low_bits(values: np.ndarray) -> None:
    found = np.array(hashes(pa.array(values)), np.uint64)
    assert len(np.unique(found)) == len(values)
    for bits in (found >> np.uint64(56), found & np.uint64(255)):
        counts = np.bincount(bits.astype(np.int64), minlength=256)
        # 256 rows per bucket with a deviation of 16: six of them happen once in 10^8 draws.
        assert abs(counts - 256).max() < 6 * 16


@pytest.mark.parametrize("name", ["list", "struct", "map", "fixed_list"])
def test_nested_keys_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"column '0' of type .*{name.split('_')[-1]}"):
        hashes(EVERY_TYPE[name])


def test_missing_columns_are_refused() -> None:
    table = pa.table({"a": [1]})
    with pytest.raises(ValueError, match="at least one column"):
        _native.hash_rows(table, [])
    with pytest.raises(ValueError, match="no column 1 in a table of 1"):
        _native.hash_rows(table, [1])
    with pytest.raises(ValueError, match="no column -1"):
        _native.hash_rows(table, [-1])


def test_the_public_form_takes_names_and_any_table() -> None:
    table = pa.table({"k": [0, 1, -1], "v": ["a", "b", "c"]})

    assert frames.hash_rows(table, on="k").to_pylist()[0] == 61407299762524204
    whole = frames.hash_rows(table).to_pylist()
    assert whole == hashes(table["k"], table["v"])
    assert frames.hash_rows(table.to_pandas(), threads=2).to_pylist() == whole
    with pytest.raises(SchemaError, match="'w'"):
        frames.hash_rows(table, on=["w"])
