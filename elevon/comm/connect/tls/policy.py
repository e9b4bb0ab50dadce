"""Which connections of a process go on in TLS: all of them, or only those through a relay.

The identity and the thread are made when the first connection needs them: most worlds with a relay
punch all their pairs.
"""

from __future__ import annotations

import threading

from elevon.comm.connect.tls.identity import need_cryptography
from elevon.comm.connect.tls.wrapper import TlsWrapper
from elevon.errors import CommunicatorError, UsageError


class TlsPolicy:
    """This process's TLS, if and when it needs one.

    Args:
        always: whether direct connections are TLS, too.

    Raises:
        UsageError: they are to be, and the package that makes certificates is not installed.
    """

    def __init__(self, always: bool = False) -> None:
        self._always = always
        self._lock = threading.Lock()
        self._wrapper = TlsWrapper() if always else None
        self._over = False

    def wrapper_for(self, relayed: bool) -> TlsWrapper | None:
        """What goes around a connection, or None where it is plain; both ends decide the same.

        Args:
            relayed: whether a relay moves its bytes.

        Raises:
            UsageError: the package that makes certificates is not installed.
            CommunicatorError: this process has left its world.
        """
        if not (self._always or relayed):
            return None
        with self._lock:
            if self._over:
                raise CommunicatorError(
                    "this process has left its world: it accepts no more connections"
                )
            if self._wrapper is None:
                self._wrapper = TlsWrapper()
            return self._wrapper

    def close(self, flush_s: float) -> None:
        """End all connections, after at most this long for what is still to be sent."""
        with self._lock:
            self._over = True
            wrapper, self._wrapper = self._wrapper, None
        if wrapper is not None:
            wrapper.close(flush_s)


def can_encrypt() -> bool:
    """Whether this process could make an identity."""
    try:
        need_cryptography()
    except UsageError:
        return False
    return True
