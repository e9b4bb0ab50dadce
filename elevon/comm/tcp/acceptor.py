"""The acceptor of a rank: takes connections from members that join later.

A member that joins dials all that were there before it, so a replacement of a lost rank comes in as
all did at the start, at any time, and no other rank has to stop working for it.

A peer has to prove within seconds that it belongs to this group and epoch, before a byte of it
reaches the engine. Unauthenticated peers are served by a bounded number of threads, each of which
ends by itself.
"""

from __future__ import annotations

import contextlib
import socket
import threading

import msgspec

from elevon.comm.connect.sockets import PeerProof, listen, verify_peer
from elevon.comm.connect.tls import AuthenticatedPeer, TlsPolicy, TlsWrapper
from elevon.comm.tcp.peers import HelloClaim, PeerTable
from elevon.errors import CommunicatorError, WireError

MOST_UNAUTHENTICATED = 64
BACKLOG = 1024


class Acceptor:
    """A listening socket; no peer is served before ``start``.

    Args:
        host: the address to listen on.
        tls: says which connections have to be TLS; all others may not. None: only relayed ones.

    Attributes:
        port: where it listens.
    """

    def __init__(self, host: str, tls: TlsPolicy | None = None) -> None:
        self._tls = tls or TlsPolicy()
        self._listener = listen(host, backlog=BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._unauthenticated = threading.BoundedSemaphore(MOST_UNAUTHENTICATED)
        self._thread: threading.Thread | None = None

    def start(self, peers: PeerTable, key: bytes, slot: int, incarnation: int) -> None:
        """Accept members from now on, on a thread.

        Args:
            peers: where they are attached.
            key: that they have to know.
            slot: ours.
            incarnation: ours.
        """
        self._authenticator = _Authenticator(peers, key, (slot, incarnation), self._tls)
        self._thread = threading.Thread(target=self._listen, name="acceptor", daemon=True)
        self._thread.start()

    def accept(self, connection: socket.socket, relayed: bool = False) -> None:
        """Serve a peer that has connected, here or by a relay; only after ``start``.

        Args:
            connection: which is the acceptor's from now on.
            relayed: whether a relay moves its bytes.
        """
        # Of a large world that starts at once many come together: the others wait, in the kernel's
        # queue, and a silent peer gives its place up within seconds.
        self._unauthenticated.acquire()
        threading.Thread(
            target=self._authenticate, args=(connection, relayed), name="authenticate", daemon=True
        ).start()

    def close(self) -> None:
        """Accept no more connections."""
        with contextlib.suppress(OSError):
            # Closing alone does not wake the thread that accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._thread is not None:
            self._thread.join()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except ConnectionError:
                continue  # it left before it was accepted
            except OSError:
                return  # closed
            self.accept(connection)

    def _authenticate(self, connection: socket.socket, relayed: bool) -> None:
        try:
            with connection:
                self._authenticator.admit(connection, relayed)
        except (OSError, WireError, CommunicatorError, msgspec.MsgspecError):
            pass  # its own side says why; an unauthenticated peer is told nothing
        finally:
            self._unauthenticated.release()


class _Authenticator:
    """Checks one connection after another."""

    def __init__(self, peers: PeerTable, key: bytes, me: tuple[int, int], tls: TlsPolicy) -> None:
        self._peers = peers
        self._key = key
        self._me = me
        self._tls = tls

    def admit(self, connection: socket.socket, relayed: bool) -> None:
        wrapper = self._tls.wrapper_for(relayed)
        peer = verify_peer(connection, self._key)
        member = self._check(peer, wrapper)
        if wrapper is not None:
            authenticated = AuthenticatedPeer(connection, peer, member.certificate)
            wrapper.accept(authenticated, lambda end: self._peers.attach(member, end))
        else:
            self._attach(member, connection, peer.answer)
        self._peers.mark_connected(member.slot)

    def _attach(self, member: HelloClaim, connection: socket.socket, answer: bytes) -> None:
        connection.settimeout(None)
        # The answer says "accepted", so it comes last; the peer sends nothing before it.
        with connection.dup() as answering:
            self._peers.attach(member, connection)
            answering.sendall(answer)

    def _check(self, peer: PeerProof, wrapper: TlsWrapper | None) -> HelloClaim:
        member = msgspec.msgpack.decode(peer.claim, type=HelloClaim)
        if (member.to_slot, member.to_incarnation) != self._me:
            raise WireError(f"{member.name} means another process than this one")
        if bool(member.certificate) != (wrapper is not None):
            raise WireError(f"only one of {member.name} and this process is set to use TLS")
        return member
