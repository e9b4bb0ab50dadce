"""Stream sockets between ranks: options, deadlines, and the proof over one."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import weakref
from dataclasses import dataclass

from elevon.comm.security import proof
from elevon.errors import WireError

PROOF_WITHIN_S = 5.0
# An idle connection through a NAT is forgotten after minutes, a dead one is noticed after these.
KEEPALIVE_IDLE_S = 20
KEEPALIVE_EVERY_S = 5
KEEPALIVE_PROBES = 3

_OWN: weakref.WeakSet[socket.socket] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class TimedSocket:
    """A socket, and the moment (monotonic) by which all that is read must have come.

    A limit for each read alone would let a peer that sends one byte at a time stay for ever.
    """

    socket: socket.socket
    at: float

    def arm(self) -> None:
        """Give the socket what is left of the time."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.socket.settimeout(left)


def receive_exactly(source: TimedSocket, count: int) -> bytes:
    """Exactly so many bytes.

    Raises:
        OSError: the peer is gone, or too slow.
    """
    received = bytearray()
    while len(received) < count:
        source.arm()
        piece = source.socket.recv(count - len(received))
        if not piece:
            raise ConnectionError("the other side has closed the connection")
        received += piece
    return bytes(received)


def keep_from_children(connection: socket.socket) -> None:
    """Close a socket in processes forked from now on, whose life would keep it open else.

    For connections whose end tells that this process has ended.
    """
    _OWN.add(connection)


def _close_own() -> None:
    for connection in list(_OWN):
        connection.close()


os.register_at_fork(after_in_child=_close_own)


def tune(connection: socket.socket) -> None:
    """Set what every connection between ranks needs.

    No TCP_USER_TIMEOUT: the kernel would also count the time in which a peer that is well reads
    nothing, and a rank may compute for minutes before it comes to a collective (measured: with 3 s
    set, such a connection was cut after 3.5 s). Keepalive finds a dead host on an idle connection
    within 35 s; where bytes are on their way to one, the agent's heartbeat is sooner than the
    kernel's retransmissions, and the group's deadline ends the call in any case.
    """
    tcp = socket.IPPROTO_TCP
    connection.setsockopt(tcp, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(tcp, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connection.setsockopt(tcp, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
    connection.setsockopt(tcp, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    _unpace(connection, connection.getpeername()[0])


def _unpace(connection: socket.socket, host: str) -> None:
    """Let nothing pace loopback: it loses nothing, and bbr makes 2.6 of 4 GB/s (64 MiB both ways).

    What has begun with bbr is paced under cubic too (3.5 GB/s), so this comes before a connection
    is made where it can. A kernel without cubic keeps its own choice, which is slower, not wrong.
    """
    if host.startswith("127."):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


def connect(address: tuple[str, int], within_s: float) -> socket.socket:
    """A connection, on loopback one that is not paced.

    Args:
        address: host and port.
        within_s: seconds for it, and the timeout of the socket from then on.

    Raises:
        OSError: no process answers in time.
    """
    if not address[0].startswith("127."):
        return socket.create_connection(address, within_s)
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        _unpace(connection, address[0])
        connection.settimeout(within_s)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def listen(host: str, port: int = 0, backlog: int = 1024) -> socket.socket:
    """A listening socket; its connections are as those of ``connect``.

    Args:
        host: the address to listen on.
        port: the port, or 0 for any.
        backlog: how many may wait to be accepted.

    Raises:
        OSError: the address cannot be had.
    """
    listener = socket.create_server((host, port), backlog=backlog)
    _unpace(listener, host)
    return listener


def dial(
    address: tuple[str, int], key: bytes, claim: bytes, within_s: float = PROOF_WITHIN_S
) -> tuple[socket.socket, bytes]:
    """Connect, and authenticate mutually.

    Args:
        address: host and port.
        key: of the group.
        claim: what we say of ourselves.
        within_s: seconds for all of it.

    Returns:
        The connected socket, and the key of this session.

    Raises:
        OSError: no process answers in time.
        WireError: the peer that answers does not know the key, or refuses the claim.
    """
    deadline = time.monotonic() + min(within_s, PROOF_WITHIN_S)
    connection = connect(address, deadline - time.monotonic())
    return connection, prove_on(connection, key, claim, deadline - time.monotonic())


def prove_on(
    connection: socket.socket, key: bytes, claim: bytes, within_s: float = PROOF_WITHIN_S
) -> bytes:
    """The dialing side's part on a connection that is there already; it is closed on failure.

    Args:
        connection: however it came about.
        key: of the group.
        claim: what we say of ourselves.
        within_s: seconds for it.

    Returns:
        The key of this session.

    Raises:
        OSError: the other side does not answer in time.
        WireError: it does not know the key, or refuses the claim.
    """
    try:
        tune(connection)
        source = TimedSocket(connection, time.monotonic() + within_s)
        challenge = receive_exactly(source, proof.CHALLENGE_BYTES)
        proof.check_challenge(challenge)
        proved = proof.prove(challenge, key, claim)
        connection.sendall(proved.message)
        proof.check_answer(proved, _answer(source))
        return proved.session
    except BaseException:
        connection.close()
        raise


def _answer(source: TimedSocket) -> bytes:
    try:
        return receive_exactly(source, proof.CODE_BYTES)
    except ConnectionError as error:
        raise WireError(
            "the other side has hung up on our proof: its secret, epoch, slot or TLS setting is "
            "another one, or it has no room"
        ) from error


@dataclass(frozen=True, slots=True)
class PeerProof:
    """A peer has proved to belong to the group; ``answer`` is still to be sent.

    Attributes:
        claim: what it has proved to be.
        answer: our own proof.
        session: a key that only the two sides have.
    """

    claim: bytes
    answer: bytes
    session: bytes


def verify_peer(connection: socket.socket, key: bytes) -> PeerProof:
    """The accepting side's part, up to its own proof.

    Raises:
        OSError: the peer is gone, or too slow.
        WireError: it does not know the key.
    """
    tune(connection)
    source = TimedSocket(connection, time.monotonic() + PROOF_WITHIN_S)
    challenge = proof.challenge()
    source.arm()
    connection.sendall(challenge)
    length = proof.length_of(receive_exactly(source, proof.PREFIX_BYTES), proof.LONGEST_PROOF)
    if length < proof.NONCE_BYTES + proof.CODE_BYTES:
        raise WireError("the other side sent no proof")
    proved = proof.check(challenge, receive_exactly(source, length), key)
    return PeerProof(proved.claim, proved.answer, proved.session)
