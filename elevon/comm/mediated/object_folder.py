"""A folder of messages among the objects of S3 or of another file system of pyarrow's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from pyarrow import fs

from elevon.comm.mediated.folder import MARKER, MARKER_TEXT, NAME, not_ours


class ObjectFolder:
    """See Folder.

    Args:
        files: the file system.
        parent: bucket and prefix.

    Raises:
        OSError: it cannot be read or written.
        CommunicatorError: what lies below the folder's prefix was not made by Elevon.
    """

    def __init__(self, files: fs.FileSystem, parent: str) -> None:
        self._files = files
        self.where = f"{parent}/{NAME}"
        self._mark()

    def write(self, name: str, parts: Sequence[bytes]) -> None:
        """See Folder."""
        with self._files.open_output_stream(self._path(name)) as stream:
            for part in parts:
                stream.write(part)

    def read(self, name: str, at_most: int | None = None) -> bytes | None:
        """See Folder."""
        try:
            with self._files.open_input_file(self._path(name)) as file:
                return bytes(file.read(at_most))
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """See Folder."""
        with contextlib.suppress(FileNotFoundError):
            self._files.delete_file(self._path(name))

    def files(self) -> Iterator[tuple[str, float]]:
        """See Folder."""
        for found in self._listed():
            if found.type == fs.FileType.File:
                yield found.base_name, found.mtime.timestamp()

    def now(self) -> float:
        """See Folder: the time at which the store takes an object, rounded as that of all."""
        self.write(MARKER, [MARKER_TEXT])
        return float(self._files.get_file_info(self._path(MARKER)).mtime.timestamp())

    def close(self) -> None:
        """See Folder; there is nothing to give up."""

    def _mark(self) -> None:
        if self._is_marked():
            return
        # Looked at again: of two ranks that come at once, one finds what the other has put.
        if self._listed() and not self._is_marked():
            raise not_ours(self.where)
        self.write(MARKER, [MARKER_TEXT])

    def _is_marked(self) -> bool:
        return self.read(MARKER) == MARKER_TEXT

    def _listed(self) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self.where, allow_not_found=True)
        return list(self._files.get_file_info(selector))

    def _path(self, name: str) -> str:
        return f"{self.where}/{name}"
