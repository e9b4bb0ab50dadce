"""The hash join kernel against DuckDB and against nested loops: types, kinds, and every plan."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections import Counter

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon import _native
from tests.support.frames import KEYS, columns, in_two_chunks, multiset, plain

HOWS = ["inner", "left", "right", "outer", "semi", "anti"]
DUCKDB = duckdb.connect()

# Decimals beyond 64 bits and strings beyond 7 bytes have no exact codes; neither have two columns
# whose ranges do not fit 64 bits together.
_WIDE = [decimal.Decimal(text) for text in ("0", "-1", "9" * 30, "-" + "9" * 30)]
_BYTES = [b"\0" * 16, b"\xff" * 16, b"abcdefgh" * 2]

#: What DuckDB does not have, or has with other rules: judged by nested loops in Python.
MORE_KEYS: dict[pa.DataType, list[object]] = {
    pa.float16(): [np.float16(value) for value in (math.nan, -0.0, 0.0, 1.5, math.inf)],
    pa.uint16(): [0, 1, 2**15, 2**16 - 1],
    pa.int32(): [1, 2, 3],
    pa.int64(): list(range(-3, 4)),
    pa.date64(): [dt.date(1970, 1, 1), dt.date(2013, 7, 4)],
    pa.time32("s"): [dt.time(0), dt.time(23, 59, 59)],
    pa.timestamp("ns", "UTC"): [
        dt.datetime(2013, 7, hour, tzinfo=dt.timezone.utc) for hour in (1, 2)
    ],
    pa.decimal128(38, 0): _WIDE,
    pa.decimal128(20, 2): [decimal.Decimal("-0.01"), decimal.Decimal("12345678901234567.89")],
    pa.decimal256(60, 0): [*_WIDE, decimal.Decimal("9" * 55)],
    pa.binary(16): _BYTES,
    pa.binary(3): [b"JFK", b"LGA", b"\0\0\0"],
    pa.binary(8): [b"\xff" * 8, b"\0" * 8, b"abcdefgh"],
    pa.large_binary(): [b"", b"a", b"a\0", b"x" * 30],
    pa.string_view(): ["", "a", "x" * 12, "x" * 13, "x" * 40],
    pa.dictionary(pa.int32(), pa.int64()): [-1, 0, 2**60],
    pa.dictionary(pa.int8(), pa.string()): ["", "a", "b", "x" * 40],
    pa.dictionary(pa.int16(), pa.string()): ["", "a", "x" * 13],
    pa.null(): [None],
}

#: Left and right forms of one logical type.
ALIKE = [
    (pa.string(), pa.large_string()),
    (pa.string_view(), pa.string()),
    (pa.dictionary(pa.int8(), pa.string()), pa.string()),
    (pa.large_string(), pa.dictionary(pa.int16(), pa.string())),
    (pa.int8(), pa.int64()),
    (pa.uint32(), pa.uint16()),
]


@st.composite
def tunings(draw):
    """Small tables on every path: in one partition and in many, by value and by hash."""
    return {
        "partition_bits": draw(st.sampled_from([-1, 0, 1, 3, 7])),
        "hash_always": draw(st.booleans()),
        "wide_rows": draw(st.booleans()),
        # With 2 bits, nearly every pair of unlike keys has one code: only comparison tells.
        "code_bits": draw(st.sampled_from([64, 64, 2])),
        "segment_rows": draw(st.sampled_from([0, 1, 7])),
    }


@st.composite
def tables(draw, kinds, number):
    """Key columns k0, k1 ..., the row's number, and a payload with nulls; sliced and chunked."""
    rows = draw(st.integers(0, 30))
    named = {f"k{i}": draw(column_of(kind, rows)) for i, kind in enumerate(kinds)}
    payload = draw(st.lists(st.sampled_from([None, "", "x" * 20]), min_size=rows, max_size=rows))
    numbers = pa.array(range(rows), pa.int64())
    table = pa.table({**named, number: numbers, number + "_text": pa.array(payload, pa.string())})
    return in_two_chunks(table)


