"""From a proved connection to one in TLS, with the engine's end of it.

The dialing side's certificate is in the claim that it has proved, the accepting side's comes behind
the answer, under the session's key; each accepts that one certificate in the handshake and no
other. So a party that sits between the two and does not know the group's secret can neither listen
nor be taken for one of them.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from elevon.comm.connect.sockets import PROOF_WITHIN_S, PeerProof, TimedSocket, receive_exactly
from elevon.comm.connect.tls.identity import Identity
from elevon.comm.connect.tls.pump import Pump
from elevon.comm.security import proof
from elevon.errors import WireError

LONGEST_CERTIFICATE = 1024
ACCEPTED = b"\x01"
_DIRECTION = "certificate"


@dataclass(frozen=True, slots=True)
class AuthenticatedPeer:
    """A peer that has proved to belong to the group, and waits for the answer."""

    connection: socket.socket
    proof: PeerProof
    certificate: bytes


class TlsWrapper:
    """This process's identity, and the thread that carries what is wrapped.

    Raises:
        UsageError: the package that makes certificates is not installed.
    """

    def __init__(self) -> None:
        self._identity = Identity.new()
        self._pump = Pump()

    @property
    def certificate(self) -> bytes:
        """What a claim has to carry."""
        return self._identity.certificate

    def accept(self, peer: AuthenticatedPeer, take: Callable[[socket.socket], None]) -> None:
        """The accepting side's part, from its answer on.

        Args:
            peer: which has connected; its connection is used up.
            take: takes the engine's end over, into its slot.

        Raises:
            OSError: the peer is gone, or too slow.
            WireError: it has another certificate, speaks no TLS, or no slot is free for it.
        """
        seal = proof.Seal(peer.proof.session, _DIRECTION)
        peer.connection.sendall(peer.proof.answer + seal.seal(self.certificate))
        with _tls_errors_mapped(), contextlib.ExitStack() as undo:
            secured = self._secure(peer.connection, peer.certificate, accepting=True)
            undo.enter_context(secured)
            engine_end, plain = (undo.enter_context(end) for end in socket.socketpair())
            take(engine_end)
            secured.sendall(ACCEPTED)  # so it comes last
            self._pump.carry(secured, plain)
            undo.pop_all()

    def connect(self, connection: socket.socket, session: bytes) -> socket.socket:
        """The dialing side's part, after the answer was found right.

        Args:
            connection: is used up.
            session: of the proof.

        Returns:
            The engine's end.

        Raises:
            OSError: the other side is gone, or too slow.
            WireError: it has another certificate than it said, speaks no TLS, or has no slot free.
        """
        with _tls_errors_mapped(), contextlib.ExitStack() as undo:
            undo.enter_context(connection)
            theirs = _certificate(connection, session)
            secured = undo.enter_context(self._secure(connection, theirs, accepting=False))
            if secured.recv(len(ACCEPTED)) != ACCEPTED:
                raise WireError(
                    "the other side has hung up after the handshake: it has no slot for us"
                )
            engine_end, plain = socket.socketpair()
            self._pump.carry(secured, plain)
            undo.pop_all()
            return engine_end

    def close(self, flush_s: float) -> None:
        """End all connections, after at most this long for what is still to be sent."""
        self._pump.close(flush_s)

    def _secure(self, connection: socket.socket, theirs: bytes, accepting: bool) -> ssl.SSLSocket:
        context = self._identity.context(theirs, accepting)
        connection.settimeout(PROOF_WITHIN_S)
        secured = context.wrap_socket(
            connection, server_side=accepting, do_handshake_on_connect=False
        )
        try:
            secured.do_handshake()  # the limit is for all of it
            if secured.getpeercert(binary_form=True) != theirs:
                raise WireError("the other side has another certificate than it has proved")
        except BaseException:
            secured.close()
            raise
        return secured


@contextlib.contextmanager
def _tls_errors_mapped() -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise WireError(
            f"the other side is not what it has proved to be, or speaks no TLS: {error}"
        ) from error


def _certificate(connection: socket.socket, session: bytes) -> bytes:
    """The accepting side's.

    Raises:
        OSError: it is gone, or too slow.
        WireError: it was changed on its way.
    """
    source = TimedSocket(connection, time.monotonic() + PROOF_WITHIN_S)
    prefix = receive_exactly(source, proof.PREFIX_BYTES)
    length = proof.length_of(prefix, LONGEST_CERTIFICATE)
    code = receive_exactly(source, proof.CODE_BYTES)
    return proof.Seal(session, _DIRECTION).open(code, receive_exactly(source, length))
