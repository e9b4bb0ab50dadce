"""Tables for the tests of frames: awkward values of every key type, cut into awkward partitions."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import math
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
from hypothesis import strategies as st

SIZES = (1, 2, 3, 4, 7)

_TEXT = ["", "a", "b", "ab", "a\0", "é", "x" * 12, "x" * 13, "x" * 40]
_DAYS = [dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(2013, 7, 4)]
_TIMES = [
    dt.datetime(1969, 12, 31, 23, 59, 59),
    dt.datetime(2013, 7, 4, 5),
    dt.datetime(2262, 1, 1),
]
_FLOATS = [math.nan, -0.0, 0.0, 1.5, -1.5, math.inf, -math.inf]

#: Few values for each type, so that keys meet; with the ends of the range among them.
KEYS: dict[pa.DataType, list[object]] = {
    pa.int8(): [-128, -1, 0, 1, 127],
    pa.uint8(): [0, 1, 127, 128, 255],
    pa.int16(): [-(2**15), -1, 0, 1, 2**15 - 1],
    pa.int32(): [-(2**31), -1, 0, 1, 2**31 - 1],
    pa.uint32(): [0, 1, 2**31, 2**32 - 1],
    pa.int64(): [-(2**63), -1, 0, 1, 2**63 - 1],
    pa.uint64(): [0, 1, 2**63, 2**64 - 1],
    pa.float32(): _FLOATS,
    pa.float64(): _FLOATS,
    pa.bool_(): [False, True],
    pa.date32(): _DAYS,
    pa.timestamp("s"): _TIMES,
    pa.timestamp("us"): _TIMES,
    pa.time64("us"): [dt.time(0), dt.time(23, 59, 59, 999999)],
    pa.duration("ms"): [dt.timedelta(0), dt.timedelta(days=-1), dt.timedelta(days=400)],
    pa.decimal128(10, 2): [
        decimal.Decimal(text) for text in ("-1.50", "0.00", "0.01", "99999999.99")
    ],
    pa.string(): _TEXT,
    pa.large_string(): _TEXT,
    pa.binary(): [b"", b"a", b"a\0", b"\xff" * 20],
    pa.dictionary(pa.int8(), pa.string()): _TEXT,
}


@st.composite
def columns(draw, kind, rows):
    """A column of one of the KEYS types, about a quarter of it null or none at all."""
    values = [*KEYS[kind], *([None] * draw(st.sampled_from([0, 2])))]
    drawn = draw(st.lists(st.sampled_from(values), min_size=rows, max_size=rows))
    if pa.types.is_dictionary(kind):
        return pa.array(drawn, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(drawn, kind)


@st.composite
def partitions(draw, kinds: Sequence[pa.DataType], size: int, number: str, max_rows: int = 40):
    """A table with key columns k0, k1 ... and the row's number, cut into one part per rank.

    Cuts fall anywhere, so parts are empty or hold everything now and then. Every part is a slice
    with an offset, and of two chunks where it has more than one row.
    """
    rows = draw(st.integers(0, max_rows))
    named = {f"k{i}": draw(columns(kind, rows)) for i, kind in enumerate(kinds)}
    table = pa.table({**named, number: pa.array(range(rows), pa.int64())})
    cuts = sorted(draw(st.lists(st.integers(0, rows), min_size=size - 1, max_size=size - 1)))
    bounds = [0, *cuts, rows]
    parts = [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    return [in_two_chunks(part) for part in parts]


def in_two_chunks(table: pa.Table) -> pa.Table:
    """The same rows in two chunks, neither of which begins where its buffers begin."""
    middle = table.num_rows // 2
    if not middle:
        return table
    padded = pa.concat_tables([table.slice(middle), table]).combine_chunks()
    skip = table.num_rows - middle
    return pa.concat_tables([padded.slice(skip, middle), padded.slice(skip + middle)])


def plain(value: object) -> object:
    """A value that equals what the engines call equal: one NaN, one zero."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return value


def multiset(table: pa.Table) -> Counter[tuple[object, ...]]:
    """The rows, however they are ordered."""
    return Counter(
        tuple(plain(value) for value in row)
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True)
    )
