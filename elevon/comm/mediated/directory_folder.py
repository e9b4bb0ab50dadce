"""A folder of messages in a directory that all hosts mount.

The directory may be open to other users. Ours is not, and it is held open: a name in it means a
file in it and nothing else, whatever symbolic links somebody puts there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence

from elevon.comm.mediated.folder import MARKER, MARKER_TEXT, NAME, not_ours

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# Somebody may put a pipe there, which would be waited for.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_PLAIN_FILE = (errno.ENOENT, errno.ELOOP, errno.ENXIO)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK


class DirectoryFolder:
    """See Folder. Every user has one of their own in the same directory.

    Args:
        parent: the directory; made where there is none.

    Raises:
        OSError: it cannot be made or written.
        CommunicatorError: what has the folder's name in it was not made by Elevon.
    """

    def __init__(self, parent: str) -> None:
        name = f"{NAME}-{os.geteuid()}"
        self.where = os.path.join(parent, name)
        os.makedirs(parent, mode=0o700, exist_ok=True)
        self._fd = _open_marked(parent, name)

    def write(self, name: str, parts: Sequence[bytes]) -> None:
        """See Folder."""
        with open(os.open(name, _WRITE, 0o600, dir_fd=self._fd), "wb") as file:
            file.writelines(parts)

    def read(self, name: str, at_most: int | None = None) -> bytes | None:
        """See Folder."""
        return _read(self._fd, name, at_most)

    def delete(self, name: str) -> None:
        """See Folder."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def files(self) -> Iterator[tuple[str, float]]:
        """See Folder."""
        with os.scandir(self._fd) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        yield entry.name, entry.stat(follow_symlinks=False).st_mtime

    def now(self) -> float:
        """See Folder; a file server has its own clock."""
        os.utime(MARKER, dir_fd=self._fd, follow_symlinks=False)
        return os.stat(MARKER, dir_fd=self._fd, follow_symlinks=False).st_mtime

    def close(self) -> None:
        """See Folder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open_marked(parent: str, name: str) -> int:
    """A descriptor of the folder, which is made where there is none or an empty directory."""
    path = os.path.join(parent, name)
    descriptor = _open_if_marked(path)
    if descriptor is None:
        _make_marked(parent, name)
        descriptor = _open_if_marked(path)
    if descriptor is None:
        raise not_ours(path)
    return descriptor


def _open_if_marked(path: str) -> int | None:
    try:
        descriptor = os.open(path, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):  # the latter also for a symbolic link
        return None
    if _belongs_to_us(descriptor) and _read(descriptor, MARKER) == MARKER_TEXT:
        return descriptor
    os.close(descriptor)
    return None


def _belongs_to_us(directory: int) -> bool:
    """Whether nobody else has made it; what others may do in it is taken back."""
    found = os.fstat(directory)
    if found.st_uid != os.geteuid():
        return os.geteuid() == 0  # file servers give what root makes to nobody
    if found.st_mode & 0o077:
        os.fchmod(directory, 0o700)
    return True


def _make_marked(parent: str, name: str) -> None:
    """Put a folder with its marker in place at once, unless something lies there."""
    new = os.path.join(parent, f".{name}.{secrets.token_hex(8)}")
    marker = os.path.join(new, MARKER)
    os.mkdir(new, 0o700)
    try:
        with open(marker, "xb", opener=_private) as file:
            file.write(MARKER_TEXT)
        # Replaces nothing but an empty directory; of two ranks that come at once one is first.
        os.rename(new, os.path.join(parent, name))
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(marker)
        os.rmdir(new)
        if not os.path.lexists(os.path.join(parent, name)):
            raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read(directory: int, name: str, at_most: int | None = None) -> bytes | None:
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
    except OSError as error:
        if error.errno in _NO_PLAIN_FILE:
            return None
        raise
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return file.readall() if at_most is None else file.read(at_most)
