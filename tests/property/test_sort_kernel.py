"""Sort and merge against their definition and against DuckDB: types, directions, and every path."""

from __future__ import annotations

import itertools
import math

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon import _native
from tests.property.test_join_kernel import MORE_KEYS, as_array
from tests.support.frames import KEYS, in_two_chunks, plain

DUCKDB = duckdb.connect()
ALL_KEYS = {**KEYS, **{kind: MORE_KEYS[kind] for kind in MORE_KEYS if kind not in KEYS}}

#: Strings that agree for long, so that ties go many steps deep.
DEEP_TEXT = ["", "\0", "\0\0", "p" * 7, "p" * 8, "p" * 9, "p" * 30, "p" * 30 + "\0", "p" * 31, "q"]


@st.composite
def key_columns(draw, rows):
    kind = draw(st.sampled_from([*ALL_KEYS, pa.string(), pa.binary()]))
    values = DEEP_TEXT if kind == pa.string() else ALL_KEYS[kind]
    if kind == pa.binary():
        values = [text.encode() for text in DEEP_TEXT]
    # Sometimes one value only: keys of no bits at all.
    chosen = draw(st.sampled_from([values, values[:1]]))
    nullable = [*chosen, *([None] * draw(st.sampled_from([0, 2])))]
    drawn = draw(st.lists(st.sampled_from(nullable), min_size=rows, max_size=rows))
    return as_array(drawn, kind)


@st.composite
def tables(draw, keys, max_rows=60):
    """Key columns k0, k1 ..., the row's number, and payloads of other layouts; sliced, chunked."""
    rows = draw(st.integers(0, max_rows))
    named = {f"k{i}": draw(key_columns(rows)) for i in range(keys)}
    table = pa.table({**named, "row": pa.array(range(rows), pa.int64())})
    return in_two_chunks(with_payload(table))


def with_payload(table):
    """More columns, each made from the row's number, so that a row torn apart shows."""
    rows = table["row"].to_pylist()
    some = [None if row % 3 == 0 else row for row in rows]
    text = [None if row is None else "text" * (row % 5) + str(row) for row in some]
    payload = {
        "bool": pa.array([None if row is None else row % 2 == 0 for row in some], pa.bool_()),
        "small": pa.array([None if row is None else row % 100 for row in some], pa.int8()),
        "float": pa.array(some, pa.float32()),
        "wide": pa.array(some, pa.decimal128(20, 2)),
        "text": pa.array(text, pa.string()),
        "view": pa.array(text, pa.string_view()),
        "list": pa.array(
            [None if row is None else [row, None] for row in some], pa.list_(pa.int64())
        ),
    }
    for name, column in payload.items():
        table = table.append_column(name, column)
    return table


@st.composite
def orders(draw, keys):
    """By which columns, in which directions, nulls where."""
    by = draw(st.permutations(range(keys)))
    return [(key, draw(st.booleans()), draw(st.booleans())) for key in by]


@st.composite
def tunings(draw):
    """Small tables on every path: one bucket and many, with combining lines and without."""
    return _native.SortTuning(
        bucket_rows=draw(st.sampled_from([1, 2, 7, 16384])),
        direct_buckets=draw(st.sampled_from([1, 4, 512])),
    )


def ordered(values, ascending, nulls_first):
    """The definition: positions of the values in order, equal ones as they were."""
    nulls = [i for i, value in enumerate(values) if value is None]
    nans = [i for i, value in enumerate(values) if isinstance(value, float) and math.isnan(value)]
    apart = {*nulls, *nans}
    numbers = [i for i in range(len(values)) if i not in apart]
    numbers.sort(key=values.__getitem__, reverse=not ascending)  # stable in both directions
    return [*nulls, *nans, *numbers] if nulls_first else [*numbers, *nans, *nulls]


def by_definition(table, order):
    """Row numbers in order: sorted by the last key first."""
    rows = list(range(table.num_rows))
    for key, ascending, nulls_first in reversed(order):
        column = table.column(key).to_pylist()
        if pa.types.is_floating(table.column(key).type):
            column = [None if value is None else float(value) for value in column]
        rows = [rows[i] for i in ordered([column[row] for row in rows], ascending, nulls_first)]
    return rows


def rows_of(table):
    """The rows, with one NaN and one zero."""
    return [tuple(map(plain, row)) for row in zip(*table.to_pydict().values(), strict=True)]


def sorted_rows(table, order):
    rows = rows_of(table)
    return [rows[i] for i in by_definition(table, order)]


def exactly(table):
    """The table with floats as their bits, so that NaN equals itself and -0.0 does not equal 0."""
    for i, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            bits = table.column(i).combine_chunks().view(pa.int64())
            table = table.set_column(i, field.name, bits)
    return table


def kernel_sort(table, order, threads=1, tuning=None):
    by, ascending, nulls_first = (list(part) for part in zip(*order, strict=True))
    tuning = tuning or _native.SortTuning()
    result = pa.table(_native.sort(table, by, ascending, nulls_first, threads, tuning=tuning))
    result.validate(full=True)
    return result


def kernel_merge(tables_, order, threads=1, tuning=None):
    by, ascending, nulls_first = (list(part) for part in zip(*order, strict=True))
    tuning = tuning or _native.SortTuning()
    result = pa.table(_native.merge(tables_, by, ascending, nulls_first, threads, tuning=tuning))
    result.validate(full=True)
    return result


