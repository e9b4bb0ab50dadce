"""A rank's side of the relay: others reach it, and it reaches others, on a thread of its own.

The connection to the relay is kept as long as the rank lives: it also keeps the NAT's mapping. If
it is lost, the rank registers again, so replacements of lost ranks can reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from concurrent.futures import CancelledError, Future

from elevon.comm.connect.nat.allocations import AllocationPool
from elevon.comm.connect.nat.candidates import NatKind, nat_kind_of
from elevon.comm.connect.nat.channel import SealedChannel, bind_shared
from elevon.comm.connect.nat.paths import (
    NatConfig,
    Path,
    allocate,
    answer,
    call,
    expect,
    send_request,
)
from elevon.comm.connect.nat.requests import IncomingCall, Observe, Observed, Register
from elevon.errors import CommunicatorError, UsageError, WireError

# Of more calls at once than these, the rest wait; a caller's time bounds its wait.
MOST_ANSWERS = 64
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
# What a call needs beyond its own limit to tell how it ended.
GRACE_S = 5.0


class NatEndpoint:
    """Registered at the relay from the moment that it is made.

    Args:
        config: names the relay and the group.

    Attributes:
        kind: of the NAT in front of this rank.
        trouble: why no rank can call this one at the moment, or "".

    Raises:
        CommunicatorError: there is no relay, it does not let us in, or the name is taken.
        WireError: what answers is no relay of this session.
    """

    def __init__(self, config: NatConfig) -> None:
        self._config = config
        self.kind: NatKind = "symmetric"
        self.trouble = ""
        self._arrived: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._allocations = AllocationPool(lambda: allocate(config))
        self._loop = asyncio.new_event_loop()
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="NAT endpoint", daemon=True
        )
        self._thread.start()
        try:
            started.result(config.within_s * 3 + GRACE_S)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The name under which others reach this rank."""
        return self._config.name

    def reach(self, name: str) -> Path:
        """Connect with another rank; several threads may.

        Args:
            name: the other's.

        Returns:
            The path; its connection is the caller's to close.

        Raises:
            CommunicatorError: it cannot be reached; the message says why.
            WireError: it does not belong to this group.
            UsageError: the endpoint is closed.
        """
        if not self._thread.is_alive():
            raise UsageError(f"the NAT endpoint of {self._config.name} is closed")
        calling = asyncio.run_coroutine_threadsafe(
            call(self._config, self._allocations, name, self.kind), self._loop
        )
        try:
            return calling.result(self._config.within_s + GRACE_S)
        except CancelledError:
            raise UsageError(
                f"the NAT endpoint of {self._config.name} was closed meanwhile"
            ) from None

    def accept(self, within_s: float | None = None) -> Path:
        """Wait for the next rank that has connected.

        Args:
            within_s: seconds to wait, or None for as long as it takes.

        Raises:
            TimeoutError: none did.
            UsageError: the endpoint is closed.
        """
        try:
            path = self._arrived.get(timeout=within_s)
        except queue.Empty:
            raise TimeoutError(
                f"no rank connected with {self._config.name} within {within_s} s"
            ) from None
        if path is None:
            self._arrived.put(None)
            raise UsageError(f"the NAT endpoint of {self._config.name} is closed")
        return path

    def close(self) -> None:
        """Accept no more paths, and close those not taken. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        # Not by the thread itself: it may be at its end while we still want to stop it.
        self._loop.close()
        while not self._arrived.empty():
            path = self._arrived.get()
            if path is not None:
                path.connection.close()
        self._arrived.put(None)

    def _run(self, started: Future[None]) -> None:
        self._loop.run_until_complete(self._serve(started))

    async def _serve(self, started: Future[None]) -> None:
        self._stop = asyncio.Event()
        self._room = asyncio.Semaphore(MOST_ANSWERS)
        self._answering: set[asyncio.Task[None]] = set()
        registering = asyncio.ensure_future(self._stay_registered(started))
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({registering, stopped}, return_when=asyncio.FIRST_COMPLETED)
        mine = asyncio.current_task()
        while pending := asyncio.all_tasks() - {mine}:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=0.1)
        self._allocations.close()
        if not registering.cancelled():
            registering.result()

    async def _stay_registered(self, started: Future[None]) -> None:
        pause = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                await self._register_once(started)
            except (CommunicatorError, WireError) as error:
                if not started.done():
                    started.set_exception(error)
                    return
                self.trouble = str(error)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _register_once(self, started: Future[None]) -> None:
        config = self._config
        with bind_shared() as connection:
            request = Register(job=config.job, epoch=config.epoch, name=config.name)
            channel = await send_request(config, request, connection)
            self.kind = await self._classify(channel)
            self.trouble = ""
            self._allocations.prepare()
            if not started.done():
                started.set_result(None)
            while True:
                incoming = await expect(channel, IncomingCall)
                task = asyncio.ensure_future(self._answer(incoming))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _classify(self, channel: SealedChannel) -> NatKind:
        """Have the same local port observed by the relay's other port, too."""
        config, private = self._config, channel.connection.getsockname()
        first = await expect(channel, Observed)
        with bind_shared(private[1]) as connection:
            request = Observe(job=config.job, epoch=config.epoch)
            again = await send_request(config, request, connection, first.second_port)
            return nat_kind_of(private, first.address, (await expect(again, Observed)).address)

    async def _answer(self, incoming: IncomingCall) -> None:
        async with self._room:
            # Its own side tells the caller why; an unauthenticated peer is told nothing.
            with contextlib.suppress(CommunicatorError, WireError):
                self._arrived.put(
                    await answer(self._config, self._allocations, incoming, self.kind)
                )
