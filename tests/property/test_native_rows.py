"""take, partition and messages of any table against plain Python lists and polars."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from elevon import _native
from tests.support.frames import KEYS, columns, in_two_chunks, multiset, plain

KINDS = list(KEYS)

#: Nested types over a few values, each of which Arrow lays out in another way.
NESTED = [
    (pa.list_(pa.int16()), st.lists(st.none() | st.integers(-5, 5), max_size=4)),
    (pa.large_list(pa.string()), st.lists(st.none() | st.text("aé", max_size=20), max_size=3)),
    (pa.list_(pa.bool_(), 2), st.lists(st.booleans(), min_size=2, max_size=2)),
    (pa.list_view(pa.int8()), st.lists(st.integers(0, 3), max_size=3)),
    (
        pa.struct([("p", pa.float32()), ("q", pa.list_(pa.binary()))]),
        st.fixed_dictionaries(
            {
                "p": st.none() | st.sampled_from([1.5, -2.0]),
                "q": st.none() | st.lists(st.binary(max_size=15), max_size=2),
            }
        ),
    ),
    (pa.string_view(), st.text("ab", max_size=30)),
]


@st.composite
def tables(draw: st.DrawFn, max_rows: int = 50) -> pa.Table:
    """A table of up to five columns of any type, in one chunk or two, with offsets."""
    rows = draw(st.integers(0, max_rows))
    named = {}
    for index in range(draw(st.integers(1, 3))):
        named[f"k{index}"] = draw(columns(draw(st.sampled_from(KINDS)), rows))
    for index in range(draw(st.integers(0, 2))):
        kind, values = draw(st.sampled_from(NESTED))
        drawn = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        named[f"n{index}"] = pa.array(drawn, kind)
    table = pa.table(named)
    start = draw(st.integers(0, rows))
    return in_two_chunks(table.slice(start)) if draw(st.booleans()) else table.slice(start)


def listed(table: pa.Table) -> list[tuple[str, ...]]:
    """The rows as text, in which NaN equals itself."""
    names = table.column_names
    return [tuple(repr(plain(row[name])) for name in names) for row in table.to_pylist()]


@given(tables(), st.data(), st.integers(1, 3))
def test_take_gives_the_rows_at_the_positions(table, data, threads) -> None:
    number = table.num_rows
    position = st.integers(0, number - 1) | st.none() if number else st.none()
    positions = data.draw(st.lists(position, max_size=80))
    result = pa.table(_native.take(table, pa.array(positions, pa.int64()), threads))
    result.validate(full=True)
    rows, nothing = listed(table), ("None",) * table.num_columns
    assert listed(result) == [nothing if at is None else rows[at] for at in positions]


@given(tables(), st.data())
def test_what_is_packed_is_unpacked(table, data) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, table.num_rows), max_size=3)))
    messages = _native.pack_slices(table, [0, *cuts, table.num_rows])
    result = pa.table(_native.unpack(table.schema, messages))
    result.validate(full=True)
    assert listed(result) == listed(table)


@given(tables(), st.data(), st.integers(1, 3))
def test_partition_keeps_all_rows_equal_keys_together_and_the_order(table, data, threads) -> None:
    keys = [index for index, name in enumerate(table.column_names) if name.startswith("k")]
    count = data.draw(st.sampled_from([1, 2, 3, 8, 11]))
    table = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    homes: dict[tuple[str, ...], int] = {}
    seen: list[tuple[str, ...]] = []
    for home, message in enumerate(_native.partition(table, keys, count, threads)):
        part = pa.table(_native.unpack(table.schema, [message]))
        part.validate(full=True)
        assert part["row"].to_pylist() == sorted(part["row"].to_pylist())
        seen += listed(part)
        for row in listed(part.select(keys)):
            assert homes.setdefault(row, home) == home
    assert sorted(seen) == sorted(listed(table))


@given(tables(), st.integers(1, 3))
def test_polars_reads_what_we_write_and_we_read_what_polars_writes(table, threads) -> None:
    # polars has no list views, and trips over pyarrow's slices of fixed-size lists.
    foreign = ("list_view", "fixed_size_list")
    table = table.drop([f.name for f in table.schema if str(f.type).startswith(foreign)])
    if table.num_columns == 0:
        return
    there = pl.DataFrame(_native.take(table, pa.array(range(table.num_rows)), threads))
    back = pa.table(_native.take(there, pa.array(range(table.num_rows), pa.int64()), threads))
    assert listed(back) == listed(pa.table(pl.DataFrame(table)))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200), st.integers(2, 9))
def test_messages_number_their_rows(values, count) -> None:
    table = pa.table({"k": pa.array(values, pa.uint64())})
    messages = _native.partition(table, [0], count)
    assert sum(message.num_rows for message in messages) == len(values)
    found = pa.table(_native.unpack(table.schema, messages))
    assert multiset(found) == multiset(table)
    assert np.array_equal(np.sort(found["k"].to_numpy()), np.sort(table["k"].to_numpy()))
