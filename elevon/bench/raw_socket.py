"""What one TCP connection over loopback carries: the measure for the groups of ``bench comm``.

The two ends are two processes, as ranks are: two threads of one Python would wait for each other's
lock.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from typing import Final, NamedTuple

from elevon.comm.connect.sockets import connect, listen, tune

#: Stays in the cache, so that the socket is measured and not the memory.
PIECE: Final = 1 << 20
PIECES: Final = 256
#: As the largest alltoallv of ``comm_ranks``.
MESSAGE: Final = 64 << 20
LAPS: Final = 5
WITHIN_S: Final = 60.0


class Raw(NamedTuple):
    """GB per second of one connection.

    Attributes:
        one_way: in pieces of 1 MiB, out of the one cache and into the other.
        both_ways: 64 MiB out of the memory of each side into that of the other, at once; the sum.
    """

    one_way: float
    both_ways: float


def measure() -> Raw:
    """The best of a few laps between this process and one that is started for it.

    Raises:
        OSError: the other process does not come, or dies.
    """
    with listen("127.0.0.1") as server:
        server.settimeout(WITHIN_S)
        port = str(server.getsockname()[1])
        with subprocess.Popen([sys.executable, "-m", __name__, port]) as peer:
            try:
                connection, _ = server.accept()
                with connection:
                    one_way = _fastest_s(connection, PIECE, 0, PIECES)
                    both_ways = _fastest_s(connection, MESSAGE, 1, 1)
            finally:
                peer.kill()
    return Raw(PIECES * PIECE / one_way / 1e9, 2 * MESSAGE / both_ways / 1e9)


def _fastest_s(connection: socket.socket, size: int, sends: int, receives: int) -> float:
    """Seconds of the fastest lap: so many buffers of this size out, and so many in."""
    tune(connection)  # as the ranks' own connections
    connection.settimeout(WITHIN_S)
    source = b"!" * size  # written, or all of it would be the kernel's one page of zeros
    target = memoryview(bytearray(size))
    seconds = []
    for _ in range(LAPS + 1):
        connection.sendall(b"!")  # both sides start a lap together
        _receive(connection, memoryview(bytearray(1)))
        started = time.perf_counter()
        _lap(connection, [source] * sends, [target] * receives)
        seconds.append(time.perf_counter() - started)
    # The first lap touches fresh memory, and what other work takes away is no figure of the socket.
    return min(seconds[1:])


def _lap(connection: socket.socket, sends: list[bytes], receives: list[memoryview]) -> None:
    def send() -> None:
        for each in sends:
            connection.sendall(each)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for each in receives:
            _receive(connection, each)
    finally:
        sender.join()


def _receive(connection: socket.socket, into: memoryview) -> None:
    received = 0
    while received < len(into):
        count = connection.recv_into(into[received:])
        if count == 0:
            raise ConnectionError("the other end of the raw socket is gone")
        received += count


def main() -> None:
    """The other end."""
    with connect(("127.0.0.1", int(sys.argv[1])), WITHIN_S) as connection:
        _fastest_s(connection, PIECE, PIECES, 0)
        _fastest_s(connection, MESSAGE, 1, 1)


if __name__ == "__main__":
    main()
