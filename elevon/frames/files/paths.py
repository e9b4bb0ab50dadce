"""From what a user calls files (paths, directories, patterns, URLs) to a list of files.

All ranks list the same files in the same order.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import translate
from pathlib import PurePosixPath
from typing import Any, Final, TypeAlias

import pyarrow as pa
from pyarrow import fs

from elevon.errors import DescriptionError, UsageError

Path: TypeAlias = str | os.PathLike[str]

#: What counts as a data file inside a directory, by format.
SUFFIXES: Final[dict[str, tuple[str, ...]]] = {
    "parquet": (".parquet", ".parq", ".pq"),
    "csv": (".csv", ".csv.gz", ".csv.bz2", ".csv.zst"),
    "arrow": (".arrow", ".arrows", ".feather", ".ipc"),
}
#: By the ends of their names; nobody can enter these files in the middle.
CODECS: Final = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_MAGIC: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Source:
    """One file: where it is and how long it is."""

    filesystem: Any
    path: str
    bytes: int

    def open(self) -> Any:
        """The file, to be read anywhere."""
        return self.filesystem.open_input_file(_name(self.filesystem, self.path))

    def open_stream(self) -> Any:
        """The file from its beginning, decompressed as its name says."""
        compression = CODECS.get(PurePosixPath(self.path).suffix)
        name = _name(self.filesystem, self.path)
        return self.filesystem.open_input_stream(name, compression=compression)

    def __str__(self) -> str:
        return shown(self.path)


def is_local(filesystem: Any) -> bool:
    """Whether paths are those of this host."""
    return isinstance(filesystem, fs.LocalFileSystem)


def shown(path: Path) -> str:
    """A path for a message; bytes that are no text are spelled out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _name(filesystem: Any, path: str) -> Any:
    """What a file system takes for a path: a local name is bytes, and not always text."""
    return os.fsencode(path) if is_local(filesystem) else path


def expand(paths: Path | Sequence[Path], format: str) -> list[Source]:
    """The files that ``paths`` stand for: in the given order, each directory or pattern sorted.

    Args:
        paths: files, directories, patterns with ``*``, ``?``, ``[...]`` or ``**``; local or with a
            URL's scheme (what pyarrow does not know is asked of fsspec, where that is installed).
        format: parquet, csv or arrow: which files of a directory are meant.

    Returns:
        The files, at least one.

    Raises:
        DescriptionError: a path is not there, or nothing matches it.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise DescriptionError("read: no path is given")
    found = []
    for path in given:
        with _listed(path):
            found += _expand_one(os.fspath(path), format)
    return found


def resolve(path: Path) -> tuple[Any, str]:
    """The file system of a path or URL, and the path there.

    Args:
        path: a local path or a URL.

    Returns:
        A pyarrow file system and the path in it.

    Raises:
        DescriptionError: no installed file system knows the URL, or it cannot be a path.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise DescriptionError(f"{text!r} is no path: no name holds a NUL")
    if "://" not in text:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text))
    try:
        filesystem, inside = fs.FileSystem.from_uri(text)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as unknown:
        return _ask_fsspec(text, unknown)
    return filesystem, inside


def data_files(filesystem: Any, directory: str, format: str) -> list[Source]:
    """The files below a directory that are read where it is named, sorted.

    Args:
        filesystem: of the directory.
        directory: its path there; it may be missing.
        format: parquet, csv or arrow.
    """
    return _list(filesystem, directory, lambda below: _is_data(below, format))


