"""How a member tells the others that their group is over.

Abort messages travel on the world's control communicator and not on the group's own, because a
revoked communicator delivers nothing any more, also not why it was revoked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from elevon.comm.base.failure import Failure, FailureLatches
from elevon.comm.mpi.deferred_release import DeferredRelease
from elevon.comm.mpi.rank_map import RankMap
from elevon.comm.protocol import Array

ABORT_TAG = 1
# Short enough to be sent eagerly: it must leave although the receiver is busy.
LONGEST_REASON = 1000


class AbortMessages:
    """Sends and receives failures; what arrives trips the latch of its group."""

    def __init__(
        self, rank_map: RankMap, latches: FailureLatches, deferred: DeferredRelease, ulfm: bool
    ) -> None:
        self.rank_map = rank_map
        self._latches = latches
        self._deferred = deferred
        self._ulfm = ulfm

    def send(self, name: str, slots: Sequence[int], failure: Failure) -> None:
        """Tell the other members; does not wait for them.

        Args:
            name: the group.
            slots: its members.
            failure: why it is over.
        """
        message = _encode(name, failure)
        for slot in slots:
            if slot != self.rank_map.slot and slot in self.rank_map.slots:
                self._send(message, self.rank_map.ranks_of([slot])[0])

    def poll(self) -> None:
        """Take in what has arrived. Local."""
        status = MPI.Status()
        while (arrived := self._probe(status)) is not None:
            message = np.empty(status.Get_count(MPI.BYTE), dtype=np.uint8)
            arrived.Recv(message)
            name, failure = _decode(message)
            self._latches.latch(name).trip(failure)

    def _send(self, message: Array, rank: int) -> None:
        try:
            request = self.rank_map.control.Isend(message, rank, ABORT_TAG)
        except MPI.Exception:
            if self._ulfm:
                return  # the receiver is dead: it needs no message, and others see that it is dead
            raise
        self._deferred.hold([request], [message])

    def _probe(self, status: MPI.Status) -> MPI.Message | None:
        control = self.rank_map.control
        try:
            return control.Improbe(MPI.ANY_SOURCE, ABORT_TAG, status)
        except MPI.Exception:
            if not self._ulfm:
                raise
        # ULFM refuses "any source" until the dead have been acknowledged.
        control.Ack_failed(control.size)
        return control.Improbe(MPI.ANY_SOURCE, ABORT_TAG, status)


def _encode(name: str, failure: Failure) -> Array:
    fields = (name, failure.kind, failure.reason[:LONGEST_REASON], failure.rank)
    return np.frombuffer(json.dumps(fields).encode(), dtype=np.uint8)


def _decode(message: Array) -> tuple[str, Failure]:
    name, kind, reason, rank = json.loads(message.tobytes())
    return name, Failure(kind, reason, rank)
