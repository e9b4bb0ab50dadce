"""Rows on the local disk for a while: packed messages one after the other in a scratch file.

A message holds the rows' own bytes, wherever they were cut from. The file has no name: the system
frees it with the process, however that ends.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from elevon.comm.protocol import Array
from elevon.errors import ResourceError
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.packed import unpack, whole

#: The system reads and writes at most 2^31 bytes in one call.
MOST_AT_ONCE: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows in the file: where they are, how many and of which schema.

    ``dictionaries`` are those that lie elsewhere in the file, with the numbers and the types of
    their columns: the rows have the indices only.
    """

    offset: int
    nbytes: int
    rows: int
    schema: pa.Schema
    dictionaries: tuple[tuple[int, Piece, pa.DataType], ...] = ()


@dataclass(slots=True)
class _Shared:
    """The dictionary that a column's pieces have in common, for as long as they do.

    At first each piece has the entries that it uses. Once these are more than the whole, that is
    written, and the pieces have indices only: so no more than twice the least is written.
    """

    values: pa.Array[Any]
    used_bytes: int = 0
    piece: Piece | None = None


class Spill:
    """A scratch file for tables; leaving its ``with`` frees it.

    Args:
        directory: where the file lies; None: where TMPDIR says, or /tmp. It should be a disk: on
            a file system in memory nothing is gained.

    Raises:
        ResourceError: there is no place for the file.
    """

    def __init__(self, directory: str | None = None) -> None:
        self._directory, self._end = directory or "the directory for temporary files", 0
        self._schema: pa.Schema | None = None
        self._shared: dict[int, _Shared] = {}
        self._values: tuple[Piece, pa.Array[Any]] | None = None
        try:
            self._directory = directory or tempfile.gettempdir()
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._refusal("open a file", error) from error

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def written_bytes(self) -> int:
        """How much has been written."""
        return self._end

    def write(self, table: pa.Table) -> Piece:
        """Append rows.

        Raises:
            ResourceError: the disk is full or broken.
        """
        stored = []
        for index, kind in enumerate(table.schema.types):
            piece = self._dictionary_of(table, index) if pa.types.is_dictionary(kind) else None
            if piece is not None:
                stored.append((index, piece, kind))
                column = table.column(index)
                indices = pa.chunked_array([chunk.indices for chunk in column.chunks])
                table = table.set_column(index, table.schema.field(index).name, indices)
        piece = self.write_packed(whole(table), table.num_rows, table.schema)
        return replace(piece, dictionaries=tuple(stored)) if stored else piece

    def write_packed(self, message: Array, rows: int, schema: pa.Schema) -> Piece:
        """Append rows that are packed already.

        Args:
            message: what the kernels have packed.
            rows: how many rows there are in it.
            schema: their schema.

        Returns:
            Where they are.

        Raises:
            ResourceError: the disk is full or broken.
        """
        start = self._end
        try:
            _write(self._file.fileno(), message, start)
        except OSError as error:
            raise self._refusal(f"write {message.nbytes:,} bytes", error) from error
        self._end += message.nbytes
        # One schema for all its pieces: thousands of equal ones would take more than their rows.
        if self._schema is None or not self._schema.equals(schema, check_metadata=True):
            self._schema = schema
        return Piece(start, message.nbytes, rows, self._schema)

    def read(self, piece: Piece) -> pa.Table:
        """The rows of one piece, in memory of their own.

        Raises:
            ResourceError: the disk is broken.
        """
        memory: Array = np.empty(piece.nbytes, dtype=np.uint8)
        try:
            _fill(self._file.fileno(), memory, piece.offset)
        except OSError as error:
            raise self._refusal(f"read {piece.nbytes:,} bytes", error) from error
        table = unpack(piece.schema, [memory])
        for index, stored, kind in piece.dictionaries:
            values = self._read_dictionary(stored)
            chunks = [
                pa.DictionaryArray.from_arrays(it, values, ordered=kind.ordered)
                for it in table.column(index).chunks
            ]
            column = pa.chunked_array(chunks, kind)
            table = table.set_column(index, table.schema.field(index).name, column)
        return table

    def _dictionary_of(self, table: pa.Table, index: int) -> Piece | None:
        """Where the dictionary of a column lies, if it is better written apart from the rows."""
        column = table.column(index)
        if not column.num_chunks:
            return None
        shared, values = self._shared.get(index), column.chunk(0).dictionary
        if any(not _is_same(chunk.dictionary, values) for chunk in column.chunks):
            return None
        if shared is None or not _is_same(shared.values, values):
            shared = self._shared[index] = _Shared(values)
        if shared.piece is None:
            shared.used_bytes += own_bytes(table.select([index]))
            entries = pa.table({"": values})
            if shared.used_bytes > own_bytes(entries):
                shared.piece = self.write(entries)
        return shared.piece

    def _read_dictionary(self, piece: Piece) -> pa.Array[Any]:
        """The entries; those that were read last are kept for the next rows."""
        if self._values is None or self._values[0] != piece:
            self._values = piece, self.read(piece).column(0).combine_chunks()
        return self._values[1]

    def _refusal(self, what: str, error: OSError) -> ResourceError:
        return ResourceError(
            f"rows beyond the memory budget go to disk, but it cannot {what} in {self._directory} "
            f"after {self._end:,} bytes: {error.strerror or error}; "
            f"free space there, let TMPDIR name a larger disk, or give the task more memory"
        )


def _is_same(left: pa.Array[Any], right: pa.Array[Any]) -> bool:
    """Whether two arrays are the same memory."""

    def place(array: pa.Array[Any]) -> tuple[object, ...]:
        buffers = (buffer and buffer.address for buffer in array.buffers())
        return len(array), array.offset, *buffers

    return place(left) == place(right)


def _write(descriptor: int, memory: Array, offset: int) -> None:
    """Write all of the memory."""
    at = 0
    while at < memory.size:
        at += os.pwrite(descriptor, memory[at : at + MOST_AT_ONCE].data, offset + at)


def _fill(descriptor: int, memory: Array, offset: int) -> None:
    """Read until the memory is full."""
    at = 0
    while at < memory.size:
        got = os.preadv(descriptor, [memory[at : at + MOST_AT_ONCE].data], offset + at)
        if not got:
            raise OSError(f"the file ends after {offset + at:,} bytes")
        at += got
