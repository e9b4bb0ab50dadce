"""The data plane of one host: partitions are handed over as memory, not as messages.

A request goes over a Unix socket in the session's 0700 directory; the answer is the descriptor of
an anonymous memory file (memfd), which the receiver maps: one copy, no name that could leak, and
the kernel frees it when the last user is gone, however that one ends. Who is asking is checked by
the kernel's word (SO_PEERCRED): the same user or nobody.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from elevon.errors import WireError

_LENGTH = struct.Struct("<I")
_SIZE = struct.Struct("<q")
_MISSING = -1
_LONGEST_REQUEST = 64 * 1024


def socket_of_rank(directory: Path, world: int, rank: int) -> Path:
    """Where a rank of a world serves what it keeps."""
    return directory / f"rank{rank}.{world}.sock"


def remove_sockets(directory: Path, world: int) -> None:
    """Remove what ranks of a world that has ended left behind: the killed cannot tidy up."""
    for path in directory.glob(f"rank*.{world}.sock"):
        path.unlink(missing_ok=True)


class PartitionRequest(msgspec.Struct, frozen=True):
    """Rows offset..offset+rows of what the server keeps under ``key``."""

    key: str
    offset: int
    rows: int


class PartitionServer:
    """Serves what ``write(request, descriptor)`` writes; KeyError there means "not here".

    One thread accepts, one more per connection that is being served: a slow reader of one
    partition keeps nobody else waiting.
    """

    def __init__(self, path: Path, write: Callable[[PartitionRequest, int], None]) -> None:
        self.address = f"unix:{path}"
        self._path = path
        self._write = write
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        with _short(path) as name:
            self._socket.bind(name)
        path.chmod(0o600)
        self._socket.listen(128)
        self._closed = False
        threading.Thread(target=self._accept, name=f"data {path.name}", daemon=True).start()

    def close(self) -> None:
        """Stop serving; what was handed over stays with those who have it."""
        self._closed = True
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closed:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            peer.settimeout(60.0)
            try:
                if _peer_uid(peer) == os.getuid():
                    self._answer(peer, _receive_request(peer))
            except (OSError, WireError, msgspec.DecodeError):
                return  # the asker sees its connection closed and reports that

    def _answer(self, peer: socket.socket, request: PartitionRequest) -> None:
        descriptor = os.memfd_create(request.key, os.MFD_CLOEXEC)
        try:
            self._write(request, descriptor)
            size = os.fstat(descriptor).st_size
            socket.send_fds(peer, [_SIZE.pack(size)], [descriptor])
        except KeyError:
            peer.sendall(_SIZE.pack(_MISSING))
        finally:
            os.close(descriptor)


def fetch(address: str, request: PartitionRequest, timeout_s: float = 60.0) -> memoryview:
    """The bytes of a partition, mapped; they live as long as the view.

    Raises:
        WireError: the server is gone, does not have it, or did not answer in time.
    """
    scheme, _, path = address.partition(":")
    if scheme != "unix":
        raise WireError(f"no way to fetch from {address!r}: only unix: is known")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(timeout_s)
            with _short(Path(path)) as name:
                peer.connect(name)
            body = msgspec.msgpack.encode(request)
            peer.sendall(_LENGTH.pack(len(body)) + body)
            answer, descriptors, _, _ = socket.recv_fds(peer, _SIZE.size, 1)
    except OSError as error:
        raise WireError(f"{request.key} could not be fetched from {address}: {error}") from error
    return _map(request, address, answer, descriptors)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Another name of the path that fits into the 107 bytes of a socket's address."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _map(
    request: PartitionRequest, address: str, answer: bytes, descriptors: list[int]
) -> memoryview:
    try:
        if len(answer) != _SIZE.size:
            raise WireError(f"{address} closed the connection instead of sending {request.key}")
        (size,) = _SIZE.unpack(answer)
        if size == _MISSING or not descriptors:
            raise WireError(f"{address} does not hold {request.key} (any more)")
        return memoryview(mmap.mmap(descriptors[0], size, prot=mmap.PROT_READ))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _peer_uid(peer: socket.socket) -> int:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _receive_request(peer: socket.socket) -> PartitionRequest:
    (length,) = _LENGTH.unpack(_receive_exactly(peer, _LENGTH.size))
    if length > _LONGEST_REQUEST:
        raise WireError(f"a request of {length} bytes")
    return msgspec.msgpack.decode(_receive_exactly(peer, length), type=PartitionRequest)


def _receive_exactly(peer: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        piece = peer.recv(count - len(received))
        if not piece:
            raise WireError("the connection was closed inside a message")
        received += piece
    return bytes(received)