@contextmanager
def blamed(source: Source, format: str) -> Iterator[None]:
    """Turn what pyarrow raises on a bad file into an error that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"read: {source} cannot be read as {format}: {error}") from error


@contextmanager
def _listed(path: Path) -> Iterator[None]:
    """Turn what a file system raises on a path into an error that names it."""
    try:
        yield
    except UsageError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DescriptionError(f"read: {shown(path)} cannot be looked up: {error}") from error


def _ask_fsspec(url: str, unknown: Exception) -> tuple[Any, str]:
    try:
        filesystem, path = importlib.import_module("fsspec.core").url_to_fs(url)
    except ImportError as error:
        raise DescriptionError(
            f"{url}: pyarrow does not know this kind of URL ({unknown}), and fsspec, or what it "
            f"needs for this URL, is not installed on this rank ({error})"
        ) from error
    except ValueError as error:
        raise DescriptionError(f"{url}: neither pyarrow nor fsspec knows it: {error}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path


def _expand_one(path: str, format: str) -> list[Source]:
    filesystem, inside = resolve(path)
    kind, size = _look(filesystem, inside)
    if kind == fs.FileType.File:
        return [Source(filesystem, inside, size)]
    if kind == fs.FileType.Directory:
        found = data_files(filesystem, inside, format)
        _refuse_hive(inside, found)
        wanted = f"{format} file ({', '.join(SUFFIXES[format])}) in"
    elif _MAGIC.search(inside):
        found = _glob(filesystem, inside)
        wanted = "file that matches"
    else:
        raise DescriptionError(f"read: there is no file or directory {shown(path)}")
    if not found:
        raise DescriptionError(f"read: there is no {wanted} {shown(path)}")
    return found


def _look(filesystem: Any, path: str) -> tuple[fs.FileType, int]:
    """What is there, and how long it is."""
    if not is_local(filesystem):
        info = filesystem.get_file_info(path)
        return info.type, info.size
    if os.path.isdir(path):
        return fs.FileType.Directory, 0
    exists = os.path.exists(path)
    return (fs.FileType.File, os.path.getsize(path)) if exists else (fs.FileType.NotFound, 0)


def _refuse_hive(base: str, found: Sequence[Source]) -> None:
    """Directories like ``year=2013`` are columns, which would be lost without a word."""
    for source in found:
        directories = PurePosixPath(source.path).relative_to(base).parts[:-1]
        keys = [part for part in directories if "=" in part]
        if keys:
            raise DescriptionError(
                f"read: {shown(base)} is partitioned by its directories ({shown(keys[0])}), and "
                f"columns in directory names are not read; name the files or a pattern to read "
                f"them without"
            )


def _list(filesystem: Any, base: str, wanted: Any) -> list[Source]:
    files = _walk(base) if is_local(filesystem) else _select(filesystem, base)
    return [
        Source(filesystem, path, size)
        for path, size in sorted(files)
        if wanted(PurePosixPath(path).relative_to(base))
    ]


def _walk(base: str) -> Iterator[tuple[str, int]]:
    """All files below a local directory: Arrow's own listing gives up on a name that is no text."""
    seen = set()
    for directory, below, names in os.walk(base, onerror=_refuse, followlinks=True):
        place = _status(directory)
        if place is None or (place.st_dev, place.st_ino) in seen:
            below.clear()  # gone, or a link that leads back
            continue
        seen.add((place.st_dev, place.st_ino))
        for name in names:
            path = os.path.join(directory, name)
            found = _status(path)
            if found is not None and stat.S_ISREG(found.st_mode):
                yield path, found.st_size


def _status(path: str) -> os.stat_result | None:
    """None for a dead link, and for what was renamed or removed since it was listed."""
    try:
        return os.stat(path)
    except OSError:
        return None


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _select(filesystem: Any, base: str) -> Iterator[tuple[str, int]]:
    selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
    for info in filesystem.get_file_info(selector):
        if info.type == fs.FileType.File:
            yield str(info.path), info.size


def _is_data(below: PurePosixPath, format: str) -> bool:
    """Hidden names and names like ``_SUCCESS`` are other programs' notes, or unfinished parts."""
    hidden = any(part.startswith((".", "_")) for part in below.parts)
    return not hidden and below.name.endswith(SUFFIXES[format])


def _glob(filesystem: Any, pattern: str) -> list[Source]:
    parts = PurePosixPath(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    matcher = tuple(parts[fixed:])
    return _list(
        filesystem, str(PurePosixPath(*parts[:fixed])), lambda below: _matches(below.parts, matcher)
    )


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """As a shell does: ``*`` stays inside one name, ``**`` is any number of directories."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or (bool(parts) and _matches(parts[1:], pattern))
    return (
        bool(parts)
        and (pattern[0].startswith(".") or not parts[0].startswith("."))
        and re.fullmatch(translate(pattern[0]), parts[0]) is not None
        and _matches(parts[1:], pattern[1:])
    )
