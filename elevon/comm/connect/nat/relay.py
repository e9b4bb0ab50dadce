"""The relay: introduces members of a group to each other, and moves bytes where it has to.

It has two ports, of which the second is for observing only.

A peer proves within seconds that it belongs to a group, before anything else; the number of
unauthenticated peers is bounded. A member is registered by one connection, on which it is told of
calls. Caller and callee each use an allocation, a connection made beforehand, and these two are
joined. Everything has a limit: the time for a proof, for an answer, for a message to be taken; the
number of pairs, and what is held of one pair: a piece for each direction, so a receiver that is
slow slows its sender and no other member.

What a relay learns: the names of groups and members, their addresses, who talks to whom, when and
how much. It has no key that members prove themselves to each other with: it cannot pose as one, nor
change what they agree on. What they then send each other is TLS (``connect.tls``), whatever they do
on direct connections, so it moves ciphertext of authenticated pairs only. It can read the proofs
that come before: slots, host names and process numbers.
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

from elevon.comm.connect.nat.channel import SealedChannel, accept, keep_alive, verify_peer
from elevon.comm.connect.nat.pump import forward_both_ways
from elevon.comm.connect.nat.requests import (
    ON_ALLOCATION,
    Allocate,
    Answer,
    AnyRequest,
    Call,
    FromRelay,
    IncomingCall,
    Joined,
    Observe,
    Observed,
    Refused,
    Register,
    checked,
    decode_request,
    relaying_key,
)
from elevon.errors import WireError

BACKLOG = 1024
MOST_EPOCHS = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What a relay grants.

    Attributes:
        unauthenticated: connections that have not proved themselves yet.
        registered: members that can be called.
        allocations: connections from which members may call or answer.
        pairs: joined at once, or about to be.
        proof_s: for a proof, and for taking any message of the relay.
        answer_s: from a call to its answer.
    """

    unauthenticated: int = 1024
    registered: int = 16_384
    allocations: int = 16_384
    pairs: int = 4096
    proof_s: float = 5.0
    answer_s: float = 10.0


