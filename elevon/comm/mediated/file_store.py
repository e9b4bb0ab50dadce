"""Objects or files as a store of messages: S3, or a directory that all hosts mount.

Such a store tells nobody of anything, so a reader asks again and again, more and more seldom. A
length in front of each value tells a file that is being written from a whole one; renaming would do
the same on a disk but costs a copy on S3.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from pyarrow import ArrowException, fs

from elevon.comm.base.failure import Fuse
from elevon.comm.base.waiting import Deadline
from elevon.comm.mediated.store import KEPT_S
from elevon.errors import CommunicatorError, UsageError

_LENGTH = struct.Struct("<q")
# Between two looks: a tenth of the time waited so far, so that a late message costs little more.
NAP_SHARE = 0.1
NAP_SHORTEST_S = 0.5e-3
NAP_LONGEST_S = 0.5


class FileStore:
    """See Store.

    Args:
        files: any file system of pyarrow's.
        directory: in it; for Elevon alone, made where there is none.
        job: the job.
        epoch: of its world.
        kept_s: how long what nobody takes is kept.

    Raises:
        CommunicatorError: the directory cannot be made.
    """

    def __init__(
        self, files: fs.FileSystem, directory: str, job: str, epoch: int, kept_s: float = KEPT_S
    ) -> None:
        self._files = files
        self._root = directory.rstrip("/")
        self._kept_s = kept_s
        # A job may be called "..".
        self._directory = f"{self._root}/job-{quote(job, safe='')}-{epoch}"
        with self._asking():
            files.create_dir(self._directory, recursive=True)

    @classmethod
    def of_url(cls, url: str, job: str, epoch: int) -> FileStore:
        """The store that a URL of pyarrow's file systems names.

        Raises:
            UsageError: the URL names none.
            CommunicatorError: the directory cannot be made.
        """
        try:
            files, directory = fs.FileSystem.from_uri(url)
        except (ArrowException, OSError, ValueError) as error:
            raise UsageError(
                f"{url!r} names no store: give redis://host:port/db, s3://bucket/prefix or "
                f"file:///directory ({error})"
            ) from error
        return cls(files, directory, job, epoch)

    @property
    def kept_s(self) -> float:
        """See Store."""
        return self._kept_s

    def put(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """See Store."""
        with self._asking():
            for name, value in objects:
                with self._files.open_output_stream(self._path(name)) as stream:
                    stream.write(_LENGTH.pack(len(value)))
                    stream.write(value)

    def take(
        self, names: Sequence[str], deadline: Deadline, fuse: Fuse
    ) -> tuple[str, bytes] | None:
        """See Store."""
        started = time.monotonic()
        while fuse.failure is None:
            last_look = deadline.passed
            with self._asking():
                for name in names:
                    value = self._take_one(self._path(name))
                    if value is not None:
                        return name, value
            if last_look:
                break
            waited_s = time.monotonic() - started
            nap_s = min(max(waited_s * NAP_SHARE, NAP_SHORTEST_S), NAP_LONGEST_S)
            fuse.nap(min(nap_s, deadline.left_s))
        return None

    def sweep(self) -> None:
        """See Store."""
        oldest = time.time() - self._kept_s
        with self._asking():
            for found in self._files.get_file_info(fs.FileSelector(self._root, recursive=True)):
                if found.type == fs.FileType.File and found.mtime.timestamp() < oldest:
                    # Two jobs may sweep at once.
                    with contextlib.suppress(FileNotFoundError):
                        self._files.delete_file(found.path)

    def close(self) -> None:
        """See Store; there is nothing to give up."""

    def _take_one(self, path: str) -> bytes | None:
        """The value, or None where it is not there or not whole yet."""
        try:
            with self._files.open_input_file(path) as file:
                content = file.read()
        except FileNotFoundError:
            return None
        head = content[: _LENGTH.size]
        if len(head) < _LENGTH.size or len(content) - _LENGTH.size < _LENGTH.unpack(head)[0]:
            return None
        self._files.delete_file(path)
        return bytes(content[_LENGTH.size :])

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}"

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except (ArrowException, OSError) as error:
            raise CommunicatorError(
                f"the store in {self._directory} ({self._files.type_name}) fails: {error}; check "
                "that it is there, and that this rank may read, write and delete in it"
            ) from error