def column_of(kind, rows):
    if kind in MORE_KEYS:
        nullable = [*MORE_KEYS[kind], None]
        values = st.lists(st.sampled_from(nullable), min_size=rows, max_size=rows)
        return values.map(lambda drawn: as_array(drawn, kind))
    return columns(kind, rows)


def as_array(values, kind):
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)


def kernel(left, right, keys, how, nulls_equal=False, tuning=None, threads=1):
    """The kernel's join: the keys once, then the other columns of both sides."""
    output = [("key", i, f"k{i}") for i in range(keys)]
    output += [("left", i, left.column_names[i]) for i in range(keys, left.num_columns)]
    if how not in ("semi", "anti"):
        output += [("right", i, right.column_names[i]) for i in range(keys, right.num_columns)]
    on = list(range(keys))
    chosen = _native.JoinTuning(**(tuning or {}))
    result = pa.table(
        _native.hash_join(left, right, on, on, how, output, nulls_equal, threads, tuning=chosen)
    )
    result.validate(full=True)
    return result


def by_duckdb(left, right, keys, how, nulls_equal):
    test = "IS NOT DISTINCT FROM" if nulls_equal else "="
    on = " AND ".join(f"l.k{i} {test} r.k{i}" for i in range(keys))
    DUCKDB.register("l", left)
    DUCKDB.register("r", right)
    if how in ("semi", "anti"):
        return DUCKDB.sql(f"SELECT l.* FROM l {how} JOIN r ON {on}").to_arrow_table()
    shared = ", ".join(
        f"CASE WHEN l.lid IS NULL THEN r.k{i} ELSE l.k{i} END AS k{i}" for i in range(keys)
    )
    kind = "FULL" if how == "outer" else how
    columns_ = f"{shared}, lid, lid_text, rid, rid_text"
    return DUCKDB.sql(f"SELECT {columns_} FROM l {kind} JOIN r ON {on}").to_arrow_table()


def by_nested_loops(left, right, keys, how, nulls_equal):
    """The join's definition, row by row."""
    left_rows, right_rows = rows_of(left), rows_of(right)

    def match(a, b):
        found = a[:keys] == b[:keys]
        return found and (nulls_equal or None not in a[:keys])

    pairs = [(a, b) for a in left_rows for b in right_rows if match(a, b)]
    lonely_left = [a for a in left_rows if not any(match(a, b) for b in right_rows)]
    lonely_right = [b for b in right_rows if not any(match(a, b) for a in left_rows)]
    if how in ("semi", "anti"):
        return Counter(a for a in left_rows if (a in lonely_left) == (how == "anti"))
    rows = Counter(a + b[keys:] for a, b in pairs)
    if how in ("left", "outer"):
        rows += Counter((*a, None, None) for a in lonely_left)
    if how in ("right", "outer"):
        rows += Counter((*b[:keys], None, None, *b[keys:]) for b in lonely_right)
    return rows


def rows_of(table):
    values = [[comparable(value) for value in column.to_pylist()] for column in table.columns]
    return list(zip(*values, strict=True))


def comparable(value):
    return plain(float(value)) if isinstance(value, np.floating) else plain(value)


DUCKDB_KEYS = [kind for kind in KEYS if not pa.types.is_duration(kind)]


@given(
    data=st.data(),
    kinds=st.lists(st.sampled_from(DUCKDB_KEYS), min_size=1, max_size=3),
    how=st.sampled_from(HOWS),
    nulls_equal=st.booleans(),
    tuning=tunings(),
)
def test_the_rows_are_duckdbs(data, kinds, how, nulls_equal, tuning):
    left, right = data.draw(tables(kinds, "lid")), data.draw(tables(kinds, "rid"))
    expected = by_duckdb(left, right, len(kinds), how, nulls_equal)
    result = kernel(left, right, len(kinds), how, nulls_equal, tuning)
    assert result.column_names == expected.column_names
    assert multiset(result) == multiset(expected)


