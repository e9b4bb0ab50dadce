"""The communicator of a group of ranks that share nothing but a store.

What all have to know goes through the first rank, 2 (n - 1) letters instead of n (n - 1): a store
is paid by the object, in money or in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from elevon.comm.base.arrays import ArrayCommunicator, Parts, members_of
from elevon.comm.base.failure import Failure, FailureLatch
from elevon.comm.base.waiting import Deadline
from elevon.comm.mediated.post import Desk, Post
from elevon.comm.protocol import Array
from elevon.errors import CommunicatorError, UsageError, WireError

# Who waits for the first rank waits a little longer, so that it can say whom it waits for itself.
# Its notice goes through the store, and S3 or a busy host takes its time.
RELAY_GRACE_S = 2.0


class MediatedCommunicator(ArrayCommunicator):
    """See Communicator.

    Args:
        post: how letters travel.
        desk: the group.
        timeout_s: seconds that one collective may take.
    """

    def __init__(self, post: Post, desk: Desk, timeout_s: float) -> None:
        self._post = post
        self._desk = desk
        self._timeout_s = timeout_s
        self._closed = False
        self._children: list[MediatedCommunicator] = []

    @property
    def rank(self) -> int:
        """The caller's number in the group."""
        return self._desk.rank

    @property
    def size(self) -> int:
        """How many ranks the group has."""
        return self._desk.size

    @property
    def timeout_s(self) -> float | None:
        """Seconds that one collective may take."""
        return self._timeout_s

    def barrier(self) -> None:
        """See Communicator."""
        self._meet("barrier", np.empty(0, np.uint8), np.empty(0, np.uint8))

    def split(self, color: int | None, key: int = 0) -> MediatedCommunicator | None:
        """See Communicator."""
        choices = self._split_choices(color, key)
        self._desk.splits += 1
        if color is None:
            return None
        members = members_of(choices, color)
        name = f"{self._desk.name}.s{self._desk.splits}-{members[0]}"
        rank, latch = members.index(self.rank), FailureLatch(self._desk.latch)
        desk = Desk(name, rank, len(members), latch, self._desk)
        child = MediatedCommunicator(self._post, desk, self._timeout_s)
        self._children.append(child)
        return child

    def abort(self, reason: str) -> None:
        """See Communicator."""
        text = f"rank {self.rank} aborted group {self._desk.name}: {reason}"
        self._post.fail(self._desk, Failure("aborted", text, self.rank))

    def close(self) -> None:
        """See Communicator."""
        self._closed = True
        for child in self._children:
            child.close()

    def _new(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return np.empty(shape, dtype)

    def _bcast(self, data: Array, root: int) -> None:
        with self._collective("bcast") as collective:
            collective.bcast(data, root)

    def _gather(self, send: Array, rows: Array | None, root: int) -> None:
        with self._collective("gather") as collective:
            collective.gather(send, rows, root)

    def _scatter(self, rows: Array | None, own: Array, root: int) -> None:
        with self._collective("scatter") as collective:
            if rows is None:
                collective.exchange([], [(root, own)])
                return
            table = rows.reshape(self.size, -1)
            collective.exchange([(peer, table[peer]) for peer in self._peers], [])
            own[...] = table[root]

    def _allgather(self, send: Array, rows: Array) -> None:
        self._meet("allgather", send, rows)

    def _alltoall(self, send: Array, rows: Array) -> None:
        sent, table = send.reshape(self.size, -1), rows.reshape(self.size, -1)
        with self._collective("alltoall") as collective:
            collective.exchange(
                [(peer, sent[peer]) for peer in self._peers],
                [(peer, table[peer]) for peer in self._peers],
            )
            table[self.rank] = sent[self.rank]

    def _exchange(self, what: str, outgoing: Parts, incoming: Parts) -> None:
        with self._collective(what) as collective:
            collective.exchange(
                [part for part in outgoing if part[0] != self.rank],
                [part for part in incoming if part[0] != self.rank],
            )

    def _meet(self, what: str, send: Array, rows: Array) -> None:
        """Collect equal lengths at the first rank, and hand all of them out."""
        with self._collective(what, RELAY_GRACE_S if self.rank else 0.0) as collective:
            if self.rank:
                collective.exchange([(0, send)], [(0, rows)])
                return
            collective.gather(send, rows, 0)
            collective.bcast(rows, 0)

    @contextmanager
    def _collective(self, what: str, grace_s: float = 0.0) -> Iterator[_Collective]:
        if self._closed:
            raise UsageError(f"group {self._desk.name} is closed")
        self._desk.latch.check()
        collective = _Collective(self._post, self._desk, what, Deadline(self._timeout_s + grace_s))
        try:
            yield collective
        except (CommunicatorError, WireError) as error:
            if self._desk.latch.failure is not None:
                raise  # the group's own failure
            text = f"rank {self.rank} failed in {what} of group {self._desk.name}: {error}"
            failure = Failure("aborted", text, self.rank)
            self._post.fail(self._desk, failure)
            raise failure.error() from error


class _Collective:
    """One collective under way: a name, a deadline, and whether anybody was heard."""

    def __init__(self, post: Post, desk: Desk, what: str, deadline: Deadline) -> None:
        self._post = post
        self._desk = desk
        self._what = what
        self._deadline = deadline
        self._heard = False

    def exchange(self, outgoing: Parts, incoming: Parts) -> None:
        """Send to others, then receive from others: a store takes what nobody waits for yet."""
        if outgoing and not incoming and not self._heard:
            # Whoever waits for nobody hears of no end. Before sending: its letter may be what the
            # one who ends the group has waited for.
            self._post.look(self._desk)
        if outgoing:
            self._post.send(self._desk, self._what, outgoing)
        for peer, into in incoming:
            self._post.receive(self._desk, self._what, peer, into, self._deadline)
        self._heard = True

    def bcast(self, data: Array, root: int) -> None:
        """Fill ``data`` with the root's."""
        if self._desk.rank != root:
            self.exchange([], [(root, data)])
        else:
            self.exchange([(peer, data) for peer in range(self._desk.size) if peer != root], [])

    def gather(self, send: Array, rows: Array | None, root: int) -> None:
        """Collect equal lengths; only the root has ``rows``."""
        if rows is None:
            self.exchange([(root, send)], [])
            return
        table = rows.reshape(self._desk.size, -1)
        self.exchange([], [(peer, row) for peer, row in enumerate(table) if peer != root])
        table[root] = send
