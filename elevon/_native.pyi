"""The compiled kernels. Tables go in and out through the Arrow PyCapsule protocol.

"Stream" below is anything with ``__arrow_c_stream__`` (pyarrow, pandas, polars, DuckDB, Table);
several batches (chunks) are legal input, and so is one batch (``__arrow_c_array__``). An array is a
table of one column. Columns are given by position; names are Python's business
(``elevon.frames.local``). The GIL is released while a kernel runs. Errors: ValueError (what a
caller can cause: types that do not fit, an index out of range, malformed Arrow data), TypeError
(no Arrow stream), MemoryError.
"""

from collections.abc import Sequence
from typing import Protocol

class ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

class Buffer(Protocol):
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Table:
    """Columns in memory that the kernels own (or borrow from a message)."""

    @property
    def num_rows(self) -> int: ...
    @property
    def num_columns(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

class Packed:
    """Rows of a table in one contiguous message; exposes the buffer protocol (read-only).

    The layout is private to pack and unpack of the same version, little-endian, 64-byte aligned
    from its start, with 64-bit sizes; it holds no schema (both sides know it).
    """

    @property
    def num_rows(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def hash_rows(table: ArrowStream, columns: Sequence[int], threads: int = 1) -> Table:
    """One uint64 column ``hash``: the mixed hash of the key columns; pinned by golden tests.

    Equal values hash equal in every form: integers of every width (bool, dates and times count as
    such), floats of every width (one zero, one NaN), utf8, large_utf8, views, binary and
    dictionaries of them. Null has a hash of its own. An integer and a float of the same value
    hash differently: bring both sides of a join to one type first.
    """

def partition(
    table: ArrowStream, columns: Sequence[int], partitions: int, threads: int = 1
) -> list[Packed]:
    """Rows by hash of the key columns, order kept inside each partition; null keys go to one.

    At most 65,536 partitions. Each value is written once, straight into its message; messages
    have the exact size.
    """

def pack_slices(table: ArrowStream, bounds: Sequence[int]) -> list[Packed]:
    """len(bounds)-1 messages: rows bounds[i]..bounds[i+1]. Bounds ascend within the table."""

def unpack(schema: object, messages: Sequence[Buffer]) -> Table:
    """The table of all messages in order (one batch each, nothing copied where aligned).

    A message whose rows outgrow 32-bit offsets gives several batches. The table keeps the messages
    alive; they must not change while it lives.

    ``schema`` has ``__arrow_c_schema__``. Every length and offset of a message is checked: a
    malformed one gives ValueError, never a crash.
    """

class JoinTuning:
    """What a join decides by size, decided by hand: tests reach every path with small tables."""

    def __init__(
        self,
        *,
        partition_bits: int = -1,
        hash_always: bool = False,
        wide_rows: bool = False,
        code_bits: int = 64,
        segment_rows: int = 0,
    ) -> None: ...

def hash_join(
    left: ArrowStream,
    right: ArrowStream,
    left_on: Sequence[int],
    right_on: Sequence[int],
    how: str,
    output: Sequence[tuple[str, int, str]],
    nulls_equal: bool = False,
    threads: int = 1,
    tuning: JoinTuning = ...,
) -> Table:
    """how: inner, left, right, outer, semi, anti (semi and anti keep left rows, in left order).

    output: the columns of the result as (side, position, name), side "left", "right" or "key";
    "key" i is the i-th key pair, taken from the left where the left row exists, otherwise from
    the right. The order of rows is unspecified for all but semi and anti.

    The keys of a pair have one type; integers of several widths and one signedness, utf8 in all
    its forms, and a dictionary and its values also compare. Floats: -0.0 equals 0.0, NaN equals
    NaN. A null key matches nothing unless ``nulls_equal``.
    """

def sort(
    table: ArrowStream,
    by: Sequence[int],
    ascending: Sequence[bool],
    nulls_first: Sequence[bool],
    threads: int = 1,
) -> Table:
    """Stable sort; a table that is in order already is returned without a copy.

    -0.0 equals 0.0. NaN and nulls lie together at one end, whatever the direction: numbers, NaN,
    nulls; with nulls_first nulls, NaN, numbers (as pandas' na_position places both). Dictionaries
    sort by value, strings and binary by their bytes. Nested types and intervals have no order.
    """

def merge(
    tables: Sequence[ArrowStream],
    by: Sequence[int],
    ascending: Sequence[bool],
    nulls_first: Sequence[bool],
    threads: int = 1,
) -> Table:
    """Stable merge of tables of one schema, each already sorted so; ties in order of tables.

    Tables that do not overlap come back one after another, without a copy.
    """

def take(table: ArrowStream, indices: ArrowStream, threads: int = 1) -> Table:
    """The rows at ``indices`` (one integer column; null gives a row of nulls)."""

def pooled_bytes() -> int:
    """Bytes of freed buffers that the kernels keep for their next call, at most 1 GiB."""

def trim_pool() -> None:
    """Return those bytes to the system; the next large call then faults fresh pages again."""
