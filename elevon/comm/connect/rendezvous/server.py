"""The rendezvous: a registry behind a socket, for ranks that know the group's key.

It knows the joining keys only, so it can introduce ranks to each other but not pose as one. Each
rank keeps its connection: when that ends, its slot is free again.

Everything has a limit: the time for a proof, the length of a message, the number of
unauthenticated peers. A silent or slow client costs one of their places for a few seconds; others
wait.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import msgspec

from elevon.comm.connect.rendezvous.messages import (
    MOST_MEMBERS,
    Complete,
    FromRank,
    FromRendezvous,
    GroupName,
    JoinRequest,
    Ready,
    Refused,
)
from elevon.comm.connect.rendezvous.registry import Group, Registry
from elevon.comm.security import proof
from elevon.errors import CommunicatorError, ElevonError, WireError

PROOF_WITHIN_S = 5.0
MOST_UNAUTHENTICATED = 1024
# Beyond those: a world of thousands starts at once, and those that wait are served in a second.
MOST_WAITING = MOST_MEMBERS
LONGEST_WAIT_S = 3600.0
BACKLOG = 4096
CANCEL_AGAIN_S = 0.05

# What a rank may wait for: that a slot of a group is free, or that the group is complete.
_Topic: TypeAlias = tuple[GroupName, int]
_COMPLETE = -1
_DECODER: msgspec.msgpack.Decoder[FromRank] = msgspec.msgpack.Decoder(FromRank)


class RendezvousServer:
    """Serves on a thread of its own from the moment that it is made.

    Args:
        secret: 32 bytes, from which the joining key of every group is derived.
        host: the address to listen on.
        port: the port, or 0 for any.

    Raises:
        OSError: the address cannot be had.
    """

    def __init__(self, secret: bytes, host: str = "127.0.0.1", port: int = 0) -> None:
        self._secret = secret
        self._registry = Registry()
        self._unproved = 0
        self._unauthenticated_slots = asyncio.Semaphore(MOST_UNAUTHENTICATED)
        self._sessions: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._waiting: dict[_Topic, set[asyncio.Future[None]]] = {}
        started: Future[tuple[str, int]] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(host, port, started), name="rendezvous", daemon=True
        )
        self._thread.start()
        self.host, self.port = started.result()

    @property
    def address(self) -> str:
        """Where ranks find it."""
        return f"{self.host}:{self.port}"

    def close(self) -> None:
        """Stop serving; connections are closed. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def wait(self) -> None:
        """Return when it has stopped."""
        self._thread.join()

    def _run(self, host: str, port: int, started: Future[tuple[str, int]]) -> None:
        try:
            self._loop.run_until_complete(self._serve(host, port, started))
        finally:
            self._loop.close()

    async def _serve(self, host: str, port: int, started: Future[tuple[str, int]]) -> None:
        self._stop = asyncio.Event()
        try:
            server = await asyncio.start_server(self._accept, host, port, backlog=BACKLOG)
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(server.sockets[0].getsockname()[:2])
        await self._stop.wait()
        server.close()
        while self._sessions:
            # Again and again: before Python 3.12, wait_for forgets a cancellation that comes just
            # when that is there which it waits for.
            for session in self._sessions:
                session.cancel()
            await asyncio.wait(self._sessions, timeout=CANCEL_AGAIN_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)
        try:
            await self._serve_connection(reader, writer)
        except (OSError, EOFError, asyncio.TimeoutError, WireError, msgspec.MsgspecError):
            pass  # not a member, or one that has gone: its own side tells why
        except asyncio.CancelledError:
            pass  # this server stops
        finally:
            writer.close()
            with suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), PROOF_WITHIN_S)

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._unproved >= MOST_WAITING:
            return
        self._unproved += 1
        try:
            async with self._unauthenticated_slots:
                name, channel = await asyncio.wait_for(
                    self._authenticate(reader, writer), PROOF_WITHIN_S
                )
                request = await asyncio.wait_for(channel.receive(), PROOF_WITHIN_S)
        finally:
            self._unproved -= 1
        if isinstance(request, JoinRequest):
            await self._admit(name, channel, request)

    async def _authenticate(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[GroupName, _Channel]:
        challenge = proof.challenge()
        writer.write(challenge)
        prefix = await reader.readexactly(proof.PREFIX_BYTES)
        body = await reader.readexactly(proof.length_of(prefix, proof.LONGEST_PROOF))
        name = msgspec.msgpack.decode(proof.claim_of(body), type=GroupName)
        key = proof.derive(self._secret, name.job, str(name.epoch))
        proved = proof.check(challenge, body, key)
        writer.write(proved.answer)
        return name, _Channel(reader, writer, proved.session)

    async def _admit(self, name: GroupName, channel: _Channel, request: JoinRequest) -> None:
        try:
            group = self._registry.group(name, request.size, time.monotonic())
            slot = self._registry.slot_for(group, request)
            deadline = time.monotonic() + min(request.deadline_s, LONGEST_WAIT_S)
            # Several may wait for one slot, and the first of them takes it.
            while slot in group.members:
                holder = group.members[slot].name
                said = partial("slot {} is held by a living rank, {}".format, slot, holder)
                await self._wait_for((name, slot), deadline, said)
        except ElevonError as error:
            await channel.send(Refused(str(error)))
            return
        reply = self._registry.enter(group, slot, request, channel.observed)
        try:
            await channel.send(reply)
            await self._complete(name, group, slot, channel, deadline)
        finally:
            self._registry.leave(group, slot, time.monotonic())
            self._notify((name, slot))

    async def _complete(
        self, name: GroupName, group: Group, slot: int, channel: _Channel, deadline: float
    ) -> None:
        remaining = deadline - time.monotonic()
        if not isinstance(await asyncio.wait_for(channel.receive(), remaining), Ready):
            return
        group.ready.add(slot)
        if group.complete:
            self._notify((name, _COMPLETE))
        gone = asyncio.ensure_future(channel.closed())
        waiting = asyncio.ensure_future(self._completed(name, group, deadline))
        try:
            await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                error = waiting.exception()
                await channel.send(Complete() if error is None else Refused(str(error)))
                await gone
        finally:
            gone.cancel()
            waiting.cancel()

    async def _completed(self, name: GroupName, group: Group, deadline: float) -> None:
        while not group.complete:
            await self._wait_for((name, _COMPLETE), deadline, partial(_late, name, group))

    async def _wait_for(self, topic: _Topic, deadline: float, otherwise: Callable[[], str]) -> None:
        """Return when this is notified."""
        future: asyncio.Future[None] = self._loop.create_future()
        waiting = self._waiting.setdefault(topic, set())
        waiting.add(future)
        try:
            await asyncio.wait_for(future, max(deadline - time.monotonic(), 0.0))
        except asyncio.TimeoutError:
            raise CommunicatorError(otherwise()) from None
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(topic) is waiting:
                del self._waiting[topic]

    def _notify(self, topic: _Topic) -> None:
        """Wake those that wait for this and no others: a group of thousands is told of once."""
        for future in self._waiting.pop(topic, ()):
            if not future.done():
                future.set_result(None)


def _late(name: GroupName, group: Group) -> str:
    return f"group {name} was not complete in time: {group.missing()}"


class _Channel:
    """A connection after the proof: sealed messages."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: bytes
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._incoming = proof.Seal(session, "to rendezvous")
        self._outgoing = proof.Seal(session, "to rank")

    @property
    def observed(self) -> str:
        """The address that the rank comes from."""
        return str(self._writer.get_extra_info("peername")[0])

    async def receive(self) -> FromRank:
        """The next message."""
        prefix = await self._reader.readexactly(proof.PREFIX_BYTES)
        length = proof.length_of(prefix, proof.LONGEST_MESSAGE)
        code = await self._reader.readexactly(proof.CODE_BYTES)
        payload = await self._reader.readexactly(length)
        return _DECODER.decode(self._incoming.open(code, payload))

    async def send(self, message: FromRendezvous) -> None:
        """Send one, unless the rank does not take it."""
        self._writer.write(self._outgoing.seal(msgspec.msgpack.encode(message)))
        await asyncio.wait_for(self._writer.drain(), PROOF_WITHIN_S)

    async def closed(self) -> None:
        """Return when the rank has gone; it has nothing more to say."""
        with suppress(OSError):
            await self._reader.read(1)