@given(st.data())
@settings(max_examples=400)
def test_sort_is_what_its_definition_says(data):
    keys = data.draw(st.integers(1, 3))
    table, order = data.draw(tables(keys)), data.draw(orders(keys))
    result = kernel_sort(table, order, threads=2, tuning=data.draw(tunings()))
    assert rows_of(result) == sorted_rows(table, order)
    assert result.schema == table.schema


@given(st.data())
@settings(max_examples=300)
def test_merge_is_a_stable_sort_of_all_tables(data):
    keys = data.draw(st.integers(1, 3))
    table, order = data.draw(tables(keys)), data.draw(orders(keys))
    runs = data.draw(st.integers(1, 7))
    cuts = data.draw(st.lists(st.integers(0, table.num_rows), min_size=runs - 1, max_size=runs - 1))
    bounds = [0, *sorted(cuts), table.num_rows]
    parts = [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    parts = [kernel_sort(part, order) for part in parts]
    result = kernel_merge(parts, order, threads=2, tuning=data.draw(tunings()))
    assert rows_of(result) == sorted_rows(table, order)
    assert result.schema == table.schema


def uniform(rng, rows):
    return rng.integers(0, rows, rows)


def wide(rng, rows):
    return rng.integers(-(2**63), 2**63 - 1, rows)


def zipf(rng, rows):
    return np.minimum(rng.zipf(1.2, rows), 10 * rows)


def far_apart(rng, rows):
    """Nearly all rows in one bucket of equal ranges, and one row far off."""
    return np.append(rng.integers(0, 1000, rows - 1), 2**62)


def few(rng, rows):
    return rng.integers(0, 3, rows) * 10**17


def same(_, rows):
    return np.zeros(rows, np.int64)


def ascending_(rng, rows):
    return np.sort(uniform(rng, rows))


def descending(_, rows):
    return np.arange(rows)[::-1]


def descending_with_ties(rng, rows):
    return ascending_(rng, rows)[::-1]


def nearly_sorted(rng, rows):
    values = ascending_(rng, rows)
    values[rng.integers(0, rows, 3)] = 0
    return values


def periodic(_, rows):
    return np.arange(rows) % 1024


def floats(rng, rows):
    values = rng.normal(size=rows)
    values[rng.integers(0, rows, rows // 10)] = np.nan
    values[rng.integers(0, rows, rows // 10)] = -0.0
    values[rng.integers(0, rows, rows // 10)] = 0.0
    return values


def texts(rng, rows):
    return pa.array([f"customer {number}" for number in rng.integers(0, rows, rows)])


def long_texts(rng, rows):
    """Few values, alike for long, that differ after one, two ... of their six parts."""
    drawn = rng.integers(0, 2, (rows, 6))
    return pa.array(["/".join("ab"[bit] * 9 for bit in bits) for bits in drawn])


SHAPES = [
    uniform, wide, zipf, far_apart, few, same, ascending_, descending, descending_with_ties,
    nearly_sorted, periodic, floats, texts, long_texts,
]  # fmt: skip


def shaped(shape, rows, seed, nulls=False):
    """A table with a key of one shape, a second one, and the row's number; in three chunks."""
    rng = np.random.default_rng(seed)
    key = pa.array(shape(rng, rows))
    if nulls:
        key = pc.if_else(pa.array(rng.random(rows) < 0.1), None, key)
    second = pa.array(rng.integers(-5, 5, rows))
    table = pa.table({"k0": key, "k1": second, "row": pa.array(np.arange(rows))})
    third = rows // 3
    return pa.concat_tables([table.slice(0, third), table.slice(third)])


def by_duckdb(table, order):
    """DuckDB's order, with the row's number as the last key: what a stable sort gives."""
    terms = []
    for key, ascending, nulls_first in order:
        name, apart = f"k{key}", "DESC" if nulls_first else "ASC"
        terms.append(f"{name} IS NULL {apart}")
        if pa.types.is_floating(table.column(key).type):
            terms.append(f"isnan({name}) {apart}")
        terms.append(f"{name} {'ASC' if ascending else 'DESC'}")
    DUCKDB.register("rows", table)
    return DUCKDB.sql(f"SELECT row FROM rows ORDER BY {', '.join(terms)}, row").to_arrow_table()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_sort_agrees_with_duckdb_on_every_shape(shape, threads):
    tunings_ = [None, {"bucket_rows": 64}, {"bucket_rows": 64, "direct_buckets": 8}]
    for seed, (nulls, chosen) in enumerate(itertools.product([False, True], tunings_)):
        table = shaped(shape, 60_000, seed, nulls)
        order = [(0, seed % 3 != 0, nulls), (1, True, False)][: 1 + seed % 2]
        tuning = _native.SortTuning(**chosen) if chosen else None
        result = kernel_sort(table, order, threads, tuning)
        assert result["row"].equals(by_duckdb(table, order)["row"])
        assert exactly(result).equals(exactly(table.take(result["row"])))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_merge_agrees_with_duckdb_on_every_shape(shape, threads):
    for seed, (runs, chosen) in enumerate(itertools.product([2, 5, 64], [None, 64])):
        table = shaped(shape, 60_000, seed)
        order = [(0, seed % 3 != 0, False), (1, False, True)][: 1 + seed % 2]
        cuts = np.linspace(0, table.num_rows, runs + 1).astype(int)
        parts = [kernel_sort(table.slice(a, b - a), order) for a, b in itertools.pairwise(cuts)]
        tuning = _native.SortTuning(bucket_rows=chosen) if chosen else None
        result = kernel_merge(parts, order, threads, tuning)
        assert result["row"].equals(by_duckdb(table, order)["row"])
        assert exactly(result).equals(exactly(table.take(result["row"])))
