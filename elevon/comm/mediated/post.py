"""Letters between the members of a group through a store, and the notices that end the group.

A letter's name says group, sender, receiver and its number between the two, so it is good for one
place only; one receiver takes it, and thereby deletes it. Whoever fails, or gives up waiting,
leaves a notice for each other member, which is looked for together with every letter.
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
class Desk:
    """What one member knows of a group; it outlives the group's communicators.

    Attributes:
        name: of the group, the same on all members.
        rank: the member's own.
        size: how many members there are.
        latch: tripped when the group is over.
        parent: of the group that this one was split from.
        sent: letters so far, by receiver.
        received: letters so far, by sender.
        splits: groups split from it so far.
    """

    name: str
    rank: int
    size: int
    latch: FailureLatch
    parent: Desk | None = None
    sent: Counter[int] = field(default_factory=Counter)
    received: Counter[int] = field(default_factory=Counter)
    splits: int = 0

    def notice(self, rank: int) -> str:
        """The name of a member's notice."""
        return f"{self.name}.notice.{rank}"

    def ancestry(self) -> Iterator[Desk]:
        """This one, the one it was split from, and so on."""
        desk: Desk | None = self
        while desk is not None:
            yield desk
            desk = desk.parent


class Post:
    """The store as the members of one world use it.

    Args:
        store: the store.
        key: of the world.
    """

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        self._key = key

    def fail(self, desk: Desk, failure: Failure) -> None:
        """End a group for all its members, unless it is over here already."""
        if not desk.latch.trip(failure):
            return
        names = [desk.notice(rank) for rank in range(desk.size) if rank != desk.rank]
        text = msgspec.msgpack.encode(failure)
        try:
            self._store.put((name, signing.sign(self._key, name, text)) for name in names)
        except CommunicatorError as error:
            # Here the group is over anyhow; the others have the same store, or their deadline.
            _LOG.warning("nobody is told that %s: %s", failure.reason, error)

    def send(self, desk: Desk, what: str, parts: Parts) -> None:
        """Send letters; returns when the store has them.

        Args:
            desk: the group.
            what: the collective.
            parts: receivers and bytes.
        """
        self._store.put(self._letters(desk, what, parts))

    def receive(self, desk: Desk, what: str, peer: int, into: Array, deadline: Deadline) -> None:
        """Wait for what a member sends, which is as long as ``into``.

        Raises:
            CommunicatorError: the group is over, now or before.
            WireError: what lies there is not from a member.
        """
        for piece in _pieces(into):
            name = _letter(desk, peer, desk.rank, desk.received[peer])
            letter = self._open(name, self._await(desk, what, peer, name, deadline))
            desk.received[peer] += 1
            called = bytes(letter[:WHAT_BYTES]).rstrip().decode()
            came = len(letter) - WHAT_BYTES
            if (called, came) != (what, piece.nbytes):
                raise CommunicatorError(
                    f"rank {desk.rank} is in {what} of {piece.nbytes} bytes while rank {peer} "
                    f"sent {came} bytes of {called}: all members must call the same collectives "
                    "in the same order with the same shapes"
                )
            piece[...] = np.frombuffer(letter, np.uint8, offset=WHAT_BYTES)

    def look(self, desk: Desk) -> None:
        """Take a notice if there is one; for members that wait for nobody.

        Raises:
            CommunicatorError: there was one.
        """
        self._heed(desk, self._store.take(_notices(desk), Deadline(0.0), desk.latch))
        desk.latch.check()

    def _await(self, desk: Desk, what: str, peer: int, name: str, deadline: Deadline) -> bytes:
        found = self._store.take([name, *_notices(desk)], deadline, desk.latch)
        if found is not None and found[0] == name:
            return found[1]
        self._heed(desk, found)
        if desk.latch.failure is None:
            text = (
                f"group {desk.name}: {what}: rank {peer} did not come within {deadline.limit_s} s"
            )
            self.fail(desk, Failure("timeout", text, peer))
        desk.latch.check()
        raise AssertionError("the latch is tripped")

    def _heed(self, desk: Desk, found: tuple[str, bytes] | None) -> None:
        if found is None:
            return
        text = self._open(*found)
        for each in desk.ancestry():
            if each.notice(each.rank) == found[0]:
                each.latch.trip(msgspec.msgpack.decode(text, type=Failure))

    def _letters(self, desk: Desk, what: str, parts: Parts) -> Iterator[tuple[str, bytes]]:
        head = what.encode().ljust(WHAT_BYTES)
        for peer, data in parts:
            for piece in _pieces(data):
                name = _letter(desk, desk.rank, peer, desk.sent[peer])
                desk.sent[peer] += 1
                yield name, signing.sign(self._key, name, head + piece.tobytes())

    def _open(self, name: str, closed: bytes) -> memoryview:
        return signing.verify(self._key, name, closed)


def _letter(desk: Desk, sender: int, receiver: int, number: int) -> str:
    return f"{desk.name}.{sender}-{receiver}.{number}"


def _notices(desk: Desk) -> list[str]:
    return [each.notice(each.rank) for each in desk.ancestry()]


def _pieces(array: Array) -> list[Array]:
    """At least one: a letter without content still says that its sender has come."""
    return [array[at : at + PIECE_BYTES] for at in range(0, max(array.nbytes, 1), PIECE_BYTES)]