@dataclass
class PendingCall:
    """A call that is not answered yet.

    Attributes:
        group: in which.
        answered: gets the channel of the member that answers, and its answer.
        ended: whether the pair is no more.
    """

    group: tuple[str, int]
    answered: asyncio.Future[tuple[SealedChannel, bytes]] = field(default_factory=asyncio.Future)
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
        self._unauthenticated = 0
        self._registered: dict[tuple[tuple[str, int], str], SealedChannel] = {}
        self._calls: dict[bytes, PendingCall] = {}
        self._pairs = 0
        self._allocated = 0
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
    def registered(self) -> int:
        """How many members can be called."""
        return len(self._registered)

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
                # Out of descriptors: there are some again when a peer leaves.
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), 0.1)
                continue
            session = asyncio.ensure_future(self._session(connection))
            self._sessions.add(session)
            session.add_done_callback(self._sessions.discard)
            # Not in the session: one that is cancelled at once never begins.
            session.add_done_callback(partial(_close, connection))

    async def _session(self, connection: socket.socket) -> None:
        # Not a member, or one that has gone: its own side tells why.
        with contextlib.suppress(OSError, WireError, asyncio.TimeoutError):
            await self._serve_connection(connection)

    async def _serve_connection(self, connection: socket.socket) -> None:
        if self._unauthenticated >= self._limits.unauthenticated:
            return
        self._unauthenticated += 1
        try:
            keep_alive(connection)
            claim, channel = await asyncio.wait_for(
                verify_peer(connection, self._key_for), self._limits.proof_s
            )
        finally:
            self._unauthenticated -= 1
        request = decode_request(claim)
        if await self._is_over(request, channel):
            return
        await self._handle(request, channel)

    async def _allocate(self, request: Allocate, channel: SealedChannel) -> None:
        if self._allocated >= self._limits.allocations:
            await self._send(channel, Refused("too many allocations are held here already"))
            return
        self._allocated += 1
        try:
            await self._send(channel, Observed(channel.connection.getpeername(), self.second_port))
            later = checked(await channel.receive(ON_ALLOCATION))
        finally:
            self._allocated -= 1
        if later.group != request.group:
            raise WireError(f"{later.group} is not the group that it has proved to belong to")
        if not await self._is_over(later, channel):
            await self._handle(later, channel)

    async def _handle(self, request: AnyRequest, channel: SealedChannel) -> None:
        if isinstance(request, Observe):
            await self._send(channel, Observed(channel.connection.getpeername(), self.second_port))
        elif isinstance(request, Register):
            await self._register(request, channel)
        elif isinstance(request, Allocate):
            await self._allocate(request, channel)
        elif isinstance(request, Call):
            await self._call(request, channel)
        else:
            await self._answer(request, channel)

    def _key_for(self, claim: bytes) -> bytes:
        return relaying_key(self._secret, *decode_request(claim).group)

    async def _is_over(self, request: AnyRequest, channel: SealedChannel) -> bool:
        """Whether a later epoch of the job has begun; says so, too."""
        newest = max(request.epoch, self._epochs.pop(request.job, request.epoch))
        self._epochs[request.job] = newest
        if len(self._epochs) > MOST_EPOCHS:
            self._epochs.popitem(last=False)
        if request.epoch < newest:
            reason = f"epoch {request.epoch} of {request.job} is over, epoch {newest} has begun"
            await self._send(channel, Refused(reason))
        return request.epoch < newest

    async def _register(self, request: Register, channel: SealedChannel) -> None:
        key = (request.group, request.name)
        if key in self._registered or len(self._registered) >= self._limits.registered:
            taken = key in self._registered
            reason = (
                "a living rank has this name" if taken else "too many are registered here already"
            )
            await self._send(channel, Refused(f"{request.name}: {reason}"))
            return
        self._registered[key] = channel
        try:
            await self._send(channel, Observed(channel.connection.getpeername(), self.second_port))
            # It has nothing more to say, so whatever comes is its end.
            await self._loop.sock_recv(channel.connection, 1)
        finally:
            del self._registered[key]

    async def _call(self, request: Call, channel: SealedChannel) -> None:
        callee = self._registered.get((request.group, request.to))
        if callee is None or self._pairs >= self._limits.pairs:
            gone = f"no rank is registered as {request.to}"
            full = f"all {self._limits.pairs} places for pairs are taken"
            await self._send(channel, Refused(gone if callee is None else full))
            return
        self._pairs += 1
        number, pending = secrets.token_bytes(16), PendingCall(request.group)
        self._calls[number] = pending
        try:
            await self._notify(callee, IncomingCall(number, request.name, request.offer))
            await self._join(request, channel, pending)
        finally:
            self._calls.pop(number, None)
            pending.answered.cancel()
            pending.ended.set()
            self._pairs -= 1

    async def _notify(self, callee: SealedChannel, incoming: IncomingCall) -> None:
        try:
            await self._send(callee, incoming)
        except (OSError, asyncio.TimeoutError):
            # A message that is half sent has spoilt the channel; the callee registers again.
            with contextlib.suppress(OSError):
                callee.connection.shutdown(socket.SHUT_RDWR)

    async def _join(self, request: Call, channel: SealedChannel, pending: PendingCall) -> None:
        try:
            other, answer = await asyncio.wait_for(pending.answered, self._limits.answer_s)
        except asyncio.TimeoutError:
            reason = f"{request.to} did not answer within {self._limits.answer_s:g} s"
            await self._send(channel, Refused(reason))
            return
        # Both at once: they take it as the moment to dial each other.
        for end, brought in ((channel, answer), (other, b"")):
            await self._send(end, Joined(end.connection.getpeername(), brought))
        await forward_both_ways(channel.connection, other.connection)

    async def _answer(self, request: Answer, channel: SealedChannel) -> None:
        pending = self._calls.get(request.call)
        if pending is None or pending.group != request.group or pending.answered.done():
            await self._send(channel, Refused("no call waits for this answer any more"))
            return
        pending.answered.set_result((channel, request.answer))
        await pending.ended.wait()

    async def _send(self, channel: SealedChannel, message: FromRelay) -> None:
        await asyncio.wait_for(channel.send(message), self._limits.proof_s)


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
