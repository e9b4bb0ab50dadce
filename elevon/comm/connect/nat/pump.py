"""Moves bytes between two connections until both directions have ended.

What one side has closed is closed towards the other, after everything before it has arrived.
"""

from __future__ import annotations

import asyncio
import socket

PIECE_BYTES = 256 * 1024
# A member that ends its own direction means to end the connection; the engine knows no half ones.
LINGER_S = 30.0


async def forward_both_ways(one: socket.socket, other: socket.socket) -> None:
    """Return when both directions have ended, or one has failed."""
    directions = {
        asyncio.ensure_future(_move(one, other)),
        asyncio.ensure_future(_move(other, one)),
    }
    try:
        done, pending = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        if pending and not any(task.exception() for task in done):
            await asyncio.wait(pending, timeout=LINGER_S)
    finally:
        for task in directions:
            task.cancel()
        # The caller closes the sockets next, so no task may wait on them.
        await asyncio.wait(directions)
    for task in directions:
        error = None if task.cancelled() else task.exception()
        # A member that is gone is the end of the pair, and no more than that.
        if error is not None and not isinstance(error, OSError):
            raise error


async def _move(source: socket.socket, target: socket.socket) -> None:
    piece = memoryview(bytearray(PIECE_BYTES))
    while count := await asyncio.get_running_loop().sock_recv_into(source, piece):
        await pass_on(target, piece[:count])
    target.shutdown(socket.SHUT_WR)


async def pass_on(target: socket.socket, piece: memoryview) -> None:
    """One piece, when the target has taken all of it."""
    await asyncio.get_running_loop().sock_sendall(target, piece)
