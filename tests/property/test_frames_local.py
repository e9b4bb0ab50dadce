"""elevon.frames.join and sort against DuckDB and polars, with keys of unlike types too."""

from __future__ import annotations

import duckdb
import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from elevon import frames
from tests.support.frames import KEYS, columns, in_two_chunks, multiset

DUCKDB = duckdb.connect()
HOWS = ["inner", "left", "right", "outer", "semi", "anti"]

#: Pairs that share a type, and that DuckDB compares without loss as well.
UNLIKE = [
    (pa.int8(), pa.int64()),
    (pa.uint8(), pa.int8()),
    (pa.uint32(), pa.int32()),
    (pa.uint64(), pa.int64()),
    (pa.float32(), pa.float64()),
    (pa.int32(), pa.float64()),
    (pa.string(), pa.large_string()),
    (pa.dictionary(pa.int8(), pa.string()), pa.string()),
    (pa.timestamp("s"), pa.timestamp("us")),
    (pa.decimal128(10, 2), pa.int16()),
]
PAIRS = [*UNLIKE, *((kind, kind) for kind in KEYS)]

DUCKDB_JOINS = {
    "inner": "SELECT l.*, r.* FROM l JOIN r ON {on}",
    "left": "SELECT l.*, r.* FROM l LEFT JOIN r ON {on}",
    "right": "SELECT l.*, r.* FROM l RIGHT JOIN r ON {on}",
    "outer": "SELECT l.*, r.* FROM l FULL JOIN r ON {on}",
    "semi": "SELECT l.* FROM l WHERE EXISTS (SELECT 1 FROM r WHERE {on})",
    "anti": "SELECT l.* FROM l WHERE NOT EXISTS (SELECT 1 FROM r WHERE {on})",
}


@st.composite
def tables(draw: st.DrawFn, kinds: list[pa.DataType], prefix: str, max_rows: int = 25) -> pa.Table:
    """Key columns and the row's number, sliced and in chunks; rows are known by their number."""
    rows = draw(st.integers(0, max_rows))
    named = {f"{prefix}k{i}": draw(columns(kind, rows)) for i, kind in enumerate(kinds)}
    return in_two_chunks(pa.table({**named, f"{prefix}row": pa.array(range(rows), pa.int64())}))


@given(
    st.data(),
    st.lists(st.sampled_from(PAIRS), min_size=1, max_size=2),
    st.sampled_from(HOWS),
    st.booleans(),
    st.integers(1, 3),
)
def test_join_finds_the_pairs_that_duckdb_finds(data, pairs, how, nulls_equal, threads) -> None:
    left = data.draw(tables([pair[0] for pair in pairs], "l"))
    right = data.draw(tables([pair[1] for pair in pairs], "r"))
    left_on, right_on = ([f"{side}k{i}" for i in range(len(pairs))] for side in "lr")
    result = frames.join(
        left,
        right,
        left_on=left_on,
        right_on=right_on,
        how=how,
        nulls_equal=nulls_equal,
        threads=threads,
    )
    result.validate(full=True)
    DUCKDB.register("l", left)
    DUCKDB.register("r", right)
    test = "IS NOT DISTINCT FROM" if nulls_equal else "="
    on = " AND ".join(f"l.{a} {test} r.{b}" for a, b in zip(left_on, right_on, strict=True))
    expected = DUCKDB.sql(DUCKDB_JOINS[how].format(on=on)).to_arrow_table()
    assert result.column_names == expected.column_names
    numbers = [name for name in ("lrow", "rrow") if name in result.column_names]
    assert multiset(result.select(numbers)) == multiset(expected.select(numbers))


@given(st.data(), st.sampled_from(list(KEYS)), st.sampled_from(HOWS[:4]), st.booleans())
def test_a_key_of_one_name_is_there_once_with_the_values_of_both(
    data, kind, how, nulls_equal
) -> None:
    left = data.draw(tables([kind], "l")).rename_columns(["k", "lrow"])
    right = data.draw(tables([kind], "r")).rename_columns(["k", "rrow"])
    result = frames.join(left, right, on="k", how=how, nulls_equal=nulls_equal)
    assert result.column_names == ["k", "lrow", "rrow"]
    left_keys, right_keys = (dict(enumerate(table["k"].to_pylist())) for table in (left, right))
    for key, left_row, right_row in zip(*(column.to_pylist() for column in result), strict=True):
        there = left_keys[left_row] if left_row is not None else right_keys[right_row]
        assert repr(key) == repr(there)


@given(
    st.data(),
    st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=3),
    st.sampled_from(["first", "last"]),
    st.integers(1, 3),
)
def test_sort_orders_rows_as_polars_does(data, kinds, na_position, threads) -> None:
    table = data.draw(tables(kinds, ""))
    names = [f"k{i}" for i in range(len(kinds))]
    ascending = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    result = frames.sort(table, names, ascending, na_position, threads)
    result.validate(full=True)
    assert result.schema == table.schema
    assert result["row"].to_pylist() == by_polars(table, names, ascending, na_position)


def by_polars(
    table: pa.Table, names: list[str], ascending: list[bool], na_position: str
) -> list[int]:
    """The order of rows, from keys that say outright where nulls and NaN go."""
    frame = pl.DataFrame({name: pl.Series(_decoded(table[name])) for name in table.column_names})
    last = na_position == "last"
    keys, descending = [], []
    for name, up in zip(names, ascending, strict=True):
        missing = pl.col(name).is_null().cast(pl.Int8) * 2
        if frame[name].dtype.is_float():
            missing += pl.col(name).is_nan().fill_null(False).cast(pl.Int8)
            values = pl.col(name).fill_nan(0.0).fill_null(0.0) + 0.0
        else:
            values = pl.col(name)
        keys += [missing, values]
        descending += [not last, not up]
    order = frame.sort(keys, descending=descending, nulls_last=True, maintain_order=True)
    return order["row"].to_list()


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionaries as their values: polars would sort by the entry's number."""
    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column