@given(
    data=st.data(),
    pairs=st.lists(
        st.sampled_from([*((kind, kind) for kind in MORE_KEYS), *ALIKE]), min_size=1, max_size=2
    ),
    how=st.sampled_from(["inner", "left", "semi", "anti"]),
    nulls_equal=st.booleans(),
    tuning=tunings(),
)
def test_the_rows_are_those_of_the_definition(data, pairs, how, nulls_equal, tuning):
    left = data.draw(tables([kind for kind, _ in pairs], "lid"))
    right = data.draw(tables([kind for _, kind in pairs], "rid"))
    result = kernel(left, right, len(pairs), how, nulls_equal, tuning)
    assert Counter(rows_of(result)) == by_nested_loops(left, right, len(pairs), how, nulls_equal)


@given(
    data=st.data(),
    kind=st.sampled_from(list(MORE_KEYS)),
    how=st.sampled_from(["right", "outer"]),
    nulls_equal=st.booleans(),
    tuning=tunings(),
)
def test_right_keys_stand_in_where_there_is_no_left_row(data, kind, how, nulls_equal, tuning):
    left, right = data.draw(tables([kind], "lid")), data.draw(tables([kind], "rid"))
    result = kernel(left, right, 1, how, nulls_equal, tuning)
    assert result.schema.field("k0").type == kind
    assert Counter(rows_of(result)) == by_nested_loops(left, right, 1, how, nulls_equal)


@given(data=st.data(), how=st.sampled_from(["semi", "anti"]), tuning=tunings())
def test_existence_joins_keep_the_order_of_the_left_side(data, how, tuning):
    kinds = [pa.int32()]
    left, right = data.draw(tables(kinds, "lid")), data.draw(tables(kinds, "rid"))
    lids = kernel(left, right, 1, how, tuning=tuning)["lid"].to_pylist()
    assert lids == sorted(lids)


@st.composite
def skewed(draw):
    """Keys by Zipf's law, all equal, or dense; one side in three chunks, one sliced."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.sampled_from([70_000, 110_000]))
    shape = draw(st.sampled_from(["zipf", "equal", "dense", "sparse"]))
    if shape == "zipf":
        left = rng.zipf(1.2, rows).astype(np.uint64).astype(np.int64)
    elif shape == "equal":
        left = np.full(rows, 7)
    elif shape == "dense":
        left = rng.integers(-rows, rows, rows)
    else:
        left = rng.integers(0, rows, rows) * (2**63 // rows)
    unique = np.unique(left)
    right = rng.permutation(np.concatenate([unique, unique[: rows // 4], unique[:3] + 1]))
    return left, right


@settings(max_examples=40)
@given(
    sides=skewed(),
    how=st.sampled_from(HOWS),
    threads=st.sampled_from([1, 2, 3]),
    hash_always=st.booleans(),
    partition_bits=st.sampled_from([-1, 0, 3, 9]),
)
def test_skew_and_threads(sides, how, threads, hash_always, partition_bits):
    left = pa.table({"k0": sides[0], "lid": np.arange(len(sides[0]))})
    right = pa.table({"k0": sides[1], "rid": np.arange(len(sides[1]))}).slice(1)
    left = pa.concat_tables([left.slice(0, 10), left.slice(10, 40_000), left.slice(40_010)])
    if how == "right":
        left, right = right.rename_columns(["k0", "lid"]), left.rename_columns(["k0", "rid"])
    tuning = {"hash_always": hash_always, "partition_bits": partition_bits}
    result = pl.from_arrow(kernel(left, right, 1, how, tuning=tuning, threads=threads))
    expected = by_polars(pl.from_arrow(left), pl.from_arrow(right), how)
    assert result.columns == expected.columns
    assert result.sort(result.columns).equals(expected.sort(expected.columns))


def by_polars(left, right, how):
    joined = left.join(right, on="k0", how="full" if how == "outer" else how, coalesce=True)
    names = ["k0", "lid"] if how in ("semi", "anti") else ["k0", "lid", "rid"]
    return joined.select(names)
