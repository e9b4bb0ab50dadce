"""A distributed table as a directory of Parquet files, one for each rank.

All ranks agree before anything is written, and again before anything is shown: every part is
written under a hidden name beside its place, and renamed once all of them are whole. So a write
that fails leaves the directory as it was.
"""

from __future__ import annotations

import os
import pathlib
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError, ResourceError, SchemaError
from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.requests import Request, settle
from elevon.frames.files.paths import Path, data_files, is_local, resolve, shown
from elevon.frames.schema.empty import empty_table
from elevon.frames.schema.join_plan import find_column
from elevon.frames.schema.plain import plain_columns
from elevon.model.operations import CODECS

#: Rows in a row group that we write: small enough that ranks seldom have to cut one.
ROW_GROUP_ROWS: Final = 1 << 18
#: Fewer are not worth a row group, however small the budget is.
FEWEST_ROWS: Final = 4096
#: A row group under way: its rows in another form, their pages, and these compressed.
GROUP_SCRATCH: Final = 3
#: And for each value while it may be a new entry of its column's dictionary (measured: 180).
ENTRY_BYTES: Final = 200
PART: Final = re.compile(r"part-(\d{5,})\.parquet")


def write_parquet(
    comm: Communicator,
    table: pa.Table,
    path: Path,
    compression: str = "zstd",
    overwrite: bool = False,
    memory_bytes: int | None = None,
) -> str:
    """Write each rank's rows as ``part-<rank>.parquet`` into a directory: all of them or none.

    Collective.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        path: the directory (or URL); made where it is missing.
        compression: a codec of Parquet: zstd, snappy, gzip, lz4, brotli, none.
        overwrite: whether parts that are there already are replaced, and those of more ranks
            removed; other files stay. Otherwise a directory that holds a part is refused. Another
            file that would be read as a part of this table is refused either way.
        memory_bytes: how much working memory each rank may take beside its rows; None: no limit.

    Returns:
        The path of this rank's file.

    Raises:
        DescriptionError: the path is no directory, parts are there, or the codec is
            unknown; on every rank.
        SchemaError: Parquet has no form for a column's type, or the ranks' columns differ; on
            every rank.
        ResourceError: the disk is full or broken, on any rank; on every rank.
        CommunicatorError: the group failed.
    """

    def prepare() -> Request[tuple[_Target, pa.Table]]:
        if compression not in CODECS:
            raise DescriptionError(
                f"write_parquet: compression={compression!r} is none of {', '.join(CODECS)}"
            )
        target = _Target(*_resolved(path), comm.rank, comm.size)
        plain = plain_columns(table)  # Parquet knows no dictionary of views
        _check_schema(plain.schema, target, compression)
        with _refusals(target):
            target.check(overwrite)
        terms = f"write_parquet of {spell(plain.schema)}: {compression}, {overwrite=}"
        return Request((target, plain), terms)

    (target, plain), _ = settle(comm, prepare)
    rows = _group_rows(plain, memory_bytes)
    with target.unfinished() as name:
        settle(comm, _step(target, lambda: target.write(plain, name, compression, rows)))
        with target.withdrawn(name):
            settle(comm, _step(target, lambda: target.publish(name)))
    return target.final


