"""Rows of a table by their positions, for every type, chunking and number of threads."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from elevon import _native
from tests.support.native import EVERY_TYPE, scattered


def taken(table: object, positions: list[int | None], threads: int = 1) -> pa.Table:
    result = pa.table(_native.take(table, pa.array(positions, pa.int64()), threads))
    result.validate(full=True)
    return result


def by_hand(table: pa.Table, positions: list[int | None]) -> list[dict[str, object]]:
    rows = table.to_pylist()
    nothing = dict.fromkeys(table.column_names)
    return [nothing if at is None else rows[at] for at in positions]


@pytest.mark.parametrize("chunked", [False, True])
def test_every_type(chunked: bool) -> None:
    table = scattered(EVERY_TYPE) if chunked else EVERY_TYPE
    positions = [3, 0, None, 2, 2, 1, None, table.num_rows - 1]
    assert taken(table, positions).to_pylist() == by_hand(table, positions)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_rows_of_every_type(threads: int) -> None:
    table = scattered(EVERY_TYPE, copies=64)
    drawn = random.Random(7).choices([*range(table.num_rows), None], k=60_000)
    rows = table.to_pylist()
    result = taken(table, drawn, threads)
    assert result.schema.types == table.schema.types
    for name in table.column_names:
        values = [None if at is None else rows[at][name] for at in drawn]
        assert result[name].to_pylist() == values, name


def test_no_positions_and_no_rows() -> None:
    assert taken(EVERY_TYPE, []).equals(EVERY_TYPE.slice(0, 0))
    assert taken(EVERY_TYPE.slice(0, 0), [None]).to_pylist() == by_hand(EVERY_TYPE, [None])


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"])
def test_positions_of_every_integer_type(kind: str) -> None:
    positions = pa.array([2, None, 0]).cast(kind)
    result = pa.table(_native.take(pa.table({"a": [10, 11, 12]}), positions))
    assert result["a"].to_pylist() == [12, None, 10]


def test_positions_of_the_null_type() -> None:
    table = pa.table({"a": [10]})
    assert pa.table(_native.take(table, pa.array([], pa.null()))).num_rows == 0
    assert pa.table(_native.take(table, pa.nulls(2)))["a"].to_pylist() == [None, None]


def test_positions_in_chunks_or_in_a_table() -> None:
    table = pa.table({"a": [10, 11, 12]})
    chunks = pa.chunked_array([[2], [], [0, 1]], pa.int64())
    for positions in (chunks, pa.table({"position": chunks})):
        assert pa.table(_native.take(table, positions))["a"].to_pylist() == [12, 10, 11]


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (pa.array([3]), "index 3 is out of range for 3 rows"),
        (pa.array([-1]), "index -1 is out of range"),
        (pa.array([2**64 - 1], pa.uint64()), "is out of range"),
        (pa.array([0.5]), "indices must be integers, not float64"),
        (pa.table({"a": [1], "b": [1]}), "one column of indices, got 2"),
    ],
)
def test_wrong_positions_are_refused(positions: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _native.take(pa.table({"a": [10, 11, 12]}), positions)


def test_views_of_a_result_share_the_bytes_of_its_source() -> None:
    strings = pa.array(["long enough not to be inline"] * 1000, pa.string_view())
    result = taken(pa.table({"s": strings}), [5, 6])["s"].chunk(0)
    assert result.buffers()[2].address == strings.buffers()[2].address


@pytest.mark.slow
def test_what_outgrows_32_bit_offsets_comes_in_several_chunks() -> None:
    """2.5 GiB of strings from 1 MiB: the result's type stays utf8."""
    table = pa.table({"s": ["x" * (1 << 20), None], "n": [1, 2]})
    positions = np.zeros(2560, np.int64)
    positions[1] = 1
    result = pa.table(_native.take(table, pa.array(positions), 2))
    assert result["s"].type == pa.string()
    assert result["s"].num_chunks > 1
    assert result.num_rows == 2560
    assert result["s"][0].as_py() == result["s"][2559].as_py() == "x" * (1 << 20)
    assert result["s"].null_count == 1
    assert result["n"].to_pylist() == [1, 2, *[1] * 2558]
