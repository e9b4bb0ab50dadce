"""Sockets on an event loop: bound to a shared port, authenticated, and with sealed messages.

Sockets stay plain, no transport wraps them: a connection that is ready goes to the compiled engine,
and not a byte of it may have been read ahead. Deadlines are the caller's: it waits with
``asyncio.wait_for``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import TypeVar

import msgspec

from elevon.comm.connect.nat.candidates import Address
from elevon.comm.security import proof
from elevon.errors import WireError

# NATs forget a connection that is idle for minutes, some after 30 s.
KEEPALIVE_IDLE_S = 20
KEEPALIVE_EVERY_S = 5
KEEPALIVE_PROBES = 3

M = TypeVar("M")


def bind_shared(port: int = 0) -> socket.socket:
    """A socket on a local port that others of this process may use too; 0 is any free port.

    A NAT maps a port, not a socket: what is to come through the mapping has to use the same one.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(("0.0.0.0", port))
    except BaseException:
        made.close()
        raise
    return made


def keep_alive(connection: socket.socket) -> None:
    """Send at once, keep the NAT's mapping while idle, and notice a peer that has vanished.

    No TCP_USER_TIMEOUT: the kernel would also apply it to a peer that is well and only reads
    nothing, which is what a rank does while it computes.
    """
    tcp = socket.IPPROTO_TCP
    connection.setsockopt(tcp, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(tcp, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connection.setsockopt(tcp, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
    connection.setsockopt(tcp, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


async def accept(listener: socket.socket) -> tuple[socket.socket, Address]:
    """The next connection.

    The loop's own sock_accept loses one that comes in the moment in which the wait is cancelled.
    """
    loop = asyncio.get_running_loop()
    while True:
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(listener, _wake, readable)
        try:
            await readable
        finally:
            loop.remove_reader(listener)
        # Another may have taken it, or it has left already.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, address = listener.accept()
            connection.setblocking(False)
            return connection, address


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


async def connect(connection: socket.socket, address: Address) -> None:
    """Connect, and set the options of every connection.

    Raises:
        OSError: no process answers there.
    """
    await asyncio.get_running_loop().sock_connect(connection, address)
    keep_alive(connection)


async def send(connection: socket.socket, data: bytes) -> None:
    """All of it."""
    await asyncio.get_running_loop().sock_sendall(connection, data)


async def receive(connection: socket.socket, count: int) -> bytes:
    """Exactly so many bytes, and none beyond.

    Raises:
        OSError: the other side is gone.
    """
    loop = asyncio.get_running_loop()
    received = bytearray(count)
    rest = memoryview(received)
    while rest:
        got = await loop.sock_recv_into(connection, rest)
        if got == 0:
            raise ConnectionError("the other side has closed the connection")
        rest = rest[got:]
    return bytes(received)


class SealedChannel:
    """A connection after the proof: sealed messages, each good for its place only.

    Args:
        connection: which stays the caller's.
        session: the key that both ends have.
        dials: which of the two ends this is.

    Attributes:
        connection: as given.
        session: as given.
    """

    def __init__(self, connection: socket.socket, session: bytes, dials: bool) -> None:
        directions = ("from dialing", "from accepting")
        outgoing, incoming = directions if dials else reversed(directions)
        self.connection = connection
        self.session = session
        self._outgoing = proof.Seal(session, outgoing)
        self._incoming = proof.Seal(session, incoming)
        self._sending = asyncio.Lock()

    async def send(self, message: msgspec.Struct) -> None:
        """Send one message; several senders take turns."""
        async with self._sending:
            await send(self.connection, self._outgoing.seal(msgspec.msgpack.encode(message)))

    async def receive(self, decoder: msgspec.msgpack.Decoder[M]) -> M:
        """The next message.

        Raises:
            OSError: the other side is gone.
            WireError: it is not what is due now, or was changed on its way.
        """
        prefix = await receive(self.connection, proof.PREFIX_BYTES)
        length = proof.length_of(prefix, proof.LONGEST_MESSAGE)
        code = await receive(self.connection, proof.CODE_BYTES)
        payload = self._incoming.open(code, await receive(self.connection, length))
        try:
            return decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise WireError(f"the other side said something out of turn: {error}") from error


async def prove(connection: socket.socket, key: bytes, claim: bytes) -> SealedChannel:
    """The dialing side's part of the mutual proof.

    Raises:
        OSError: the other side is gone, which is how it refuses.
        WireError: it does not know the key.
    """
    challenge = await receive(connection, proof.CHALLENGE_BYTES)
    proof.check_challenge(challenge)
    proved = proof.prove(challenge, key, claim)
    await send(connection, proved.message)
    proof.check_answer(proved, await receive(connection, proof.CODE_BYTES))
    return SealedChannel(connection, proved.session, dials=True)


async def verify_peer(
    connection: socket.socket, key_for: Callable[[bytes], bytes]
) -> tuple[bytes, SealedChannel]:
    """The accepting side's part.

    Args:
        connection: of the peer.
        key_for: gives the key that a claim has to be proved with; raises WireError to refuse it.

    Returns:
        The claim, which is proved, and the channel.

    Raises:
        OSError: the peer is gone.
        WireError: it does not know the key.
    """
    challenge = proof.challenge()
    await send(connection, challenge)
    prefix = await receive(connection, proof.PREFIX_BYTES)
    length = proof.length_of(prefix, proof.LONGEST_PROOF)
    body = await receive(connection, length)
    claim = proof.claim_of(body)
    proved = proof.check(challenge, body, key_for(claim))
    await send(connection, proved.answer)
    return claim, SealedChannel(connection, proved.session, dials=False)
