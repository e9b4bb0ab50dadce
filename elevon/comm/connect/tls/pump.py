"""One thread that carries bytes between the engine's plain sockets and TLS connections.

The engine takes plain descriptors, so it has one end of a pair of local sockets and the pump the
other. Only this thread touches a TLS connection once it is carried: OpenSSL allows one at a time.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

from elevon.comm.connect.tls.way import Way

# After the engine has closed (it knows no half-closed connection), the other side's end is waited
# for this long: closing over unread bytes would be a reset, which overtakes what was just sent.
LINGER_S = 1.0


@dataclass(slots=True, eq=False)
class _Carried:
    """A TLS connection and the pump's end of the plain one."""

    secured: ssl.SSLSocket
    plain: socket.socket
    outward: Way = field(init=False)
    inward: Way = field(init=False)
    until: float | None = None  # the linger's end, once it has begun

    def __post_init__(self) -> None:
        self.outward = Way(self.plain, self.secured)
        self.inward = Way(self.secured, self.plain)

    def move(self) -> bool:
        """Whether it only stopped to let others have their turn."""
        again = self.outward.move()
        again = self.inward.move() or again
        if self.until is None and self.outward.ended and self.outward.flushed:
            self.until = time.monotonic() + LINGER_S
        return again

    def is_over(self, now: float) -> bool:
        arrived = self.inward.ended and self.inward.flushed
        return self.until is not None and (arrived or now >= self.until)

    def wants(self) -> dict[socket.socket, int]:
        wanted: dict[socket.socket, int] = {}
        for end, events in (*self.outward.wants(), *self.inward.wants()):
            wanted[end] = wanted.get(end, 0) | events
        return wanted

    def close(self) -> None:
        self.secured.close()
        self.plain.close()


class Pump:
    """Starts its thread at once."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ear, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._coming: list[_Carried] = []
        self._carried: set[_Carried] = set()
        self._restless: set[_Carried] = set()
        self._flush_until: float | None = None
        self._over = False
        self._thread = threading.Thread(target=self._run, name="tls pump", daemon=True)
        self._thread.start()

    def carry(self, secured: ssl.SSLSocket, plain: socket.socket) -> None:
        """Carry bytes between the two from now on, and close them in the end.

        Args:
            secured: after its handshake; nobody else may touch it any more.
            plain: its other end is the engine's.
        """
        secured.setblocking(False)
        plain.setblocking(False)
        carried = _Carried(secured, plain)
        with self._lock:
            if not self._over:
                self._coming.append(carried)
                self._ring()
                return
        carried.close()

    def close(self, flush_s: float) -> None:
        """End all, after at most this long for what the engine has still sent before it closed."""
        with self._lock:
            if not self._over:
                self._flush_until = time.monotonic() + flush_s
                self._ring()
        self._thread.join()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it rings already
            self._bell.send(b"!")

    def _run(self) -> None:
        try:
            while not self._is_done():
                for carried in self._ready():
                    self._move(carried)
        finally:
            # Also after a defect here: the engine has to see that nothing comes any more.
            self._end()

    def _is_done(self) -> bool:
        with self._lock:
            until = self._flush_until
        if until is None:
            return False
        return all(each.outward.flushed for each in self._carried) or time.monotonic() >= until

    def _ready(self) -> set[_Carried]:
        """Wait; those at which something may be moved, or whose time is over."""
        ready, self._restless = self._restless, set()
        for key, _ in self._selector.select(0 if ready else self._patience()):
            if key.data is None:
                ready |= self._arrivals()
            else:
                ready.add(key.data)
        now = time.monotonic()
        return ready | {each for each in self._carried if each.is_over(now)}

    def _patience(self) -> float | None:
        limits = [each.until for each in self._carried if each.until is not None]
        with self._lock:
            limits += [] if self._flush_until is None else [self._flush_until]
        return max(min(limits) - time.monotonic(), 0.0) if limits else None

    def _arrivals(self) -> set[_Carried]:
        with self._lock:
            self._ear.recv(4096)
            coming, self._coming = self._coming, []
        self._carried.update(coming)
        # TLS may have read more during the handshake than the handshake.
        return set(coming)

    def _move(self, carried: _Carried) -> None:
        if carried.move():
            self._restless.add(carried)
        wanted = {} if carried.is_over(time.monotonic()) else carried.wants()
        for end in (carried.secured, carried.plain):
            self._watch(end, wanted.get(end, 0), carried)
        if carried.is_over(time.monotonic()):
            self._restless.discard(carried)
            self._carried.remove(carried)
            carried.close()

    def _watch(self, end: socket.socket, events: int, carried: _Carried) -> None:
        known = self._selector.get_map().get(end)
        if known is not None and known.events == events:
            return
        if known is not None:
            self._selector.unregister(end)
        if events:
            self._selector.register(end, events, carried)

    def _end(self) -> None:
        with self._lock:
            self._over = True
            coming, self._coming = self._coming, []
        for carried in (*self._carried, *coming):
            carried.close()
        self._selector.close()
        self._ear.close()
        self._bell.close()
