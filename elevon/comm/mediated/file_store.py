"""Files or objects as a store of messages: S3, or a directory that all hosts mount.

Such a store tells nobody of anything, so a reader asks again and again, more and more seldom. A
length in front of each value tells a file that is being written from a whole one; renaming would do
the same on a disk but costs a copy on S3.

What nobody takes is deleted when it has grown old. So that this never meets a file of the user's,
messages lie in a folder with a marker (see ``folder``), and what is deleted lies directly in it,
has a name that only a message has, and begins as only a message does.
"""

from __future__ import annotations

import contextlib
import re
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

from pyarrow import ArrowException, fs

from elevon.comm.base.failure import FailureLatch
from elevon.comm.base.waiting import Deadline
from elevon.comm.mediated.directory_folder import DirectoryFolder
from elevon.comm.mediated.folder import Folder
from elevon.comm.mediated.object_folder import ObjectFolder
from elevon.comm.mediated.store import KEPT_S
from elevon.errors import CommunicatorError, UsageError

_MAGIC = b"elevon\x00\x01"
_HEAD = struct.Struct("<8sq")
_NAME = re.compile(r"[0-9a-f]{32}-\d+\.[A-Za-z0-9.-]+\.message")
# Between two looks: a tenth of the time waited so far, so that a late message costs little more.
SLEEP_SHARE = 0.1
SLEEP_SHORTEST_S = 0.5e-3
SLEEP_LONGEST_S = 0.5


class FileStore:
    """See Store.

    Args:
        url: of pyarrow's file systems: "s3://bucket/prefix", "file:///directory"; the directory is
            made where there is none, and may hold anything else.
        job: the job.
        epoch: of its world.
        kept_s: how long what nobody takes is kept.

    Raises:
        UsageError: the URL names no store.
        CommunicatorError: it cannot be read or written, or the place for messages in it holds
            what Elevon did not make.
    """

    def __init__(self, url: str, job: str, epoch: int, kept_s: float = KEPT_S) -> None:
        files, self._where = _resolved(url)
        self._kind = files.type_name
        self._kept_s = kept_s
        # A job may have any name, ".." too.
        self._prefix = f"{sha256(job.encode()).hexdigest()[:32]}-{epoch}."
        with self._asking():
            self._folder = _folder(files, self._where)

    @property
    def kept_s(self) -> float:
        """See Store."""
        return self._kept_s

    def put(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """See Store."""
        for name, value in objects:
            with self._asking():
                self._folder.write(self._file(name), [_HEAD.pack(_MAGIC, len(value)), value])

    def take(
        self, names: Sequence[str], deadline: Deadline, latch: FailureLatch
    ) -> tuple[str, bytes] | None:
        """See Store."""
        started = time.monotonic()
        while latch.failure is None:
            last_look = deadline.passed
            with self._asking():
                for name in names:
                    value = self._take_one(self._file(name))
                    if value is not None:
                        return name, value
            if last_look:
                break
            waited_s = time.monotonic() - started
            sleep_s = min(max(waited_s * SLEEP_SHARE, SLEEP_SHORTEST_S), SLEEP_LONGEST_S)
            latch.wait(min(sleep_s, deadline.left_s))
        return None

    def sweep(self) -> None:
        """See Store."""
        with self._asking():
            oldest = self._folder.now() - self._kept_s
            for name, changed in self._folder.files():
                if changed < oldest and _NAME.fullmatch(name) and self._is_message(name):
                    self._folder.delete(name)

    def close(self) -> None:
        """See Store."""
        self._folder.close()

    def _take_one(self, file: str) -> bytes | None:
        """The value, or None where it is not there or not whole yet."""
        content = self._folder.read(file)
        if content is None or len(content) < _HEAD.size:
            return None
        magic, length = _HEAD.unpack_from(content)
        if magic != _MAGIC or not 0 <= length <= len(content) - _HEAD.size:
            return None
        self._folder.delete(file)
        return content[_HEAD.size : _HEAD.size + length]

    def _is_message(self, file: str) -> bool:
        """Whether it begins like one, or like one whose writer was killed."""
        head = self._folder.read(file, len(_MAGIC))
        return head is not None and _MAGIC.startswith(head)

    def _file(self, name: str) -> str:
        return f"{self._prefix}{name}.message"

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except (ArrowException, OSError) as error:
            raise CommunicatorError(
                f"the store in {self._where} ({self._kind}) fails: {error}; check that it is "
                "there, and that this rank may read, write and delete in it"
            ) from error


def _resolved(url: str) -> tuple[fs.FileSystem, str]:
    try:
        files, place = fs.FileSystem.from_uri(url)
    except (ArrowException, OSError, ValueError) as error:
        raise UsageError(
            f"{url!r} names no store: give redis://host:port/db, s3://bucket/prefix or "
            f"file:///directory ({error})"
        ) from error
    return files, place.rstrip("/") or place


def _folder(files: fs.FileSystem, place: str) -> Folder:
    if isinstance(files, fs.LocalFileSystem):
        return DirectoryFolder(place)
    return ObjectFolder(files, place)
