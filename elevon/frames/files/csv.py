"""CSV files in shares: each rank parses the lines that begin in its part of the bytes.

The first line of every file names the columns. As in pyarrow's own parallel reader, a newline ends
a row: a quoted one inside a value is not understood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as t
from pyarrow import csv

from elevon.errors import SchemaError
from elevon.frames.files.paths import Source, blamed
from elevon.frames.files.schemas import pick_columns

#: All ranks read as much of the first file and infer the types from it, so that all infer the
#: same. It costs a tenth of a second; a value further down that does not fit is an error.
INFER_BYTES: Final = 16 << 20
#: How far to look for the end of a line at once.
LINE_BYTES: Final = 1 << 16
#: Nobody can enter these in the middle: one rank reads the whole file.
COMPRESSED: Final = (".gz", ".bz2", ".zst", ".lz4")


@dataclass(frozen=True, slots=True)
class _Columns:
    """What all files have (``names``, ``types``), and what is wanted of it."""

    names: tuple[str, ...]
    types: pa.Schema
    wanted: pa.Schema


def read_csv_partition(
    sources: Sequence[Source],
    columns: Sequence[str] | None,
    rank: int,
    size: int,
    parallel: bool,
) -> pa.Table:
    """Read the rank's share of the lines of some files.

    Args:
        sources: the files.
        columns: which columns, in this order; all if None.
        rank: whose share to read.
        size: among how many ranks the lines are shared, by bytes.
        parallel: whether pyarrow may parse in parallel.

    Returns:
        The share; an empty one has the right schema.

    Raises:
        SchemaError: a column is not there, a header differs from the first file's, or a value
            does not fit the type that was inferred.
        UsageError: a file is not CSV.
    """
    layout = _infer(sources[0], columns)
    ends = [0, *accumulate(source.bytes for source in sources)]
    first, last = rank * ends[-1] // size, (rank + 1) * ends[-1] // size
    tables = [layout.wanted.empty_table()]
    for source, start in zip(sources, ends, strict=False):
        lines = _share_of(source, first - start, last - start, layout)
        if lines:
            tables.append(_parse(lines, source, layout, parallel))
    return pa.concat_tables(tables)


def _infer(source: Source, columns: Sequence[str] | None) -> _Columns:
    """Names and types from the beginning of the first file; a column without a value is text."""
    with blamed(source, "csv"), source.filesystem.open_input_stream(source.path) as file:
        head = file.read(INFER_BYTES)
        whole = len(head) < INFER_BYTES
        lines = head + b"\n" if whole else head[: head.rfind(b"\n") + 1]
        schema = csv.read_csv(pa.BufferReader(lines)).schema
    fields = [f.with_type(pa.string()) if t.is_null(f.type) else f for f in schema]
    types = pa.schema(fields)
    return _Columns(tuple(types.names), types, pick_columns(types, columns, source.path))


def _share_of(source: Source, first: int, last: int, layout: _Columns) -> bytes:
    """The lines that begin in bytes first..last of the file, without the header."""
    if last <= 0 or first >= source.bytes:
        return b""
    with blamed(source, "csv"):
        if source.path.endswith(COMPRESSED):
            return _whole_file(source, layout) if first <= 0 else b""
        with source.filesystem.open_input_file(source.path) as file:
            header = _next_line(file, 0, source.bytes)
            _check_header(file.read_at(header, 0), source, layout)
            start = _line_from(file, max(first, 0), header, source.bytes)
            stop = _line_from(file, min(last, source.bytes), header, source.bytes)
            return bytes(file.read_at(stop - start, start)) if start < stop else b""


def _whole_file(source: Source, layout: _Columns) -> bytes:
    with source.filesystem.open_input_stream(source.path) as file:
        header, _, lines = file.read().partition(b"\n")
    _check_header(header, source, layout)
    return bytes(lines)


def _line_from(file: Any, position: int, header: int, size: int) -> int:
    """Where the first line begins that is not before ``position``."""
    return header if position <= header else _next_line(file, position - 1, size)


def _next_line(file: Any, position: int, size: int) -> int:
    """The first position behind a newline at or after ``position``."""
    while position < size:
        block = file.read_at(LINE_BYTES, position)
        found = block.find(b"\n")
        if found >= 0:
            return int(position + found + 1)
        position += len(block)
    return size


def _check_header(line: bytes, source: Source, layout: _Columns) -> None:
    names = tuple(csv.read_csv(pa.BufferReader(line + b"\n")).column_names)
    if names != layout.names:
        raise SchemaError(
            f"read: the files differ. {source.path} has the columns {list(names)}; "
            f"the first file has {list(layout.names)}"
        )


def _parse(lines: bytes, source: Source, layout: _Columns, parallel: bool) -> pa.Table:
    try:
        return csv.read_csv(
            pa.BufferReader(lines),
            read_options=csv.ReadOptions(column_names=list(layout.names), use_threads=parallel),
            convert_options=csv.ConvertOptions(
                column_types=layout.types, include_columns=layout.wanted.names
            ),
        )
    except pa.ArrowInvalid as error:
        raise SchemaError(
            f"read: {source.path} does not fit the types found at the beginning of the first file: "
            f"{error}. Write the files as Parquet, or mend the value"
        ) from error
