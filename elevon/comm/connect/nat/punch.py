"""One direct connection between two ranks that dial each other at the same moment.

Both sides dial all candidates of the other and listen, all from one local port: the one that the
NATs have mapped. A SYN that leaves opens the way for the one that comes, so it does not matter
which is first, and both may end up with several connections. On each of them the two prove that
they know the key of this attempt, so a stranger that answers at a private address is told apart,
and send each other 128 KiB, so a path that eats large packets is found now and not in a collective
(see ``connectivity_check``). The first side confirms one connection only, and so nominates it: both
take the same one.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from elevon.comm.connect.nat.candidates import Address
from elevon.comm.connect.nat.channel import accept, bind_shared, connect, keep_alive
from elevon.comm.connect.nat.connectivity_check import ConnectivityCheck
from elevon.errors import CommunicatorError, WireError

# Strangers that dial our port cost no more than these.
MOST_INCOMING = 16
# A NAT that answers strangers with a reset lets a SYN in only while one of its own is on the way,
# so two such NATs need two SYNs that meet. They meet soon if both sides dial about half of the
# time, at moments that are their own: a pause is as long as the refusal took, by chance more or
# less, and grows slowly. Where a SYN is met by silence there is no refusal, and the kernel repeats
# it, which is better: a socket that is made anew would refuse the other's SYN meanwhile.
SHORTEST_PAUSE_S = 0.0005
LONGEST_PAUSE_S = 0.5
PAUSE_GROWTH = 1.02


@dataclass(frozen=True, slots=True, repr=False)
class PunchPlan:
    """What both sides know when they begin.

    Attributes:
        port: the local port that the NAT has mapped; fresh for each attempt, for what a NAT
            remembers of one that failed stands in the way of the next.
        targets: addresses of the other side.
        key: 32 bytes that only the two have, fresh for this attempt.
        first: which of the two sides this is.
        peer: the other's name, for messages.
        within_s: seconds for all of it.
    """

    port: int
    targets: tuple[Address, ...]
    key: bytes
    first: bool
    peer: str
    within_s: float


async def punch(plan: PunchPlan) -> socket.socket:
    """Connect directly with the other side, which does the same now.

    Args:
        plan: see there.

    Returns:
        The connected socket, non-blocking; nothing has been read of what comes next.

    Raises:
        CommunicatorError: no connection came about in time; the message says what was tried.
        OSError: the local port cannot be used.
    """
    return await _Attempt(plan).run()


class _Attempt:
    def __init__(self, plan: PunchPlan) -> None:
        self._plan = plan
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._winner: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._nominating = asyncio.Lock()
        self._incoming = 0
        self._tried: dict[str, str] = {}

    async def run(self) -> socket.socket:
        listener = bind_shared(self._plan.port)
        try:
            listener.listen(MOST_INCOMING)
            self._start(self._accept(listener))
            for target in self._plan.targets:
                self._start(self._dial(target))
            await asyncio.wait({self._over}, timeout=self._plan.within_s)
        except BaseException:
            self._abandon()
            raise
        finally:
            await self._end()
            listener.close()
        if self._over.done():
            self._over.result()
        if self._winner is None:
            raise CommunicatorError(self._report())
        return self._winner

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._look)
        return task

    def _look(self, task: asyncio.Task[None]) -> None:
        """Report a task that has failed in a way that no peer has caused."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._over.done():
            self._over.set_exception(error)

    def _abandon(self) -> None:
        self._over.cancel()
        if self._winner is not None:
            self._winner.close()

    async def _end(self) -> None:
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks), timeout=0.1)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, address = await accept(listener)
            if self._incoming >= MOST_INCOMING:
                connection.close()
                continue
            task = self._start(self._serve_incoming(connection, address))
            # Not in the task itself: one that is cancelled at once never begins.
            task.add_done_callback(partial(self._close_loser, connection))

    async def _serve_incoming(self, connection: socket.socket, address: Address) -> None:
        self._incoming += 1
        try:
            keep_alive(connection)
            await self._try(connection)
        except (OSError, WireError) as error:
            self._note("from", address, error)
        finally:
            self._incoming -= 1

    async def _dial(self, target: Address) -> None:
        loop, growth = asyncio.get_running_loop(), 1.0
        while not self._over.done():
            began = loop.time()
            await self._dial_once(target)
            took = max(loop.time() - began, SHORTEST_PAUSE_S)
            pause = min(took * growth, LONGEST_PAUSE_S) * random.uniform(0.0, 2.0)
            await asyncio.wait({self._over}, timeout=pause)
            growth *= PAUSE_GROWTH

    async def _dial_once(self, target: Address) -> None:
        connection = bind_shared(self._plan.port)
        self._note("to", target, "no answer")
        try:
            await connect(connection, target)
            await self._try(connection)
        except (OSError, WireError) as error:
            self._note("to", target, error)
        finally:
            self._close_loser(connection)

    async def _try(self, connection: socket.socket) -> None:
        check = ConnectivityCheck(connection, self._plan.key, self._plan.first)
        await check.test()
        if self._plan.first:
            await self._nominate(connection, check)
        else:
            await check.confirm()
            await check.confirmed()
            self._win(connection)

    async def _nominate(self, connection: socket.socket, check: ConnectivityCheck) -> None:
        # Held until the other side has confirmed or is gone: at most one is ever in question.
        async with self._nominating:
            if self._winner is None:
                await check.confirm()
                await check.confirmed()
                self._win(connection)

    def _win(self, connection: socket.socket) -> None:
        if not self._over.done():
            self._winner = connection
            self._over.set_result(None)

    def _close_loser(self, connection: socket.socket, _: object = None) -> None:
        if connection is not self._winner:
            connection.close()

    def _note(self, direction: str, address: Address, what: object) -> None:
        # Those that dial us may be many; what they did is worth a line, not a list.
        if direction == "to" or len(self._tried) < MOST_INCOMING:
            self._tried[f"{direction} {address[0]}:{address[1]}"] = str(what)

    def _report(self) -> str:
        tried = "; ".join(f"{address}: {what}" for address, what in self._tried.items())
        return (
            f"no direct connection with {self._plan.peer} within {self._plan.within_s:g} s from"
            f" port {self._plan.port} ({tried or 'it has no address that could be dialed'}):"
            " use a relay, or let one of the two be reached from outside"
        )
