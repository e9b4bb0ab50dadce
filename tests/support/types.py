"""Columns of every type of Arrow, with the awkward ways in which it stores values."""

from __future__ import annotations

import math
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

#: Equal values, a null, and the first value below the second in no type.
NUMBERS = [2, 1, None, 2, 1, 3]
WORDS = ["b", "a", None, "b", "a", "c"]
BYTES = [word and word.encode() for word in WORDS]
#: Where a dictionary's values are (two values and a null), and a null of the indices.
AT = [0, 1, 2, 0, 1, None]


def coded(values, kind=None, index=None, ordered=False):
    """A dictionary column whose dictionary is ``values``, pointed at by AT."""
    indices, dictionary = pa.array(AT, index or pa.int32()), pa.array(values, kind)
    return pa.DictionaryArray.from_arrays(indices, dictionary, ordered=ordered)


def stored(kind, storage):
    """An extension column."""
    return pa.ExtensionArray.from_storage(kind, storage)


def ticks(kind, width=None):
    """A column of times."""
    return pa.array(NUMBERS, width or pa.int64()).cast(kind)


def recoded(column):
    """The same values over two chunks, the second of which has its dictionary turned around."""
    values = column.dictionary.to_pylist()
    last = len(values) - 1
    at = [None if index is None else last - index for index in column.indices.to_pylist()]
    turned = pa.DictionaryArray.from_arrays(
        pa.array(at, column.type.index_type), pa.array(values[::-1], column.type.value_type)
    )
    return pa.chunked_array([column.slice(0, 3), turned.slice(3)])


_DECIMALS = [None if number is None else Decimal(number) for number in NUMBERS]

#: What the kernels compare: keys of groups, sets and ranks.
COMPARED = {
    **{str(kind): pa.array(NUMBERS, kind) for kind in (pa.int8(), pa.uint64(), pa.int64())},
    "bool": pa.array([True, False, None, True, False, True]),
    "half": pa.array([2, 1, None, 2, math.nan, math.nan], pa.float16()),
    "double": pa.array([2, 1, None, 2, math.nan, math.nan], pa.float64()),
    "zeros": pa.array([0.0, -0.0, None, 1.0, -1.0, -0.0]),
    "decimal32": pa.array(_DECIMALS, pa.decimal32(5, 1)),
    "decimal64": pa.array(_DECIMALS, pa.decimal64(12, 1)),
    "decimal128": pa.array(_DECIMALS, pa.decimal128(38, 2)),
    "decimal256": pa.array(_DECIMALS, pa.decimal256(76, 2)),
    "string": pa.array(WORDS),
    "large_string": pa.array(WORDS, pa.large_string()),
    "string_view": pa.array(WORDS, pa.string_view()),
    "binary": pa.array(BYTES, pa.binary()),
    "binary_view": pa.array(BYTES, pa.binary_view()),
    "fixed": pa.array(BYTES, pa.binary(1)),
    "null": pa.nulls(6),
    "date32": ticks(pa.date32(), pa.int32()),
    "date64": pa.array([day and day * 86_400_000 for day in NUMBERS]).cast(pa.date64()),
    "time32": ticks(pa.time32("s"), pa.int32()),
    "time64": ticks(pa.time64("us")),
    "timestamp": ticks(pa.timestamp("us", "UTC")),
    "duration": ticks(pa.duration("ms")),
    "bool8": stored(pa.bool8(), pa.array([1, 5, None, 0, 0, -1], pa.int8())),
    "uuid": stored(pa.uuid(), pa.array([word and word * 16 for word in BYTES], pa.binary(16))),
    "json": stored(pa.json_(), pa.array(WORDS)),
    "opaque": stored(pa.opaque(pa.int8(), "a", "b"), pa.array(NUMBERS, pa.int8())),
}
DICTIONARIES = {
    "codes of text": coded(["b", "a", None]),
    "uint64 codes": coded(["b", "a", None], index=pa.uint64()),
    "codes of equal values": coded(["b", "a", "b"]),
    "codes of views": coded(["b", "a", None], pa.string_view(), pa.uint32()),
    "codes of bytes": coded([b"b", b"a", None], pa.binary_view()),
    "codes of numbers": coded([2, 1, None]),
    "codes of floats": coded([2.0, math.nan, None]),
    "codes of decimals": coded([Decimal(2), Decimal(1), None], pa.decimal32(5, 1)),
    "codes of times": coded([2, 1, None], pa.timestamp("ms")),
    "codes of truth": coded([True, False, None]),
}
CODES_OF_CODES = {
    "codes of codes": pa.DictionaryArray.from_arrays(
        pa.array(AT, pa.int32()),
        pa.DictionaryArray.from_arrays(pa.array([1, 0, 2]), pa.array(["x", "y", None])),
    )
}
RECODED = {f"two {name}": recoded(column) for name, column in DICTIONARIES.items()}
NO_CODES = {
    "codes of nothing": pa.DictionaryArray.from_arrays(
        pa.array([None] * 6, pa.int32()), pa.array([], pa.string())
    )
}
#: Carried along, or refused.
CARRIED = {
    "list": pa.array([[1], [2], None, [1], [], [2]]),
    "list_view": pa.array([[1], [2], None, [1], [], [2]], pa.list_view(pa.int8())),
    "struct": pa.array([{"a": 1}, None] * 3),
    "map": pa.array([[("a", 1)], None] * 3, pa.map_(pa.string(), pa.int8())),
    "pair": pa.array([[1, 2], None] * 3, pa.list_(pa.int8(), 2)),
    "interval": pa.array([pa.MonthDayNano([1, 2, 3])] * 5 + [None]),
    "tensor": stored(
        pa.fixed_shape_tensor(pa.int32(), [2, 1], permutation=[1, 0]),
        pa.array([[1, 2]] * 6, pa.list_(pa.int32(), 2)),
    ),
    "sparse union": pa.UnionArray.from_sparse(
        pa.array([0, 1] * 3, pa.int8()), [pa.array([1] * 6), pa.array(["a"] * 6)]
    ),
    "dense union": pa.UnionArray.from_dense(
        pa.array([0, 1] * 3, pa.int8()),
        pa.array([0, 0, 1, 1, 2, 2], pa.int32()),
        [pa.array([1] * 3), pa.array(["a"] * 3)],
    ),
    "runs": pc.run_end_encode(pa.array([2, 2, None, None, 1, 1])),
    "codes of lists": pa.DictionaryArray.from_arrays(
        pa.array(AT, pa.int32()), pa.array([[1], [2], None])
    ),
}
