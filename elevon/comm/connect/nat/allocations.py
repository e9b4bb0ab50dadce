"""Relay allocations: connections to the relay that are proved before they are needed.

A connection and its proof take three round trips to the relay; a rank that waits for the next call,
or to make its own next one, may as well have made them. Each is used for one path: what a router
remembers of an attempt that failed stands in the way of the next from the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from elevon.comm.connect.nat.candidates import Address
from elevon.comm.connect.nat.channel import SealedChannel
from elevon.errors import CommunicatorError, WireError


@dataclass(frozen=True, slots=True)
class RelayAllocation:
    """A connection to the relay, from which one path may go out.

    Attributes:
        channel: to the relay; its connection belongs to the caller that has taken this.
        address: that the relay sees it come from.
    """

    channel: SealedChannel
    address: Address

    @property
    def connection(self) -> socket.socket:
        """The channel's."""
        return self.channel.connection

    @property
    def is_open(self) -> bool:
        """Whether the relay has neither hung up nor said anything."""
        try:
            self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


class AllocationPool:
    """Keeps one allocation ready, from the first call of ``prepare`` on.

    Args:
        allocate: makes one.
    """

    def __init__(self, allocate: Callable[[], Coroutine[Any, Any, RelayAllocation]]) -> None:
        self._allocate = allocate
        self._next: asyncio.Task[RelayAllocation] | None = None

    def prepare(self) -> None:
        """Begin to make the next one, unless that has begun."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._allocate())
            # One that failed is made again when it is needed; its error is told then.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def take(self) -> RelayAllocation:
        """The one that is ready, or a new one.

        Raises:
            CommunicatorError: there is no relay, or it does not let us in.
            WireError: what answers is no relay of this session.
        """
        next_one, self._next = self._next, None
        self.prepare()
        if next_one is not None:
            # A relay that was away may be back.
            with contextlib.suppress(CommunicatorError, WireError):
                allocation = await _finished(next_one)
                if allocation.is_open:
                    return allocation
                allocation.connection.close()
        return await self._allocate()

    def close(self) -> None:
        """Give up the one that is ready."""
        next_one, self._next = self._next, None
        if next_one is not None:
            _abandon(next_one)


async def _finished(next_one: asyncio.Task[RelayAllocation]) -> RelayAllocation:
    try:
        return await next_one
    except asyncio.CancelledError:
        # It may have arrived in the moment in which the wait for it was given up.
        _abandon(next_one)
        raise


def _abandon(next_one: asyncio.Task[RelayAllocation]) -> None:
    if not next_one.cancel() and not next_one.cancelled() and next_one.exception() is None:
        next_one.result().connection.close()
