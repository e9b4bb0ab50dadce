"""CSV files in shares: each rank parses the lines that begin in its part of the bytes.

The first line of every file names the columns. As in pyarrow's own parallel reader, a newline ends
a row: a quoted one inside a value is not understood.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as t
from pyarrow import csv

from elevon.errors import SchemaError
from elevon.frames.files.paths import CODECS, Source, blamed
from elevon.frames.files.schemas import pick_columns
from elevon.frames.schema.empty import empty_table

#: All ranks read as much of the first file and infer the types from it, so that all infer the
#: same. It costs a tenth of a second; a value further down that does not fit is an error.
INFER_BYTES: Final = 16 << 20
#: How far to look for the end of a line at once.
LINE_BYTES: Final = 1 << 16
#: Lines that are parsed at once where there is no budget: arrays of text end at 2^31 bytes.
SHARE_BYTES: Final = 1 << 30
#: With a budget: a block, its lines, and what the parser makes of them before they are rows.
BLOCK_SHARE: Final = 4


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
    memory_bytes: int | None = None,
) -> pa.Table:
    """Read the rank's share of the lines of some files.

    Args:
        sources: the files.
        columns: which columns, in this order; all if None.
        rank: whose share to read.
        size: among how many ranks the lines are shared, by bytes.
        parallel: whether pyarrow may parse in parallel.
        memory_bytes: the budget beside the result, or None: the lines are parsed in blocks that
            keep to it, once the types are known.

    Returns:
        The share; an empty one has the right schema.

    Raises:
        SchemaError: a column is not there, a header differs from the first file's, or a value
            does not fit the type that was inferred.
        UsageError: a file is not CSV.
    """
    layout = _infer(sources, columns)
    ends = [0, *accumulate(source.bytes for source in sources)]
    first, last = rank * ends[-1] // size, (rank + 1) * ends[-1] // size
    block = SHARE_BYTES if memory_bytes is None else max(LINE_BYTES, memory_bytes // BLOCK_SHARE)
    tables = [empty_table(layout.wanted)]
    for source, start in zip(sources, ends, strict=False):
        with blamed(source, "csv"):
            blocks = _share_of(source, first - start, last - start, layout, block)
            tables += [_parse(lines, source, layout, parallel) for lines in blocks]
    return pa.concat_tables(tables)


def _infer(sources: Sequence[Source], columns: Sequence[str] | None) -> _Columns:
    """Names and types from the beginning of the first file that has a row.

    A column without a value is text.
    """
    for source in sources:
        head = _head(source)
        if head.num_rows:
            break
    else:
        source = sources[0]
        head = _head(source)
    fields = [f.with_type(pa.string()) if t.is_null(f.type) else f for f in head.schema]
    types = pa.schema(fields)
    return _Columns(tuple(types.names), types, pick_columns(types, columns, str(source)))


def _head(source: Source) -> pa.Table:
    with blamed(source, "csv"), source.open_stream() as file:
        head = file.read(INFER_BYTES)
        whole = len(head) < INFER_BYTES
        lines = head + b"\n" if whole else head[: head.rfind(b"\n") + 1]
        return csv.read_csv(pa.BufferReader(lines))


def _share_of(
    source: Source, first: int, last: int, layout: _Columns, block: int
) -> Iterator[bytes]:
    """The lines that begin in bytes first..last of the file, without the header, in blocks."""
    if last <= 0 or first >= source.bytes:
        return
    if source.path.endswith(tuple(CODECS)):
        if first <= 0:
            yield from _decompressed(source, layout, block)
        return
    with source.open() as file:
        header = _next_line(file, 0, source.bytes)
        _check_header(file.read_at(header, 0), source, layout)
        at = _line_from(file, max(first, 0), header, source.bytes)
        stop = _line_from(file, min(last, source.bytes), header, source.bytes)
        while at < stop:
            end = min(stop, _line_from(file, at + block, header, source.bytes))
            yield bytes(file.read_at(end - at, at))
            at = end


def _decompressed(source: Source, layout: _Columns, block: int) -> Iterator[bytes]:
    """The lines of a file that can only be read from its beginning."""
    with source.open_stream() as file:
        rest = b""
        while not (end := rest.find(b"\n") + 1) and (more := file.read(LINE_BYTES)):
            rest += more
        end = end or len(rest)
        _check_header(rest[:end].rstrip(b"\n"), source, layout)
        rest = rest[end:]
        while more := file.read(block):
            rest += more
            if end := rest.rfind(b"\n") + 1:
                yield rest[:end]
                rest = rest[end:]
        if rest:
            yield rest


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
            f"read: the files differ. {source} has the columns {list(names)}; "
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
            f"read: {source} has a row that does not fit the header, or a value that does not fit "
            f"the types found at the beginning of the first file: {error}. Write the files as "
            f"Parquet, or mend the row"
        ) from error
