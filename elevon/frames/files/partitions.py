"""Partitions from files: each rank reads its share.

No communicator is needed: every rank looks at the same footers and computes the same shares.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from elevon.errors import DescriptionError, UsageError
from elevon.frames.exchange.own_bytes import copied, owned
from elevon.frames.files.csv import read_csv_partition
from elevon.frames.files.paths import Path, Source, blamed, expand, is_local
from elevon.frames.files.schemas import in_schema, one_schema
from elevon.frames.files.shares import Piece, share
from elevon.frames.schema.empty import empty_table

Reader: TypeAlias = Callable[
    [list[Source], Sequence[str] | None, int, int, bool, int | None], pa.Table
]
Batches: TypeAlias = "Callable[[Sequence[int] | None], Iterable[pa.RecordBatch]]"

#: Rows that are decoded at once of a row group that is cut.
BATCH_ROWS: Final = 1 << 16
#: How an IPC file begins; an IPC stream does not.
IPC_FILE: Final = b"ARROW1"


def read_partition(
    paths: Path | Sequence[Path],
    format: str = "parquet",
    columns: Sequence[str] | None = None,
    rank: int = 0,
    size: int = 1,
    threads: int = 1,
    memory_bytes: int | None = None,
) -> pa.Table:
    """Read one rank's share of the rows of some files.

    The shares are contiguous and in order over the files; together they are all rows, once.

    Args:
        paths: files, directories, patterns or URLs.
        format: parquet, csv or arrow (IPC file or stream).
        columns: which columns, in this order; all if None.
        rank: whose share to read.
        size: among how many ranks the rows are shared.
        threads: more than one lets pyarrow decode in parallel.
        memory_bytes: working memory beside the share, or None. Row groups and batches are taken one
            after the other whatever it is, and lines of CSV in blocks that keep to it, after the
            first 16 MiB, which tell their types.

    Returns:
        The share; an empty one has the right schema.

    Raises:
        DescriptionError: a path is not there, or the format is unknown.
        SchemaError: a column is not there, or the files' schemas differ.
        UsageError: a file is not of this format.
    """
    reader = _READERS.get(format)
    if reader is None:
        raise DescriptionError(f"read: format={format!r} is none of {', '.join(_READERS)}")
    return reader(expand(paths, format), columns, rank, size, threads > 1, memory_bytes)


def read_parquet_partition(
    paths: Path | Sequence[Path],
    rank: int = 0,
    size: int = 1,
    columns: Sequence[str] | None = None,
    threads: int = 1,
) -> pa.Table:
    """``read_partition`` of Parquet files: row groups are shared out, and cut where they must be.

    Args:
        paths: files, directories, patterns or URLs.
        rank: whose share to read.
        size: among how many ranks the rows are shared.
        columns: which columns, in this order; all if None.
        threads: more than one lets pyarrow decode in parallel.

    Returns:
        The share; an empty one has the right schema.

    Raises:
        DescriptionError: a path is not there.
        SchemaError: a column is not there, or the files' schemas differ.
        UsageError: a file is not Parquet.
    """
    return read_partition(paths, "parquet", columns, rank, size, threads)


def _read_parquet(
    sources: list[Source],
    columns: Sequence[str] | None,
    rank: int,
    size: int,
    parallel: bool,
    _: int | None,
) -> pa.Table:
    footers = [_read_footer(source) for source in sources]
    schema = one_schema(sources, [footer.schema for footer in footers], columns)
    groups = [
        (number, group, footer.metadata.row_group(group).num_rows)
        for number, footer in enumerate(footers)
        for group in range(footer.metadata.num_row_groups)
    ]
    pieces = share([rows for _, _, rows in groups], rank, size)
    tables = [empty_table(schema)]
    for number, own in groupby(pieces, key=lambda piece: groups[piece.unit][0]):
        cuts = [Piece(groups[cut.unit][1], cut.start, cut.stop) for cut in own]
        with blamed(sources[number], "parquet"):
            tables += _read_groups(sources[number], footers[number], cuts, schema, parallel)
    return pa.concat_tables(tables)


@dataclass(frozen=True, slots=True)
class _Footer:
    """What a Parquet file says of itself. The file is not kept open: there may be thousands."""

    metadata: Any
    schema: pa.Schema


def _read_footer(source: Source) -> _Footer:
    with blamed(source, "parquet"), source.open() as file, pq.ParquetFile(file) as parquet:
        return _Footer(parquet.metadata, parquet.schema_arrow)


def _read_groups(
    source: Source, footer: _Footer, cuts: list[Piece], schema: pa.Schema, parallel: bool
) -> Iterator[pa.Table]:
    """Row groups of one file, one after the other; of the first and the last a part may do."""
    with source.open() as file, pq.ParquetFile(file) as parquet:
        if not parquet.metadata.equals(footer.metadata):
            # The shares are those of the old file: rows would be missing, or come twice.
            raise UsageError(f"read: {source} was replaced while it was read; read it again")
        for cut in cuts:
            if cut.stop - cut.start == parquet.metadata.row_group(cut.unit).num_rows:
                found = parquet.read_row_group(cut.unit, schema.names, use_threads=parallel)
                yield in_schema(found, schema)
            else:
                yield from _read_part(parquet, cut, schema, parallel)


def _read_part(
    parquet: pq.ParquetFile, cut: Piece, schema: pa.Schema, parallel: bool
) -> Iterator[pa.Table]:
    """The wanted rows of a row group, of which no more is in memory at once than a batch."""
    start = 0
    for batch in parquet.iter_batches(BATCH_ROWS, [cut.unit], schema.names, use_threads=parallel):
        rows = in_schema(pa.Table.from_batches([batch]), schema)
        low, high = max(cut.start - start, 0), min(cut.stop - start, rows.num_rows)
        if low < high:
            yield owned(rows.slice(low, high - low))
        start += rows.num_rows


def _read_arrow(
    sources: list[Source],
    columns: Sequence[str] | None,
    rank: int,
    size: int,
    _parallel: bool,
    _: int | None,
) -> pa.Table:
    """An IPC file does not say how many rows it has: its batches are counted, and read then."""
    files = [_count_batches(source) for source in sources]
    schema = one_schema(sources, [found for found, _ in files], columns)
    units = [
        (number, batch) for number, (_, counts) in enumerate(files) for batch in range(len(counts))
    ]
    tables = [empty_table(schema)]
    cuts = share([rows for _, counts in files for rows in counts], rank, size)
    for number, own in groupby(cuts, key=lambda cut: units[cut.unit][0]):
        wanted = {units[cut.unit][1]: cut for cut in own}
        with blamed(sources[number], "arrow"):
            tables += _read_batches(sources[number], wanted, schema)
    return pa.concat_tables(tables)


def _count_batches(source: Source) -> tuple[pa.Schema, list[int]]:
    with blamed(source, "arrow"):
        schema, batches = _open_batches(source)
        return schema, [batch.num_rows for batch in batches(None)]


def _read_batches(
    source: Source, wanted: Mapping[int, Piece], schema: pa.Schema
) -> Iterator[pa.Table]:
    """Some batches of one file, copied: a mapped file that is truncated would kill the process."""
    _, batches = _open_batches(source)
    left = len(wanted)
    for number, batch in zip(sorted(wanted), batches(sorted(wanted)), strict=False):
        cut = wanted[number]
        rows = in_schema(pa.Table.from_batches([batch]), schema).slice(
            cut.start, cut.stop - cut.start
        )
        if rows.num_rows < cut.stop - cut.start:
            break
        yield copied(rows)
        left -= 1
    if left:
        raise UsageError(f"read: {source} was replaced while it was read; read it again")


def _open_batches(source: Source) -> tuple[pa.Schema, Batches]:
    """The schema, and what gives the batches of some numbers, ascending; of all if None."""
    file = pa.memory_map(os.fsencode(source.path)) if is_local(source.filesystem) else source.open()
    if bytes(file.read_at(len(IPC_FILE), 0)) != IPC_FILE:
        stream = pa.ipc.open_stream(file)
        return stream.schema, lambda numbers: (
            batch for number, batch in enumerate(stream) if numbers is None or number in numbers
        )
    reader = pa.ipc.open_file(file)
    return reader.schema, lambda numbers: map(
        reader.get_batch, range(reader.num_record_batches) if numbers is None else numbers
    )


_READERS: Final[dict[str, Reader]] = {
    "parquet": _read_parquet,
    "csv": read_csv_partition,
    "arrow": _read_arrow,
}
