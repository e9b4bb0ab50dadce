"""The compiled kernels, and at the end the compiled part of TCP groups.

Tables go in and out through the Arrow PyCapsule protocol.

"Stream" below is anything with ``__arrow_c_stream__`` (pyarrow, pandas, polars, DuckDB, Table);
several batches (chunks) are legal input, and so is one batch (``__arrow_c_array__``). An array is a
table of one column. Columns are given by position; names are Python's business
(``elevon.frames.kernels``). The GIL is released while a kernel runs. Errors: ValueError (what a
caller can cause: types that do not fit, an index out of range, malformed Arrow data), TypeError
(no Arrow stream), MemoryError.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias

from numpy.typing import NDArray

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

def partition_numbered(
    table: ArrowStream, numbers: Buffer, partitions: int, threads: int = 1
) -> list[Packed]:
    """Rows by given numbers (uint16, one for each row, below ``partitions``), order kept."""

def pack_slices(table: ArrowStream, bounds: Sequence[int]) -> list[Packed]:
    """len(bounds)-1 messages: rows bounds[i]..bounds[i+1]. Bounds ascend within the table."""

def packed_bytes(table: ArrowStream) -> int:
    """How long one message of all rows would be; nothing is packed."""

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
    """Bytes of freed buffers that the kernels keep for their next call, at most 1 GiB.

    The system may take them back when memory gets short.
    """

def trim_pool() -> None:
    """Return those bytes to the system; the next large call then faults fresh pages again."""

# What collectives read and write: type checkers see no buffer in an array before Python 3.12.
Memory: TypeAlias = Buffer | NDArray[Any]

class GroupFailed(RuntimeError):
    """A group can do nothing more; ``Group.failure`` says why."""

class Group:
    """A group of slots of a mesh, which are its ranks in order; made by ``Mesh.open``.

    A collective takes contiguous buffers, gives the GIL up while it runs, and raises GroupFailed
    when the group has failed or fails (an abort, a lost member, ``timeout_s`` seconds, members
    that call different things) and ValueError for sizes and roots that cannot be. "Rows" are one
    equal part for each rank, in order; only a root passes them to gather and scatter. Calls of one
    group are made by one thread at a time.
    """

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def failure(self) -> tuple[Literal["aborted", "lost", "timeout"], str, int | None] | None:
        """Kind, reason and the rank to blame; of this group or one that it was split from."""

    @property
    def losses(self) -> list[tuple[int, str]]:
        """The ranks whose connection is gone, with the reason."""

    def fail(self, kind: str, reason: str, rank: int | None) -> None:
        """End the group for all members; any thread may call this."""

    def barrier(self, timeout_s: float | None) -> None: ...
    def bcast(self, data: Memory, root: int, timeout_s: float | None) -> None: ...
    def gather(
        self, mine: Memory, rows: Memory | None, root: int, timeout_s: float | None
    ) -> None: ...
    def scatter(
        self, rows: Memory | None, mine: Memory, root: int, timeout_s: float | None
    ) -> None: ...
    def allgather(self, mine: Memory, rows: Memory, timeout_s: float | None) -> None: ...
    def allgatherv(self, rows: Sequence[Memory], timeout_s: float | None) -> None:
        """Rows of any lengths, which all know; the caller's own is sent, the others are filled."""

    def alltoall(self, rows: Memory, result: Memory, timeout_s: float | None) -> None: ...
    def exchange(
        self,
        what: str,
        sends: Sequence[tuple[int, Memory]],
        receives: Sequence[tuple[int, Memory]],
        root: int,
        timeout_s: float | None,
    ) -> None:
        """Any lengths to and from other members; every receiver knows what comes.

        what: names the collective ("alltoallv", ...), or is "message": then only the two ends of
        each part take part in the call.
        """

    def reduction(
        self,
        what: str,
        op: str,
        type: str,
        mine: Memory,
        result: Memory | None,
        room: Memory,
        root: int,
        timeout_s: float | None,
    ) -> None:
        """A reduction in rank order, the same bits whatever the algorithm.

        what: "reduce", where only the root has a result, "allreduce", "scan", or "reduce_scatter",
        where ``mine`` are rows. op, type: "sum", "prod", "min", "max" of "int32", "int64",
        "float32", "float64"; "land", "lor" of "bool". room: as much as ``room_for`` says.
        """

    def room_for(self, what: str, bytes: int, timeout_s: float | None) -> int:
        """Bytes that a reduction of ``bytes``, for reduce_scatter of such rows, has under way."""

    def algorithm(self, what: str, bytes: int, timeout_s: float | None) -> str:
        """How a collective of this size is done: "direct", "tree", "doubling", "ring", "slices".

        bytes: that each member passes; for alltoall and reduce_scatter of one row.
        """

    def costs(self, timeout_s: float | None) -> tuple[float, float, float]:
        """What the members have agreed on, as for ``Mesh.assume``."""

class Mesh:
    """The connections of one rank, one a slot; a waiting thread moves the bytes of all."""

    def __init__(self, own_slot: int, size: int, shares_memory: bool = True) -> None:
        """Between processes of one host that may read each other's memory, large messages are
        copied straight from there; without ``shares_memory`` all goes through the sockets.
        """

    @property
    def slot(self) -> int: ...
    @property
    def size(self) -> int: ...
    def attach(self, slot: int, descriptor: int, name: str) -> None:
        """Take a connected stream socket over, also for a slot whose connection is lost.

        name: of the process at the other end, for messages.
        """

    def lost(self) -> list[tuple[int, str]]:
        """The slots whose connection is gone, with the reason."""

    def assume(self, alpha_s: float, overhead_s: float, beta_s_per_byte: float) -> None:
        """Take these costs for this process's own, not measured ones; before the first group.

        Seconds that a message is under way, that it keeps each end busy, and for each byte. The
        members of a group agree on the highest. They choose its algorithms.
        """

    def open(
        self,
        context: int,
        path: int,
        slots: Sequence[int],
        name: str,
        parent: Group | None = None,
    ) -> Group:
        """A group, without a word to the others; one that is open is returned.

        context, path: its number; path is 0 but for groups that were split from that one.
        """

    def forget(self, context: int, path: int = 0) -> None:
        """Forget a group, with path 0 also all that were split from it, and drop what comes."""

    def interrupt(self, context: int, kind: str, reason: str, rank: int | None) -> None:
        """End a group here, open or still to be opened; tells nobody. Any thread may call this."""

    def close(self, flush_s: float = 1.0) -> None:
        """Close all connections, after at most this long for what is still to be sent."""
