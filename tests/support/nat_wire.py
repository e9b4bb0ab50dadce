"""A wire with a delay between two network namespaces, which the kernel may have no queue for.

Its two ends are TAP devices; a thread carries the frames over, each after its time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
LONGEST_FRAME = 2048


def tap(name: str) -> int:
    """A TAP device in this namespace, which lives as long as its descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def wire(one: str, other: str, delay_s: float) -> Iterator[None]:
    """Two TAP devices that are joined; to be moved to where they are needed."""
    with contextlib.ExitStack() as cleanup:
        ends = []
        for name in (one, other):
            ends.append(tap(name))
            cleanup.callback(os.close, ends[-1])
        stopping, stop = os.pipe()
        cleanup.callback(os.close, stopping)
        carrying = threading.Thread(target=_carry, args=(ends[0], ends[1], stopping, delay_s))
        carrying.start()
        cleanup.callback(carrying.join)
        cleanup.callback(os.close, stop)
        yield


def _carry(one: int, other: int, stopping: int, delay_s: float) -> None:
    across = {one: other, other: one}
    under_way: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait_s = max(under_way[0][0] - time.monotonic(), 0.0) if under_way else None
        readable = select.select([*across, stopping], [], [], wait_s)[0]
        if stopping in readable:
            return
        for end in readable:
            # A device that is not up yet has nothing, and one that is full drops as wires do.
            with contextlib.suppress(OSError):
                frame = os.read(end, LONGEST_FRAME)
                under_way.append((time.monotonic() + delay_s, across[end], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, end, frame = under_way.popleft()
            with contextlib.suppress(OSError):
                os.write(end, frame)
