"""A rank's side of the rendezvous.

The connection stays open as long as the rank lives: its end frees the slot.
"""

from __future__ import annotations

import socket
import time
from typing import TypeVar

import msgspec

from elevon.comm.connect.rendezvous.messages import (
    LONGEST_REPLY,
    Complete,
    FromRank,
    FromRendezvous,
    GroupName,
    JoinReply,
    JoinRequest,
    Ready,
    Refused,
)
from elevon.comm.connect.rendezvous.registry import check
from elevon.comm.connect.sockets import (
    TimedSocket,
    dial,
    keep_from_children,
    receive_exactly,
)
from elevon.comm.security import proof
from elevon.errors import CommunicatorError, WireError

# The rendezvous' own error about a deadline has to have the time to arrive.
GRACE_S = 2.0

M = TypeVar("M", JoinReply, Complete)
_DECODER: msgspec.msgpack.Decoder[FromRendezvous] = msgspec.msgpack.Decoder(FromRendezvous)


class ServerMembership:
    """A slot of a group, held as long as this is open.

    Attributes:
        reply: the slot, and the members that were there before.
    """

    def __init__(self, connection: socket.socket, session: bytes, request: JoinRequest) -> None:
        self._connection = connection
        keep_from_children(connection)
        self._outgoing = proof.Seal(session, "to rendezvous")
        self._incoming = proof.Seal(session, "to rank")
        self._deadline = time.monotonic() + request.deadline_s + GRACE_S
        self._send(request)
        self.reply = self._receive(JoinReply)

    def complete(self) -> None:
        """Say that all earlier members are connected, and wait for all others.

        Raises:
            CommunicatorError: not all came in time; the message names the missing.
        """
        self._send(Ready())
        self._receive(Complete)
        self._connection.settimeout(None)

    def close(self) -> None:
        """Give the slot up."""
        self._connection.close()

    def _send(self, message: FromRank) -> None:
        try:
            self._connection.sendall(self._outgoing.seal(msgspec.msgpack.encode(message)))
        except OSError as error:
            raise CommunicatorError(f"the rendezvous is gone: {error}") from error

    def _receive(self, kind: type[M]) -> M:
        remaining = TimedSocket(self._connection, self._deadline)
        try:
            prefix = receive_exactly(remaining, proof.PREFIX_BYTES)
            length = proof.length_of(prefix, LONGEST_REPLY)
            code = receive_exactly(remaining, proof.CODE_BYTES)
            payload = receive_exactly(remaining, length)
        except OSError as error:
            raise CommunicatorError(f"the rendezvous is gone or silent: {error}") from error
        message = _DECODER.decode(self._incoming.open(code, payload))
        if isinstance(message, Refused):
            raise CommunicatorError(message.reason)
        if not isinstance(message, kind):
            raise WireError(f"the rendezvous said {type(message).__name__} out of turn")
        return message


def join(address: str, name: GroupName, key: bytes, request: JoinRequest) -> ServerMembership:
    """Join a group at a rendezvous.

    Args:
        address: "host:port" of the rendezvous.
        name: the group.
        key: its joining key.
        request: what this rank wants.

    Returns:
        The membership; its reply names the members to dial.

    Raises:
        UsageError: a field of ``request`` is out of bounds.
        CommunicatorError: there is no place, or no rendezvous.
        WireError: what answers does not know the key, or took us for one that does not.
    """
    check(request)
    host, _, port = address.rpartition(":")
    try:
        connection, session = dial(
            (host, int(port)), key, msgspec.msgpack.encode(name), request.deadline_s
        )
    except OSError as error:
        raise CommunicatorError(f"no rendezvous at {address}: {error}") from error
    try:
        return ServerMembership(connection, session, request)
    except BaseException:
        connection.close()
        raise
