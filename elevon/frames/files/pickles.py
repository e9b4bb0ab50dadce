"""Values with tables among them as bytes: a slice is pickled with its own rows only.

Arrow pickles the whole buffers that a slice refers to. Both who sends arguments and who returns
values pickle here, because both may have cut what they send from something large.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, Final

import cloudpickle

#: What most functions return, and pickle writes by itself.
_PLAIN: Final = (type(None), bool, int, float, str, bytes)


def dumps(value: object) -> bytes:
    """The value as ``cloudpickle.loads`` reads it.

    Args:
        value: anything; tables, batches and arrays of pyarrow anywhere in it.

    Returns:
        Its pickle.

    Raises:
        Exception: whatever the value's own classes raise while they are pickled.
    """
    if type(value) in _PLAIN:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    with io.BytesIO() as file:
        dump(value, file)
        return file.getvalue()


def dump(value: object, file: Any) -> None:
    """The same, written to a file: anything with ``write``."""
    _Pickler(file).dump(value)


class _Reducers(dict[type, Callable[[Any], Any]]):
    """How objects are pickled that neither pickle nor cloudpickle knows a way of its own for."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        if hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__"):
            return _reduce_arrow
        reduce: Callable[[Any], Any] = cloudpickle.Pickler.dispatch_table[kind]
        return reduce


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Copies Arrow data that keeps much more alive than its own rows, and pickles the copy.

    By the table, which is asked for few objects; ``reducer_override`` would be asked for all.
    """

    dispatch_table = _Reducers()


def _reduce_arrow(value: Any) -> Any:
    return _own(value).__reduce_ex__(pickle.HIGHEST_PROTOCOL)


def _own(value: Any) -> Any:
    """The value itself unless it is a slice of something much larger."""
    import pyarrow as pa

    from elevon.frames.exchange.own_bytes import owned

    if isinstance(value, pa.Table):
        return owned(value)
    if isinstance(value, pa.RecordBatch):
        table = pa.Table.from_batches([value])
        copy = owned(table)
        if copy is table:
            return value
        arrays = [column.combine_chunks() for column in copy.columns]
        return pa.RecordBatch.from_arrays(arrays, schema=value.schema)
    if isinstance(value, pa.Array | pa.ChunkedArray):
        table = pa.table({"": value})
        copy = owned(table)
        if copy is table:
            return value
        return copy.column(0).combine_chunks() if isinstance(value, pa.Array) else copy.column(0)
    return value
