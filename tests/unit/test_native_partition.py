"""Hash partition: rows go where their hash says, all of them, in their order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elevon import _native
from tests.support.native import EVERY_TYPE, scattered


def partitioned(
    table: pa.Table, columns: list[int], partitions: int, threads: int = 1
) -> list[pa.Table]:
    parts = []
    for message in _native.partition(table, columns, partitions, threads):
        part = pa.table(_native.unpack(table.schema, [message]))
        part.validate(full=True)
        assert message.num_rows == part.num_rows
        parts.append(part)
    return parts


def numbered(table: pa.Table, columns: list[int], partitions: int) -> np.ndarray:
    """The partition of every row, from its hash."""
    hashes = pa.table(_native.hash_rows(table, columns))["hash"].to_numpy()
    return ((hashes >> np.uint64(32)) * np.uint64(partitions)) >> np.uint64(32)


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 8, 9, 100, 1000])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_type_goes_where_its_hash_says(partitions: int, threads: int) -> None:
    table = scattered(EVERY_TYPE, copies=40)
    row = pa.array(range(table.num_rows), pa.int64())
    table = table.append_column("row", row)
    keys = [table.column_names.index(name) for name in ("utf8", "int64", "row")]
    numbers = numbered(table, keys, partitions)
    rows = table.to_pylist()
    for number, part in enumerate(partitioned(table, keys, partitions, threads)):
        assert part.to_pylist() == [rows[at] for at in np.flatnonzero(numbers == number)]


@pytest.mark.parametrize("partitions", [2, 4, 8, 16, 300])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_rows(partitions: int, threads: int) -> None:
    """Enough rows for several blocks of every worker, in each way of moving values."""
    rng = np.random.default_rng(3)
    rows = 150_000
    floats = pa.array(rng.random(rows), mask=rng.random(rows) < 0.1)
    strings = pa.array(rng.integers(0, 10**6, rows).astype(str))
    table = pa.table(
        {
            "key": rng.integers(0, 1000, rows),
            "narrow": rng.integers(0, 1000, rows).astype(np.int32),
            "tiny": rng.integers(0, 100, rows).astype(np.int8),
            "float": floats,
            "bool": pa.array(rng.random(rows) < 0.5, mask=rng.random(rows) < 0.1),
            "string": strings,
            "long": pc.binary_join_element_wise("longer than a view", strings, " "),
        }
    )
    views = table["long"].cast(pa.string_view())
    table = table.append_column("view", views)
    table = pa.concat_tables([table.slice(100_000), table.slice(0, 100_000)])
    numbers = numbered(table, [0], partitions)
    for number, part in enumerate(partitioned(table, [0], partitions, threads)):
        expected = table.drop(["view"]).filter(pa.array(numbers == number)).combine_chunks()
        assert part.drop(["view"]).equals(expected)
        assert part["view"].cast(pa.string()).equals(expected["long"])  # pyarrow cannot filter it


def test_all_keys_equal_leaves_the_other_partitions_empty() -> None:
    table = pa.table({"key": [5] * 50_000, "row": list(range(50_000))})
    sizes = sorted(part.num_rows for part in partitioned(table, [0], 4, 2))
    assert sizes == [0, 0, 0, 50_000]


def test_null_keys_stay_together() -> None:
    table = pa.table({"key": pa.nulls(100, pa.string()), "row": list(range(100))})
    assert sorted(part.num_rows for part in partitioned(table, [0], 8)) == [0] * 7 + [100]


def test_tables_without_rows() -> None:
    for part in partitioned(EVERY_TYPE.slice(0, 0), [0], 3):
        assert part.equals(EVERY_TYPE.slice(0, 0))


def test_messages_have_the_exact_size() -> None:
    table = pa.table({"key": np.arange(10_000)})
    for message in _native.partition(table, [0], 4):
        assert message.nbytes <= message.num_rows * 8 + 64 * 4


@pytest.mark.parametrize(
    ("columns", "partitions", "error"),
    [
        ([], 2, "at least one key column"),
        ([1], 2, "no column 1 in a table of 1"),
        ([0], 0, "partitions must be from 1 to 65536, not 0"),
        ([0], 65537, "partitions must be from 1 to 65536"),
    ],
)
def test_wrong_requests_are_refused(columns: list[int], partitions: int, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        _native.partition(pa.table({"a": [1]}), columns, partitions)


@pytest.mark.parametrize("partitions", [1, 2, 9])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_type_goes_where_its_number_says(partitions: int, threads: int) -> None:
    table = scattered(EVERY_TYPE, copies=40)
    given = np.random.default_rng(5).integers(0, partitions, table.num_rows).astype(np.uint16)
    messages = _native.partition_numbered(table, given, partitions, threads)
    parts = [pa.table(_native.unpack(table.schema, [message])) for message in messages]
    rows = table.to_pylist()
    for number, part in enumerate(parts):
        part.validate(full=True)
        assert part.to_pylist() == [rows[at] for at in np.flatnonzero(given == number)]


@pytest.mark.parametrize(
    ("numbers", "partitions", "error"),
    [
        (np.zeros(3, np.uint16), 2, "there are 3 numbers for 2 rows"),
        (np.array([0, 2], np.uint16), 2, "a row's number is not below 2"),
        (np.zeros(2, np.uint16), 0, "partitions must be from 1 to 65536, not 0"),
        (np.zeros(2, np.int32), 2, "one contiguous dimension of uint16"),
        (np.zeros((2, 1), np.uint16), 2, "one contiguous dimension of uint16"),
        (np.zeros(4, np.uint16)[::2], 2, "one contiguous dimension of uint16"),
    ],
)
def test_wrong_numbers_are_refused(numbers: np.ndarray, partitions: int, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        _native.partition_numbered(pa.table({"a": [1, 2]}), numbers, partitions)


def test_the_most_partitions() -> None:
    table = pa.table({"key": np.arange(200_000)})
    messages = _native.partition(table, [0], 65536, 2)
    assert sum(message.num_rows for message in messages) == 200_000


@pytest.mark.slow
def test_what_outgrows_32_bit_offsets_travels_in_several_frames() -> None:
    """2.5 GiB of strings by way of 40 chunks that share their bytes."""
    chunk = pa.table({"key": list(range(64)), "s": ["x" * (1 << 20)] * 64})
    table = pa.concat_tables([chunk] * 40)
    messages = _native.partition(table, [0], 2, 2)
    assert sum(message.nbytes for message in messages) > 2**31
    result = pa.table(_native.unpack(table.schema, messages))
    assert result.num_rows == 2560
    assert sorted(result["key"].to_pylist()) == sorted(table["key"].to_pylist())
    assert result["s"][0].as_py() == result["s"][2559].as_py() == "x" * (1 << 20)
    [whole] = _native.pack_slices(table, [0, 2560])
    assert whole.nbytes > 2**31
    assert pa.table(_native.unpack(table.schema, [whole]))["key"].equals(table["key"])
