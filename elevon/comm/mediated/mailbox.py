"""Messages between the members of a group through a store, and those that abort the group.

A message's name says group, sender, receiver and its number between the two, so it is good for one
place only; its receiver takes it, and thereby deletes it. A member that fails, or gives up waiting,
leaves an abort message for each other member, which is looked for together with every message.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np

from elevon.comm.base.arrays import Parts
from elevon.comm.base.failure import Failure, FailureLatch
from elevon.comm.base.waiting import Deadline
from elevon.comm.mediated.store import Store
from elevon.comm.protocol import Array
from elevon.comm.security import signing
from elevon.errors import CommunicatorError

# Redis takes up to 512 MB in a value; less keeps what is copied at a time small.
PIECE_BYTES = 16 * 1024 * 1024
WHAT_BYTES = 16

_LOG = logging.getLogger(__name__)


@dataclass
class Endpoint:
    """What one member knows of a group; it outlives the group's communicators.

    Attributes:
        name: of the group, the same on all members.
        rank: the member's own.
        size: how many members there are.
        latch: tripped when the group is over.
        parent: of the group that this one was split from.
        sent: messages so far, by receiver.
        received: messages so far, by sender.
        splits: groups split from it so far.
    """

    name: str
    rank: int
    size: int
    latch: FailureLatch
    parent: Endpoint | None = None
    sent: Counter[int] = field(default_factory=Counter)
    received: Counter[int] = field(default_factory=Counter)
    splits: int = 0

    def abort_name(self, rank: int) -> str:
        """The name of the abort message to a member."""
        return f"{self.name}.abort.{rank}"

    def ancestry(self) -> Iterator[Endpoint]:
        """This one, the one it was split from, and so on."""
        endpoint: Endpoint | None = self
        while endpoint is not None:
            yield endpoint
            endpoint = endpoint.parent


class Mailbox:
    """The store as the members of one world use it.

    Args:
        store: the store.
        key: of the world.
    """

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        self._key = key

    def fail(self, endpoint: Endpoint, failure: Failure) -> None:
        """End a group for all its members, unless it is over here already."""
        if not endpoint.latch.trip(failure):
            return
        names = [
            endpoint.abort_name(rank) for rank in range(endpoint.size) if rank != endpoint.rank
        ]
        text = msgspec.msgpack.encode(failure)
        try:
            self._store.put((name, signing.sign(self._key, name, text)) for name in names)
        except CommunicatorError as error:
            # Here the group is over anyhow; the others have the same store, or their deadline.
            _LOG.warning("the other members are not told that %s: %s", failure.reason, error)

    def send(self, endpoint: Endpoint, what: str, parts: Parts) -> None:
        """Send messages; returns when the store has them.

        Args:
            endpoint: the group.
            what: the collective.
            parts: receivers and bytes.
        """
        self._store.put(self._messages(endpoint, what, parts))

    def receive(
        self, endpoint: Endpoint, what: str, peer: int, into: Array, deadline: Deadline
    ) -> None:
        """Wait for what a member sends, which is as long as ``into``.

        Raises:
            CommunicatorError: the group is over, now or before.
            WireError: what lies there is not from a member.
        """
        for piece in _pieces(into):
            name = _message_name(endpoint, peer, endpoint.rank, endpoint.received[peer])
            message = self._open(name, self._await(endpoint, what, peer, name, deadline))
            endpoint.received[peer] += 1
            collective = bytes(message[:WHAT_BYTES]).rstrip().decode()
            nbytes = len(message) - WHAT_BYTES
            if (collective, nbytes) != (what, piece.nbytes):
                raise CommunicatorError(
                    f"rank {endpoint.rank} is in {what} of {piece.nbytes} bytes while rank {peer} "
                    f"sent {nbytes} bytes of {collective}: all members must call the same "
                    "collectives in the same order with the same shapes"
                )
            piece[...] = np.frombuffer(message, np.uint8, offset=WHAT_BYTES)

    def check_aborted(self, endpoint: Endpoint) -> None:
        """Take an abort message if there is one; for members that wait for no other.

        Raises:
            CommunicatorError: there was one.
        """
        self._apply_abort(
            endpoint, self._store.take(_abort_names(endpoint), Deadline(0.0), endpoint.latch)
        )
        endpoint.latch.check()

    def _await(
        self, endpoint: Endpoint, what: str, peer: int, name: str, deadline: Deadline
    ) -> bytes:
        found = self._store.take([name, *_abort_names(endpoint)], deadline, endpoint.latch)
        if found is not None and found[0] == name:
            return found[1]
        self._apply_abort(endpoint, found)
        if endpoint.latch.failure is None:
            where, limit_s = f"group {endpoint.name}: {what}", deadline.limit_s
            text = f"{where}: rank {peer} did not come within {limit_s} s"
            self.fail(endpoint, Failure("timeout", text, peer))
        endpoint.latch.check()
        raise AssertionError("the latch is tripped")

    def _apply_abort(self, endpoint: Endpoint, found: tuple[str, bytes] | None) -> None:
        if found is None:
            return
        text = self._open(*found)
        for each in endpoint.ancestry():
            if each.abort_name(each.rank) == found[0]:
                each.latch.trip(msgspec.msgpack.decode(text, type=Failure))

    def _messages(self, endpoint: Endpoint, what: str, parts: Parts) -> Iterator[tuple[str, bytes]]:
        head = what.encode().ljust(WHAT_BYTES)
        for peer, data in parts:
            for piece in _pieces(data):
                name = _message_name(endpoint, endpoint.rank, peer, endpoint.sent[peer])
                endpoint.sent[peer] += 1
                yield name, signing.sign(self._key, name, head + piece.tobytes())

    def _open(self, name: str, signed: bytes) -> memoryview:
        return signing.verify(self._key, name, signed)


def _message_name(endpoint: Endpoint, sender: int, receiver: int, number: int) -> str:
    return f"{endpoint.name}.{sender}-{receiver}.{number}"


def _abort_names(endpoint: Endpoint) -> list[str]:
    return [each.abort_name(each.rank) for each in endpoint.ancestry()]


def _pieces(array: Array) -> list[Array]:
    """At least one: a message without content still says that its sender has called."""
    return [array[at : at + PIECE_BYTES] for at in range(0, max(array.nbytes, 1), PIECE_BYTES)]
