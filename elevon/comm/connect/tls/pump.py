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

from elevon.comm.connect.tls.half_duplex import HalfDuplexPump

# After the engine has closed (it knows no half-closed connection), the other side's end is waited
# for this long: closing over unread bytes would be a reset, which overtakes what was just sent.
LINGER_S = 1.0


@dataclass(slots=True, eq=False)
class _Tunnel:
    """A TLS connection and the pump's end of the plain one."""

    secured: ssl.SSLSocket
    plain: socket.socket
    outward: HalfDuplexPump = field(init=False)
    inward: HalfDuplexPump = field(init=False)
    until: float | None = None  # the linger's end, once it has begun

    def __post_init__(self) -> None:
        self.outward = HalfDuplexPump(self.plain, self.secured)
        self.inward = HalfDuplexPump(self.secured, self.plain)

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
    """Carries all wrapped connections of this process; starts its thread at once."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_sender.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._added: list[_Tunnel] = []
        self._tunnels: set[_Tunnel] = set()
        self._unfinished: set[_Tunnel] = set()
        self._flush_until: float | None = None
        self._over = False
        self._thread = threading.Thread(target=self._run, name="tls pump", daemon=True)
        self._thread.start()

    def carry(self, secured: ssl.SSLSocket, plain: socket.socket) -> None:
        """Carry bytes between the two from now on, and close them in the end.

        Args:
            secured: after its handshake; no other thread may touch it any more.
            plain: its other end is the engine's.
        """
        secured.setblocking(False)
        plain.setblocking(False)
        tunnel = _Tunnel(secured, plain)
        with self._lock:
            if not self._over:
                self._added.append(tunnel)
                self._wake()
                return
        tunnel.close()

    def close(self, flush_s: float) -> None:
        """End all, after at most this long for what the engine has still sent before it closed."""
        with self._lock:
            if not self._over:
                self._flush_until = time.monotonic() + flush_s
                self._wake()
        self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is woken already
            self._wake_sender.send(b"!")

    def _run(self) -> None:
        try:
            while not self._is_done():
                for tunnel in self._ready():
                    self._move(tunnel)
        finally:
            # Also after a defect here: the engine has to see that nothing comes any more.
            self._end()

    def _is_done(self) -> bool:
        with self._lock:
            until = self._flush_until
        if until is None:
            return False
        return all(each.outward.flushed for each in self._tunnels) or time.monotonic() >= until

    def _ready(self) -> set[_Tunnel]:
        """Wait for the tunnels at which something may be moved, or that have come to their end."""
        ready, self._unfinished = self._unfinished, set()
        for key, _ in self._selector.select(0 if ready else self._wait_s()):
            if key.data is None:
                ready |= self._take_added()
            else:
                ready.add(key.data)
        now = time.monotonic()
        return ready | {each for each in self._tunnels if each.is_over(now)}

    def _wait_s(self) -> float | None:
        limits = [each.until for each in self._tunnels if each.until is not None]
        with self._lock:
            limits += [] if self._flush_until is None else [self._flush_until]
        return max(min(limits) - time.monotonic(), 0.0) if limits else None

    def _take_added(self) -> set[_Tunnel]:
        with self._lock:
            self._wake_receiver.recv(4096)
            added, self._added = self._added, []
        self._tunnels.update(added)
        # TLS may have read more during the handshake than the handshake.
        return set(added)

    def _move(self, tunnel: _Tunnel) -> None:
        if tunnel.move():
            self._unfinished.add(tunnel)
        wanted = {} if tunnel.is_over(time.monotonic()) else tunnel.wants()
        for end in (tunnel.secured, tunnel.plain):
            self._watch(end, wanted.get(end, 0), tunnel)
        if tunnel.is_over(time.monotonic()):
            self._unfinished.discard(tunnel)
            self._tunnels.remove(tunnel)
            tunnel.close()

    def _watch(self, end: socket.socket, events: int, tunnel: _Tunnel) -> None:
        known = self._selector.get_map().get(end)
        if known is not None and known.events == events:
            return
        if known is not None:
            self._selector.unregister(end)
        if events:
            self._selector.register(end, events, tunnel)

    def _end(self) -> None:
        with self._lock:
            self._over = True
            added, self._added = self._added, []
        for tunnel in (*self._tunnels, *added):
            tunnel.close()
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()
