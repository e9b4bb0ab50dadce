"""From what a user calls files (paths, directories, patterns, URLs) to a list of files.

All ranks list the same files in the same order.
"""

from __future__ import annotations

import importlib
import os
import re
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
_MAGIC: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Source:
    """One file: where it is and how long it is."""

    filesystem: Any
    path: str
    bytes: int


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
    return [source for path in given for source in _expand_one(os.fspath(path), format)]


def resolve(path: Path) -> tuple[Any, str]:
    """The file system of a path or URL, and the path there.

    Args:
        path: a local path or a URL.

    Returns:
        A pyarrow file system and the path in it.

    Raises:
        DescriptionError: no installed file system knows the URL.
    """
    text = os.fspath(path)
    if "://" not in text:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text))
    try:
        filesystem, inside = fs.FileSystem.from_uri(text)
    except pa.ArrowInvalid as unknown:
        return _ask_fsspec(text, unknown)
    return filesystem, inside


@contextmanager
def blamed(source: Source, format: str) -> Iterator[None]:
    """Turn what pyarrow raises on a bad file into an error that names the file."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UsageError(f"read: {source.path} cannot be read as {format}: {error}") from error


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
    info = filesystem.get_file_info(inside)
    if info.type == fs.FileType.File:
        return [Source(filesystem, inside, info.size)]
    if info.type == fs.FileType.Directory:
        found = _list(filesystem, inside, lambda below: _is_data(below, format))
        _refuse_hive(inside, found)
        wanted = f"{format} file ({', '.join(SUFFIXES[format])}) in"
    elif _MAGIC.search(inside):
        found = _glob(filesystem, inside)
        wanted = "file that matches"
    else:
        raise DescriptionError(f"read: there is no file or directory {path}")
    if not found:
        raise DescriptionError(f"read: there is no {wanted} {path}")
    return found


def _refuse_hive(base: str, found: Sequence[Source]) -> None:
    """Directories like ``year=2013`` are columns, which would be lost without a word."""
    for source in found:
        keys = [part for part in PurePosixPath(source.path).relative_to(base).parts if "=" in part]
        if keys:
            raise DescriptionError(
                f"read: {base} is partitioned by its directories ({keys[0]}), and columns in "
                f"directory names are not read; name the files or a pattern to read them without"
            )


def _list(filesystem: Any, base: str, wanted: Any) -> list[Source]:
    selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
    return [
        Source(filesystem, info.path, info.size)
        for info in sorted(filesystem.get_file_info(selector), key=lambda info: str(info.path))
        if info.type == fs.FileType.File and wanted(PurePosixPath(info.path).relative_to(base))
    ]


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
