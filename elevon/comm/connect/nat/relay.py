"""The relay: introduces members of a group to each other, and moves the bytes of those in need.

It has two ports, of which the second is for observing only.

Whoever comes proves within seconds that it belongs to a group, before anything else; strangers have
a bounded number of places. A member attends on one connection, and is rung there when another
calls; both do that from connections of their own, made beforehand, and these are joined. Everything
has a limit: the time for a proof, for an answer, for a ring to be taken; the number of pairs, and
what is held of one pair: a piece for each direction, so a receiver that is slow slows its sender
and nobody else.

What a relay learns: the names of groups and members, their addresses, who talks to whom, when and
how much. It has no key that members prove themselves to each other with: it cannot pose as one, nor
change what they agree on. What they then send each other is TLS (``comm.tls``), whatever they do on
direct connections, so it moves ciphertext of authenticated pairs only. It can read the proofs that
come before: slots, host names and process numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from elevon.comm.connect.nat.errands import (
    LATER,
    Answer,
    AnyErrand,
    Attend,
    Call,
    FromRelay,
    Joined,
    Observe,
    Observed,
    Refused,
    Ring,
    Wait,
    checked,
    errand_of,
    relaying_key,
)
from elevon.comm.connect.nat.line import Line, accept, keep_alive, meet
from elevon.comm.connect.nat.pump import move_both_ways
from elevon.errors import WireError

BACKLOG = 1024
MOST_EPOCHS = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What a relay grants.

    Attributes:
        strangers: connections that have not proved themselves yet.
        attending: members that can be called.
        waiting: connections from which members mean to call or answer.
        pairs: joined at once, or about to be.
        proof_s: for a proof, and for taking any word of the relay.
        answer_s: from a call to its answer.
    """

    strangers: int = 1024
    attending: int = 16_384
    waiting: int = 16_384
    pairs: int = 4096
    proof_s: float = 5.0
    answer_s: float = 10.0


