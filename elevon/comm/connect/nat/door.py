"""A rank's side of the relay: others reach it, and it reaches others, on a thread of its own.

The connection to the relay is kept as long as the rank lives: it also keeps the NAT's mapping. If
it is lost, the door attends again, so replacements of lost ranks find their way in.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from concurrent.futures import CancelledError, Future

from elevon.comm.connect.nat.berths import Berths
from elevon.comm.connect.nat.errands import Attend, Observe, Observed, Ring
from elevon.comm.connect.nat.line import Line, bound
from elevon.comm.connect.nat.passage import Passage, Way, answer, call, come, hear, run_errand
from elevon.comm.connect.nat.whereabouts import Kind, kind_of
from elevon.errors import CommunicatorError, UsageError, WireError

# Rung at once by more than these, a rank lets the rest wait; a caller's time bounds its wait.
MOST_ANSWERS = 64
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
# What a call needs beyond its own limit to tell how it ended.
GRACE_S = 5.0


class NatDoor:
    """Open from the moment that it is made.

    Args:
        way: to the relay and the group.

    Attributes:
        kind: of the NAT in front of this rank.
        trouble: why nobody can call this rank at the moment, or "".

    Raises:
        CommunicatorError: there is no relay, it does not let us in, or the name is taken.
        WireError: what answers is no relay of this session.
    """

    def __init__(self, way: Way) -> None:
        self._way = way
        self.kind: Kind = "symmetric"
        self.trouble = ""
        self._arrived: queue.SimpleQueue[Passage | None] = queue.SimpleQueue()
        self._berths = Berths(lambda: come(way))
        self._loop = asyncio.new_event_loop()
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="NAT door", daemon=True
        )
        self._thread.start()
        try:
            started.result(way.within_s * 3 + GRACE_S)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Under which others reach this rank."""
        return self._way.name

    def reach(self, name: str) -> Passage:
        """Get to another rank; several threads may.

        Args:
            name: the other's.

        Returns:
            The passage; its connection is the caller's to close.

        Raises:
            CommunicatorError: it cannot be reached; the message says why.
            WireError: it does not belong to this group.
            UsageError: the door is closed.
        """
        if not self._thread.is_alive():
            raise UsageError(f"the door of {self._way.name} is closed, nobody can be reached by it")
        calling = asyncio.run_coroutine_threadsafe(
            call(self._way, self._berths, name, self.kind), self._loop
        )
        try:
            return calling.result(self._way.within_s + GRACE_S)
        except CancelledError:
            raise UsageError(f"the door of {self._way.name} was closed meanwhile") from None

    def accept(self, within_s: float | None = None) -> Passage:
        """Wait for the next rank that has come in.

        Args:
            within_s: seconds to wait, or None for as long as it takes.

        Raises:
            TimeoutError: nobody came.
            UsageError: the door is closed.
        """
        try:
            passage = self._arrived.get(timeout=within_s)
        except queue.Empty:
            raise TimeoutError(f"nobody came to {self._way.name} within {within_s} s") from None
        if passage is None:
            self._arrived.put(None)
            raise UsageError(f"the door of {self._way.name} is closed")
        return passage

    def close(self) -> None:
        """Let nobody in any more, and close what nobody has taken. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        # Not by the thread itself: it may be at its end while we still want to stop it.
        self._loop.close()
        while not self._arrived.empty():
            passage = self._arrived.get()
            if passage is not None:
                passage.connection.close()
        self._arrived.put(None)

    def _run(self, started: Future[None]) -> None:
        self._loop.run_until_complete(self._serve(started))

    async def _serve(self, started: Future[None]) -> None:
        self._stop = asyncio.Event()
        self._room = asyncio.Semaphore(MOST_ANSWERS)
        self._answers: set[asyncio.Task[None]] = set()
        attending = asyncio.ensure_future(self._attend(started))
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({attending, stopped}, return_when=asyncio.FIRST_COMPLETED)
        mine = asyncio.current_task()
        while pending := asyncio.all_tasks() - {mine}:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=0.1)
        self._berths.close()
        if not attending.cancelled():
            attending.result()

    async def _attend(self, started: Future[None]) -> None:
        pause = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                await self._attend_once(started)
            except (CommunicatorError, WireError) as error:
                if not started.done():
                    started.set_exception(error)
                    return
                self.trouble = str(error)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _attend_once(self, started: Future[None]) -> None:
        way = self._way
        with bound() as connection:
            errand = Attend(job=way.job, epoch=way.epoch, name=way.name)
            line = await run_errand(way, errand, connection)
            self.kind = await self._classify(line)
            self.trouble = ""
            self._berths.prepare()
            if not started.done():
                started.set_result(None)
            while True:
                ring = await hear(line, Ring)
                task = asyncio.ensure_future(self._answer(ring))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)

    async def _classify(self, line: Line) -> Kind:
        """Have the same local port observed by the relay's other port, too."""
        way, private = self._way, line.connection.getsockname()
        first = await hear(line, Observed)
        with bound(private[1]) as connection:
            errand = Observe(job=way.job, epoch=way.epoch)
            again = await run_errand(way, errand, connection, first.second_port)
            return kind_of(private, first.address, (await hear(again, Observed)).address)

    async def _answer(self, ring: Ring) -> None:
        async with self._room:
            # Its own side tells the caller why it is not let in; we owe a stranger nothing.
            with contextlib.suppress(CommunicatorError, WireError):
                self._arrived.put(await answer(self._way, self._berths, ring, self.kind))