@dataclass(frozen=True, slots=True)
class _Target:
    """Where one rank writes.

    Attributes:
        filesystem: of the directory.
        directory: its path there.
        rank: whose part it is.
        size: how many parts there will be.
    """

    filesystem: Any
    directory: str
    rank: int
    size: int

    @property
    def final(self) -> str:
        """The part, once it is whole."""
        return f"{self.directory}/part-{self.rank:05d}.parquet"

    def check(self, overwrite: bool) -> None:
        """Refuse a directory that would not be this table alone; nothing is touched.

        Raises:
            DescriptionError: what is in the way, and what to do.
        """
        where = shown(self.directory)
        if self._is_no_directory():
            raise DescriptionError(f"write_parquet: {where} is no directory; name one")
        for name, is_directory in self._entries():
            if PART.fullmatch(name) and is_directory:
                raise DescriptionError(
                    f"write_parquet: {where}/{name} is a directory: choose another place"
                )
            if PART.fullmatch(name) and not overwrite:
                raise DescriptionError(
                    f"write_parquet: {where} holds {name} already, which would be replaced, or be "
                    f"read as a part of this table: remove it, choose another directory, or pass "
                    f"overwrite=True"
                )
        for found in data_files(self.filesystem, self.directory, "parquet"):
            name = found.path[len(self.directory) + 1 :]
            if not PART.fullmatch(name):
                raise DescriptionError(
                    f"write_parquet: {where} holds {shown(name)}, which is no part of a table and "
                    f"would be read as one: move it, or choose another directory"
                )

    @contextmanager
    def unfinished(self) -> Iterator[str]:
        """A name to write to; after an error there is nothing of this name."""
        name = f"{self.directory}/.{pathlib.PurePosixPath(self.final).name}.{uuid.uuid4().hex}"
        if not is_local(self.filesystem):
            # An object store shows an object when it is complete, and its rename would be a copy.
            name = self.final
        try:
            yield name
        except BaseException:
            self._remove(name)
            raise

    @contextmanager
    def withdrawn(self, name: str) -> Iterator[None]:
        """Take the part back if another rank's cannot be shown."""
        try:
            yield
        except BaseException:
            if not (is_local(self.filesystem) and os.path.lexists(name)):
                self._remove(self.final)
            raise

    def write(self, table: pa.Table, name: str, compression: str, rows: int) -> None:
        """Write the rows to a file of this name."""
        self.filesystem.create_dir(self._local(self.directory), recursive=True)
        with self.filesystem.open_output_stream(self._local(name)) as file:
            pq.write_table(table, file, compression=compression, row_group_size=rows)

    def publish(self, name: str) -> None:
        """Give the file its name; the first rank removes parts of a write by more ranks."""
        if name != self.final:
            os.replace(name, self.final)
        if self.rank:
            return
        for other, _ in list(self._entries()):
            part = PART.fullmatch(other)
            if part and int(part[1]) >= self.size:
                self.filesystem.delete_file(self._local(f"{self.directory}/{other}"))

    def _is_no_directory(self) -> bool:
        if is_local(self.filesystem):
            return os.path.lexists(self.directory) and not os.path.isdir(self.directory)
        return bool(self.filesystem.get_file_info(self.directory).type == fs.FileType.File)

    def _entries(self) -> Iterator[tuple[str, bool]]:
        """Names in the directory, and whether each is a directory; links are what they are."""
        if is_local(self.filesystem):
            if os.path.isdir(self.directory):
                with os.scandir(self.directory) as entries:
                    for entry in entries:
                        yield entry.name, entry.is_dir(follow_symlinks=False)
            return
        selector = fs.FileSelector(self.directory, allow_not_found=True)
        for info in self.filesystem.get_file_info(selector):
            yield info.base_name, info.type == fs.FileType.Directory

    def _remove(self, path: str) -> None:
        """Remove what may be there; the error that led here is the one to tell."""
        with suppress(OSError):
            self.filesystem.delete_file(self._local(path))

    def _local(self, path: str) -> Any:
        return os.fsencode(path) if is_local(self.filesystem) else path


def _resolved(path: Path) -> tuple[Any, str]:
    try:
        return resolve(path)
    except DescriptionError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DescriptionError(f"write_parquet: {shown(path)}: {error}") from error


def _check_schema(schema: pa.Schema, target: _Target, compression: str) -> None:
    """Whether Parquet has a form for it: of the types, a file without rows tells."""
    if not schema.names:
        raise SchemaError(
            f"write_parquet: {shown(target.final)}: a table without columns keeps no rows in "
            f"parquet; add a column"
        )
    for name in schema.names:
        find_column(schema, name, "write_parquet: the table")
    try:
        pq.write_table(empty_table(schema), pa.BufferOutputStream(), compression=compression)
    except (pa.ArrowException, OSError) as error:  # nothing was written but memory
        raise SchemaError(
            f"write_parquet: {shown(target.final)}: a column cannot be written as parquet: {error}"
        ) from error


def _step(target: _Target, work: Callable[[], None]) -> Callable[[], Request[None]]:
    """A part of the way that all ranks get over, or none."""

    def run() -> Request[None]:
        with _refusals(target):
            work()
        return Request(None, "")

    return run


@contextmanager
def _refusals(target: _Target) -> Iterator[None]:
    """Turn what Arrow and the system raise into what all ranks can be told."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"write_parquet: {shown(target.final)} cannot be written: {error}; check the "
            f"permissions and the free space there, or choose another directory"
        ) from error
    except pa.ArrowException as error:
        raise SchemaError(
            f"write_parquet: {shown(target.final)} cannot be written: {error}"
        ) from error


def _group_rows(table: pa.Table, memory_bytes: int | None) -> int:
    if memory_bytes is None or not table.num_rows:
        return ROW_GROUP_ROWS
    row_bytes = GROUP_SCRATCH * own_bytes(table) / table.num_rows + ENTRY_BYTES * table.num_columns
    return int(min(ROW_GROUP_ROWS, max(FEWEST_ROWS, memory_bytes // max(1, row_bytes))))