@dataclass
class Caller:
    """A call that is not answered yet.

    Attributes:
        group: in which.
        answered: gets the line of who answers, and their letter.
        ended: whether the pair is no more.
    """

    group: tuple[str, int]
    answered: asyncio.Future[tuple[Line, bytes]] = field(default_factory=asyncio.Future)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class RelayServer:
    """Serves on a thread of its own from the moment that it is made.

    Args:
        secret: ``relay_secret`` of the session's.
        host: the address to listen on.
        port: the port, or 0 for any.
        second_port: for second observations, or 0 for any.
        limits: what it grants.

    Attributes:
        host: as bound.
        port: as bound.
        second_port: as bound.

    Raises:
        OSError: the address cannot be had.
    """

    def __init__(
        self,
        secret: bytes,
        host: str = "127.0.0.1",
        port: int = 0,
        second_port: int = 0,
        limits: Limits | None = None,
    ) -> None:
        self._secret = secret
        self._limits = limits or Limits()
        self._strangers = 0
        self._attending: dict[tuple[tuple[str, int], str], Line] = {}
        self._calls: dict[bytes, Caller] = {}
        self._pairs = 0
        self._waiting = 0
        self._epochs: OrderedDict[str, int] = OrderedDict()
        self._sessions: set[asyncio.Task[None]] = set()
        listeners = _listeners(host, port, second_port)
        self.host: str = listeners[0].getsockname()[0]
        self.port: int = listeners[0].getsockname()[1]
        self.second_port: int = listeners[1].getsockname()[1]
        self._loop = asyncio.new_event_loop()
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(listeners, started), name="relay", daemon=True
        )
        self._thread.start()
        started.result()

    @property
    def address(self) -> str:
        """Where ranks find it."""
        return f"{self.host}:{self.port}"

    @property
    def pairs(self) -> int:
        """How many are joined, or about to be."""
        return self._pairs

    @property
    def attending(self) -> int:
        """How many members can be called."""
        return len(self._attending)

    def close(self) -> None:
        """Stop serving; all pairs are cut. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def wait(self) -> None:
        """Return when it has stopped."""
        self._thread.join()

    def _run(self, listeners: tuple[socket.socket, ...], started: Future[None]) -> None:
        try:
            self._loop.run_until_complete(self._serve(listeners, started))
        finally:
            self._loop.close()

    async def _serve(self, listeners: tuple[socket.socket, ...], started: Future[None]) -> None:
        self._stop = asyncio.Event()
        accepting = {asyncio.ensure_future(self._accept(listener)) for listener in listeners}
        started.set_result(None)
        await self._stop.wait()
        await _cancelled(accepting)
        for listener in listeners:
            listener.close()
        await _cancelled(self._sessions)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = await accept(listener)
            except OSError:
                # Out of descriptors: room comes back when somebody leaves.
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), 0.1)
                continue
            session = asyncio.ensure_future(self._session(connection))
            self._sessions.add(session)
            session.add_done_callback(self._sessions.discard)
            # Not in the session: one that is cancelled at once never begins.
            session.add_done_callback(partial(_close, connection))

    async def _session(self, connection: socket.socket) -> None:
        # A stranger, or a member that has gone: its own side tells it.
        with contextlib.suppress(OSError, WireError, asyncio.TimeoutError):
            await self._attend_to(connection)

    async def _attend_to(self, connection: socket.socket) -> None:
        if self._strangers >= self._limits.strangers:
            return
        self._strangers += 1
        try:
            keep_alive(connection)
            claim, line = await asyncio.wait_for(
                meet(connection, self._key_for), self._limits.proof_s
            )
        finally:
            self._strangers -= 1
        errand = errand_of(claim)
        if await self._is_over(errand, line):
            return
        await self._carry_out(errand, line)

    async def _wait(self, errand: Wait, line: Line) -> None:
        if self._waiting >= self._limits.waiting:
            await self._say(line, Refused("too many wait here already"))
            return
        self._waiting += 1
        try:
            await self._say(line, Observed(line.connection.getpeername(), self.second_port))
            later = checked(await line.receive(LATER))
        finally:
            self._waiting -= 1
        if later.group != errand.group:
            raise WireError(f"{later.group} is not the group that it has proved to be of")
        if not await self._is_over(later, line):
            await self._carry_out(later, line)

    async def _carry_out(self, errand: AnyErrand, line: Line) -> None:
        if isinstance(errand, Observe):
            await self._say(line, Observed(line.connection.getpeername(), self.second_port))
        elif isinstance(errand, Attend):
            await self._attend(errand, line)
        elif isinstance(errand, Wait):
            await self._wait(errand, line)
        elif isinstance(errand, Call):
            await self._call(errand, line)
        else:
            await self._answer(errand, line)

    def _key_for(self, claim: bytes) -> bytes:
        return relaying_key(self._secret, *errand_of(claim).group)

    async def _is_over(self, errand: AnyErrand, line: Line) -> bool:
        """Whether a later epoch of the job has begun; says so, too."""
        newest = max(errand.epoch, self._epochs.pop(errand.job, errand.epoch))
        self._epochs[errand.job] = newest
        if len(self._epochs) > MOST_EPOCHS:
            self._epochs.popitem(last=False)
        if errand.epoch < newest:
            reason = f"epoch {errand.epoch} of {errand.job} is over, epoch {newest} has begun"
            await self._say(line, Refused(reason))
        return errand.epoch < newest

    async def _attend(self, errand: Attend, line: Line) -> None:
        key = (errand.group, errand.name)
        if key in self._attending or len(self._attending) >= self._limits.attending:
            taken = key in self._attending
            reason = "a living rank attends under it" if taken else "too many attend here already"
            await self._say(line, Refused(f"{errand.name}: {reason}"))
            return
        self._attending[key] = line
        try:
            await self._say(line, Observed(line.connection.getpeername(), self.second_port))
            # It has nothing more to say, so whatever comes is its end.
            await self._loop.sock_recv(line.connection, 1)
        finally:
            del self._attending[key]

    async def _call(self, errand: Call, line: Line) -> None:
        attendant = self._attending.get((errand.group, errand.to))
        if attendant is None or self._pairs >= self._limits.pairs:
            gone = f"nobody attends as {errand.to}"
            full = f"all {self._limits.pairs} places for pairs are taken"
            await self._say(line, Refused(gone if attendant is None else full))
            return
        self._pairs += 1
        number, caller = secrets.token_bytes(16), Caller(errand.group)
        self._calls[number] = caller
        try:
            await self._ring(attendant, Ring(number, errand.name, errand.letter))
            await self._join(errand, line, caller)
        finally:
            self._calls.pop(number, None)
            caller.answered.cancel()
            caller.ended.set()
            self._pairs -= 1

    async def _ring(self, attendant: Line, ring: Ring) -> None:
        try:
            await self._say(attendant, ring)
        except (OSError, asyncio.TimeoutError):
            # A ring that is half sent has spoilt the line; the attendant comes again.
            with contextlib.suppress(OSError):
                attendant.connection.shutdown(socket.SHUT_RDWR)

    async def _join(self, errand: Call, line: Line, caller: Caller) -> None:
        try:
            other, letter = await asyncio.wait_for(caller.answered, self._limits.answer_s)
        except asyncio.TimeoutError:
            reason = f"{errand.to} did not answer within {self._limits.answer_s:g} s"
            await self._say(line, Refused(reason))
            return
        # Both at once: they take it as the moment to dial each other.
        for end, brought in ((line, letter), (other, b"")):
            await self._say(end, Joined(end.connection.getpeername(), brought))
        await move_both_ways(line.connection, other.connection)

    async def _answer(self, errand: Answer, line: Line) -> None:
        caller = self._calls.get(errand.call)
        if caller is None or caller.group != errand.group or caller.answered.done():
            await self._say(line, Refused("nobody waits for this answer any more"))
            return
        caller.answered.set_result((line, errand.letter))
        await caller.ended.wait()

    async def _say(self, line: Line, message: FromRelay) -> None:
        await asyncio.wait_for(line.send(message), self._limits.proof_s)


def _close(connection: socket.socket, _: object) -> None:
    connection.close()


async def _cancelled(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel all, as often as it takes: a wait that has just ended may swallow the first."""
    while pending := {task for task in tasks if not task.done()}:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.1)


def _listeners(host: str, port: int, second_port: int) -> tuple[socket.socket, socket.socket]:
    first = socket.create_server((host, port), backlog=BACKLOG)
    try:
        second = socket.create_server((host, second_port), backlog=BACKLOG)
    except BaseException:
        first.close()
        raise
    first.setblocking(False)
    second.setblocking(False)
    return first, second
