"""The communicator of a group of ranks that share nothing but a store.

What all have to know goes through the first rank, 2 (n - 1) messages instead of n (n - 1): a store
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
from elevon.comm.mediated.mailbox import Endpoint, Mailbox
from elevon.comm.protocol import Array
from elevon.errors import CommunicatorError, UsageError, WireError

# A member that waits for the first rank waits a little longer, so that the first can say which it
# waits for itself. Its abort message goes through the store, and S3 or a busy host takes its time.
RELAY_GRACE_S = 2.0


class MediatedCommunicator(ArrayCommunicator):
    """See Communicator.

    Args:
        mailbox: how messages travel.
        endpoint: of the group.
        timeout_s: seconds that one collective may take.
    """

    def __init__(self, mailbox: Mailbox, endpoint: Endpoint, timeout_s: float) -> None:
        self._mailbox = mailbox
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._closed = False
        self._children: list[MediatedCommunicator] = []

    @property
    def rank(self) -> int:
        """The caller's number in the group."""
        return self._endpoint.rank

    @property
    def size(self) -> int:
        """How many ranks the group has."""
        return self._endpoint.size

    @property
    def timeout_s(self) -> float | None:
        """Seconds that one collective may take."""
        return self._timeout_s

    def barrier(self) -> None:
        """See Communicator."""
        self._through_first("barrier", np.empty(0, np.uint8), np.empty(0, np.uint8))

    def split(self, color: int | None, key: int = 0) -> MediatedCommunicator | None:
        """See Communicator."""
        choices = self._split_choices(color, key)
        self._endpoint.splits += 1
        if color is None:
            return None
        members = members_of(choices, color)
        name = f"{self._endpoint.name}.s{self._endpoint.splits}-{members[0]}"
        rank, latch = members.index(self.rank), FailureLatch(self._endpoint.latch)
        endpoint = Endpoint(name, rank, len(members), latch, self._endpoint)
        child = MediatedCommunicator(self._mailbox, endpoint, self._timeout_s)
        self._children.append(child)
        return child

    def abort(self, reason: str) -> None:
        """See Communicator."""
        text = f"rank {self.rank} aborted group {self._endpoint.name}: {reason}"
        self._mailbox.fail(self._endpoint, Failure("aborted", text, self.rank))

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
        self._through_first("allgather", send, rows)

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

    def _through_first(self, what: str, send: Array, rows: Array) -> None:
        """Collect equal lengths at the first rank, which hands all of them out."""
        with self._collective(what, RELAY_GRACE_S if self.rank else 0.0) as collective:
            if self.rank:
                collective.exchange([(0, send)], [(0, rows)])
                return
            collective.gather(send, rows, 0)
            collective.bcast(rows, 0)

    @contextmanager
    def _collective(self, what: str, grace_s: float = 0.0) -> Iterator[_Collective]:
        if self._closed:
            raise UsageError(f"group {self._endpoint.name} is closed")
        self._endpoint.latch.check()
        collective = _Collective(
            self._mailbox, self._endpoint, what, Deadline(self._timeout_s + grace_s)
        )
        try:
            yield collective
        except (CommunicatorError, WireError) as error:
            if self._endpoint.latch.failure is not None:
                raise  # the group's own failure
            text = f"rank {self.rank} failed in {what} of group {self._endpoint.name}: {error}"
            failure = Failure("aborted", text, self.rank)
            self._mailbox.fail(self._endpoint, failure)
            raise failure.error() from error


class _Collective:
    """One collective under way: a name, a deadline, and whether another member was heard."""

    def __init__(self, mailbox: Mailbox, endpoint: Endpoint, what: str, deadline: Deadline) -> None:
        self._mailbox = mailbox
        self._endpoint = endpoint
        self._what = what
        self._deadline = deadline
        self._heard = False

    def exchange(self, outgoing: Parts, incoming: Parts) -> None:
        """Send to others, then receive from others: a store takes what is not waited for yet."""
        if outgoing and not incoming and not self._heard:
            # A member that waits for no other is not told of an abort. Before sending: its message
            # may be what the member that aborts has waited for.
            self._mailbox.check_aborted(self._endpoint)
        if outgoing:
            self._mailbox.send(self._endpoint, self._what, outgoing)
        for peer, into in incoming:
            self._mailbox.receive(self._endpoint, self._what, peer, into, self._deadline)
        self._heard = True

    def bcast(self, data: Array, root: int) -> None:
        """Fill ``data`` with the root's."""
        if self._endpoint.rank != root:
            self.exchange([], [(root, data)])
        else:
            self.exchange([(peer, data) for peer in range(self._endpoint.size) if peer != root], [])

    def gather(self, send: Array, rows: Array | None, root: int) -> None:
        """Collect equal lengths; only the root has ``rows``."""
        if rows is None:
            self.exchange([(root, send)], [])
            return
        table = rows.reshape(self._endpoint.size, -1)
        self.exchange([], [(peer, row) for peer, row in enumerate(table) if peer != root])
        table[root] = send
