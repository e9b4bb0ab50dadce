"""Arrow data for the tests of the native module: one table of every type, and malformed arrays.

The C structs are built by pyarrow and then spoilt field by field; the producer's own release is
kept from running on them, because it would trust what was spoilt.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import decimal
from collections.abc import Callable
from typing import Any

import pyarrow as pa


class CArray(ctypes.Structure):
    """ArrowArray of the Arrow C data interface."""


RELEASE = ctypes.CFUNCTYPE(None, ctypes.POINTER(CArray))
CArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(CArray))),
    ("dictionary", ctypes.POINTER(CArray)),
    ("release", RELEASE),
    ("private_data", ctypes.c_void_p),
]


class CSchema(ctypes.Structure):
    """ArrowSchema of the Arrow C data interface."""


RELEASE_SCHEMA = ctypes.CFUNCTYPE(None, ctypes.POINTER(CSchema))
CSchema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(CSchema))),
    ("dictionary", ctypes.POINTER(CSchema)),
    ("release", RELEASE_SCHEMA),
    ("private_data", ctypes.c_void_p),
]

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


@RELEASE
def _forget(array: Any) -> None:
    array.contents.release = RELEASE()


@RELEASE_SCHEMA
def _forget_schema(schema: Any) -> None:
    schema.contents.release = RELEASE_SCHEMA()


class Spoilt:
    """An array whose C structs were changed on their way out.

    Args:
        array: a valid array.
        spoil: changes its ArrowArray in place.
        spoil_schema: changes its ArrowSchema in place.
    """

    def __init__(
        self,
        array: pa.Array,
        spoil: Callable[[CArray], None] = lambda _: None,
        spoil_schema: Callable[[CSchema], None] = lambda _: None,
    ) -> None:
        self._keep = array
        self._array = CArray()
        self._schema = CSchema()
        array._export_to_c(ctypes.addressof(self._array), ctypes.addressof(self._schema))
        # The structs outlive the test: what they own is never freed, and may not be.
        self._array.release = _forget
        self._schema.release = _forget_schema
        spoil(self._array)
        spoil_schema(self._schema)

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return (
            _new_capsule(ctypes.addressof(self._schema), b"arrow_schema", None),
            _new_capsule(ctypes.addressof(self._array), b"arrow_array", None),
        )


def values_at(array: CArray, buffer: int, kind: type[Any]) -> Any:
    """A buffer of the array as a C pointer of ``kind``, to be written to."""
    return ctypes.cast(ctypes.c_void_p(array.buffers[buffer]), ctypes.POINTER(kind))


#: One column of every type that the kernels move, with nulls and with values of every shape.
EVERY_TYPE = pa.table(
    {
        "int8": pa.array([1, None, -3, 4], pa.int8()),
        "uint16": pa.array([1, 2, None, 65535], pa.uint16()),
        "int32": pa.array([1, 2, 3, 4], pa.int32()),
        "int64": pa.array([None, 2**62, -1, 0], pa.int64()),
        "uint64": pa.array([2**64 - 1, None, 0, 1], pa.uint64()),
        "half": pa.array([1.5, None, -0.0, 2.0], pa.float32()).cast(pa.float16()),
        "float": pa.array([1.5, None, -2.5, float("inf")], pa.float32()),
        "double": pa.array([1.5, None, float("-inf"), 1e300], pa.float64()),
        "bool": pa.array([True, None, False, True]),
        "utf8": pa.array(["a", None, "", "a string of more than twelve bytes"]),
        "large_utf8": pa.array(["b", "x" * 40, None, ""], pa.large_string()),
        "utf8_view": pa.array(["c", None, "y" * 12, "z" * 13], pa.string_view()),
        "binary": pa.array([b"\0", None, b"", b"\xff" * 20], pa.binary()),
        "binary_view": pa.array([b"\0", None, b"", b"\xff" * 20], pa.binary_view()),
        "fixed": pa.array([b"abc", None, b"def", b"ghi"], pa.binary(3)),
        "date": pa.array([dt.date(2013, 1, 1), None, dt.date(1969, 1, 1), None]),
        "timestamp": pa.array([0, None, -1, 2**40], pa.timestamp("us", "UTC")),
        "time": pa.array([0, 1, None, 3], pa.time64("ns")),
        "duration": pa.array([0, 1, None, 3], pa.duration("ms")),
        "decimal": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-2"), None]).cast(
            pa.decimal128(20, 2)
        ),
        "decimal256": pa.array([1, None, -(10**60), 3], pa.decimal256(70, 0)),
        "null": pa.nulls(4),
        "dictionary": pa.array(["u", None, "v", "u"]).dictionary_encode(),
        "list": pa.array([[1, None], None, [], [3]], pa.list_(pa.int64())),
        "large_list": pa.array([["a"], None, [], ["b", None]], pa.large_list(pa.string())),
        "list_view": pa.array([[1], None, [2, 3], []], pa.list_view(pa.int16())),
        "fixed_list": pa.array([[1, 2], None, [3, None], [5, 6]], pa.list_(pa.int8(), 2)),
        "struct": pa.array([{"p": 1, "q": "a"}, None, {"p": None, "q": None}, {"p": 4, "q": ""}]),
        "map": pa.array(
            [[("k", 1)], None, [], [("y", 2), ("z", None)]], pa.map_(pa.string(), pa.int32())
        ),
        "nested": pa.array([[{"d": [1.5]}], None, [], [None, {"d": None}]]),
    }
)


def scattered(table: pa.Table, copies: int = 3) -> pa.Table:
    """The table's rows several times over, in chunks that are slices with offsets, one empty."""
    chunks = []
    for copy in range(copies):
        start = copy % max(table.num_rows, 1)
        chunks += [table.slice(start), table.slice(0, 0), table.slice(0, start)]
    return pa.concat_tables(chunks)
