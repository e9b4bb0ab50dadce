"""Connections to the relay that are proved and observed before they are needed.

A connection and its proof take three round trips to the relay; a rank that waits for the next call,
or for its own next word, may as well have made them. Each is used for one passage: what a router
remembers of an attempt that failed stands in the way of the next from the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from elevon.comm.connect.nat.line import Line
from elevon.comm.connect.nat.whereabouts import Address
from elevon.errors import CommunicatorError, WireError


@dataclass(frozen=True, slots=True)
class Berth:
    """A place at the relay, from which one passage may go out.

    Attributes:
        line: to the relay; its connection belongs to whoever has taken this.
        address: where the relay sees it come from.
    """

    line: Line
    address: Address

    @property
    def connection(self) -> socket.socket:
        """The line's."""
        return self.line.connection

    @property
    def lies_open(self) -> bool:
        """Whether the relay has neither hung up nor said anything."""
        try:
            self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


class Berths:
    """One is kept ready, from the first call of ``prepare`` on.

    Args:
        come: makes one.
    """

    def __init__(self, come: Callable[[], Coroutine[Any, Any, Berth]]) -> None:
        self._come = come
        self._coming: asyncio.Task[Berth] | None = None

    def prepare(self) -> None:
        """Begin to make the next one, unless that has begun."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._come())
            # One that failed is made again when it is needed, and tells then.
            self._coming.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def take(self) -> Berth:
        """The one that is ready, or a new one.

        Raises:
            CommunicatorError: there is no relay, or it does not let us in.
            WireError: what answers is no relay of this session.
        """
        coming, self._coming = self._coming, None
        self.prepare()
        if coming is not None:
            # A relay that was away may be back.
            with contextlib.suppress(CommunicatorError, WireError):
                berth = await _arrival(coming)
                if berth.lies_open:
                    return berth
                berth.connection.close()
        return await self._come()

    def close(self) -> None:
        """Give up the one that is ready."""
        coming, self._coming = self._coming, None
        if coming is not None:
            _give_up(coming)


async def _arrival(coming: asyncio.Task[Berth]) -> Berth:
    try:
        return await coming
    except asyncio.CancelledError:
        # It may have arrived in the moment in which the wait for it was given up.
        _give_up(coming)
        raise


def _give_up(coming: asyncio.Task[Berth]) -> None:
    if not coming.cancel() and not coming.cancelled() and coming.exception() is None:
        coming.result().connection.close()
