"""A half-duplex pump: bytes from one non-blocking socket to another, either of which may be TLS.

What the source has closed is closed towards the target, behind everything that came before.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl

PIECE_BYTES = 64 * 1024
# A turn at one connection ends here, so that a fast one does not keep the others waiting.
TURN_PIECES = 8

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class HalfDuplexPump:
    """Moves the bytes of one direction.

    Args:
        source: where bytes come from.
        target: where they go.

    Attributes:
        ended: nothing more comes from the source.
        flushed: the target has all that will ever come, or takes nothing more.
    """

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self._source = source
        self._target = target
        self._memory = memoryview(bytearray(PIECE_BYTES))
        self._taken = 0
        self._filled = 0
        # TLS may have to write before it can read, and the other way round.
        self._to_read = READ
        self._to_write = WRITE
        self._may_have_more = True
        self._target_gone = False
        self.ended = False
        self.flushed = False

    def move(self) -> bool:
        """Move what can be moved without waiting.

        Returns:
            Whether it stopped only because others want their turn. TLS may hold bytes that no
            selector tells of, so it has to be called again then.
        """
        for _ in range(TURN_PIECES):
            self._fill()
            # What came is passed on before more is read; what is left waits for the target.
            if not self._drain() or self.ended or not self._may_have_more:
                break
        else:
            return True
        if self.ended and not self.flushed and self._taken == self._filled:
            self.flushed = True
            _end(self._target)
        return False

    def wants(self) -> list[tuple[socket.socket, int]]:
        """What has to happen to which socket before ``move`` can do more."""
        wanted = []
        if not self.ended and self._filled < PIECE_BYTES:
            wanted.append((self._source, self._to_read))
        if self._taken < self._filled:
            wanted.append((self._target, self._to_write))
        return wanted

    def _fill(self) -> None:
        """Read until the memory is full, or the source has no more."""
        self._may_have_more = True
        try:
            while not self.ended and self._filled < PIECE_BYTES:
                count = self._source.recv_into(self._memory[self._filled :])
                self.ended = count == 0
                self._filled += count
        except (BlockingIOError, ssl.SSLWantReadError):
            self._may_have_more, self._to_read = False, READ
        except ssl.SSLWantWriteError:
            self._may_have_more, self._to_read = False, WRITE
        except OSError:
            self.ended = True  # however it ended, its member is lost, and the engine says so

    def _drain(self) -> bool:
        """Whether the target took everything."""
        try:
            while not self._target_gone and self._taken < self._filled:
                self._taken += self._target.send(self._memory[self._taken : self._filled])
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._to_write = WRITE
            return False
        except ssl.SSLWantReadError:
            self._to_write = READ
            return False
        except OSError:
            # The source is read to its end all the same: that end tells the other direction.
            self._target_gone = self.flushed = True
        self._taken = self._filled = 0
        return True


def _end(target: socket.socket) -> None:
    """Say that nothing more comes; a target that is gone already needs not be told."""
    with contextlib.suppress(OSError):
        # SSLSocket's own method would go on without TLS in the other direction, and its unwrap
        # would read, and lose, what still comes from there. So the end is TCP's, see identity.
        socket.socket.shutdown(target, socket.SHUT_WR)
