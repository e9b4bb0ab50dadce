"""Partitions from files and to files: each rank reads its share and writes its part.

No communicator is needed: every rank looks at the same footers and computes the same shares.
"""

from __future__ import annotations

import os
import pathlib
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from elevon.errors import DescriptionError, SchemaError, UsageError
from elevon.frames.exchange.packed import compact
from elevon.frames.files.csv import read_csv_partition
from elevon.frames.files.paths import Path, Source, blamed, expand, resolve
from elevon.frames.files.schemas import one_schema
from elevon.frames.files.shares import Piece, share

Reader: TypeAlias = Callable[[list[Source], Sequence[str] | None, int, int, bool], pa.Table]

COMPRESSIONS: Final = ("zstd", "snappy", "gzip", "lz4", "brotli", "none")
#: Rows in a row group that we write: small enough that ranks seldom have to cut one.
ROW_GROUP_ROWS: Final = 1 << 18
PART: Final = re.compile(r"part-(\d{5,})\.parquet")
#: How an IPC file begins; an IPC stream does not.
IPC_FILE: Final = b"ARROW1"


def read_partition(
    paths: Path | Sequence[Path],
    format: str = "parquet",
    columns: Sequence[str] | None = None,
    rank: int = 0,
    size: int = 1,
    threads: int = 1,
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
    return reader(expand(paths, format), columns, rank, size, threads > 1)


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


def write_parquet_partition(
    table: pa.Table, path: Path, rank: int, size: int, compression: str = "zstd"
) -> str:
    """Write one rank's rows as ``part-<rank>.parquet`` into a directory, whole or not at all.

    Args:
        table: the rows.
        path: the directory (or URL); made where it is missing.
        rank: whose part it is.
        size: how many parts there will be.
        compression: a codec of Parquet: zstd, snappy, gzip, lz4, brotli, none.

    Returns:
        The path of the file.

    Raises:
        DescriptionError: the path is a file, the codec is unknown, or the directory holds parts
            of a wider write, which a reader would take for part of this one.
        SchemaError: Parquet has no form for a column's type.
    """
    filesystem, directory = resolve(path)
    if compression not in COMPRESSIONS:
        raise DescriptionError(
            f"write_parquet: compression={compression!r} is none of {', '.join(COMPRESSIONS)}"
        )
    _make_directory(filesystem, directory, size)
    final = f"{directory}/part-{rank:05d}.parquet"
    with _finished_file(filesystem, final) as target:
        try:
            pq.write_table(
                table,
                target,
                filesystem=filesystem,
                compression=compression,
                row_group_size=ROW_GROUP_ROWS,
            )
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise SchemaError(f"{final}: cannot be written as parquet: {error}") from error
    return final


def _read_parquet(
    sources: list[Source], columns: Sequence[str] | None, rank: int, size: int, parallel: bool
) -> pa.Table:
    footers = [_read_footer(source) for source in sources]
    schema = one_schema(sources, [footer.schema for footer in footers], columns)
    groups = [
        (number, group, footer.metadata.row_group(group).num_rows)
        for number, footer in enumerate(footers)
        for group in range(footer.metadata.num_row_groups)
    ]
    pieces = share([rows for _, _, rows in groups], rank, size)
    tables = [schema.empty_table()]
    for number, own in groupby(pieces, key=lambda piece: groups[piece.unit][0]):
        cuts = [Piece(groups[cut.unit][1], cut.start, cut.stop) for cut in own]
        with blamed(sources[number], "parquet"):
            tables.append(_read_groups(sources[number], footers[number], cuts, schema, parallel))
    return pa.concat_tables(tables)


@dataclass(frozen=True, slots=True)
class _Footer:
    """What a Parquet file says of itself. The file is not kept open: there may be thousands."""

    metadata: Any
    schema: pa.Schema


def _read_footer(source: Source) -> _Footer:
    with (
        blamed(source, "parquet"),
        source.filesystem.open_input_file(source.path) as file,
        pq.ParquetFile(file) as parquet,
    ):
        return _Footer(parquet.metadata, parquet.schema_arrow)


def _read_groups(
    source: Source, footer: _Footer, cuts: list[Piece], schema: pa.Schema, parallel: bool
) -> pa.Table:
    """Neighbouring row groups of one file; of the first and the last a part may be wanted."""
    with (
        source.filesystem.open_input_file(source.path) as file,
        pq.ParquetFile(file) as parquet,
    ):
        if not parquet.metadata.equals(footer.metadata):
            # The shares are those of the old file: rows would be missing, or come twice.
            raise UsageError(f"read: {source.path} was replaced while it was read; read it again")
        table = parquet.read_row_groups(
            [cut.unit for cut in cuts], columns=schema.names, use_threads=parallel
        )
    table = table.select(schema.names).replace_schema_metadata(None)
    wanted = sum(cut.stop - cut.start for cut in cuts)
    whole = wanted == table.num_rows
    return table if whole else compact(table.slice(cuts[0].start, wanted))


def _read_arrow(
    sources: list[Source], columns: Sequence[str] | None, rank: int, size: int, parallel: bool
) -> pa.Table:
    """An IPC file does not say how many rows it has; a mapped one tells it at little cost."""
    files = [_open_batches(source) for source in sources]
    schema = one_schema(sources, [found for found, _ in files], columns)
    batches = [batch.select(schema.names) for _, found in files for batch in found]
    tables = [schema.empty_table()]
    for cut in share([batch.num_rows for batch in batches], rank, size):
        part = batches[cut.unit].slice(cut.start, cut.stop - cut.start)
        tables.append(pa.Table.from_batches([part]).replace_schema_metadata(None))
    # Copied, because a mapped file that somebody truncates would kill the process.
    return compact(pa.concat_tables(tables))


def _open_batches(source: Source) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    with blamed(source, "arrow"):
        local = isinstance(source.filesystem, fs.LocalFileSystem)
        file = (
            pa.memory_map(source.path) if local else source.filesystem.open_input_file(source.path)
        )
        if bytes(file.read_at(len(IPC_FILE), 0)) != IPC_FILE:
            stream = pa.ipc.open_stream(file)
            return stream.schema, list(stream)
        reader = pa.ipc.open_file(file)
        return reader.schema, [reader.get_batch(i) for i in range(reader.num_record_batches)]


_READERS: Final[dict[str, Reader]] = {
    "parquet": _read_parquet,
    "csv": read_csv_partition,
    "arrow": _read_arrow,
}


def _make_directory(filesystem: Any, directory: str, size: int) -> None:
    """The directory, without parts that this write will not replace."""
    if filesystem.get_file_info(directory).type == fs.FileType.File:
        raise DescriptionError(f"write_parquet: {directory} is a file; name a directory")
    filesystem.create_dir(directory, recursive=True)
    for info in filesystem.get_file_info(fs.FileSelector(directory)):
        part = PART.fullmatch(info.base_name)
        if part and int(part[1]) >= size:
            raise DescriptionError(
                f"write_parquet: {directory} holds {info.base_name} of a write by more ranks, "
                f"which a reader would take for part of this one: remove it, or choose another "
                f"directory"
            )


@contextmanager
def _finished_file(filesystem: Any, final: str) -> Iterator[str]:
    """A name to write to, which becomes ``final`` once everything is written."""
    if not isinstance(filesystem, fs.LocalFileSystem):
        # An object store shows an object when it is complete, and its rename would be a copy.
        yield final
        return
    directory, name = os.path.split(final)
    unfinished = f"{directory}/.{name}.{uuid.uuid4().hex}"
    try:
        yield unfinished
        os.replace(unfinished, final)
    finally:
        pathlib.Path(unfinished).unlink(missing_ok=True)
