"""How a member tells the others that their group is over.

Notices travel on the world's control communicator and not on the group's own, because a revoked
communicator delivers nothing any more, also not why it was revoked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from elevon.comm.base.failure import Failure, FailureLatches
from elevon.comm.mpi.limbo import Limbo
from elevon.comm.mpi.roster import Roster
from elevon.comm.protocol import Array

NOTICE_TAG = 1
# Short enough to be sent eagerly: it must leave although the receiver is busy.
LONGEST_REASON = 1000


class NoticeBoard:
    """Sends and receives failures; what arrives blows the latch of its group."""

    def __init__(self, roster: Roster, latches: FailureLatches, limbo: Limbo, ulfm: bool) -> None:
        self.roster = roster
        self._latches = latches
        self._limbo = limbo
        self._ulfm = ulfm

    def post(self, name: str, slots: Sequence[int], failure: Failure) -> None:
        """Tell the other members; does not wait for them.

        Args:
            name: the group.
            slots: its members.
            failure: why it is over.
        """
        notice = _encode(name, failure)
        for slot in slots:
            if slot != self.roster.slot and slot in self.roster.slots:
                self._send(notice, self.roster.ranks_of([slot])[0])

    def poll(self) -> None:
        """Take in what has arrived. Local."""
        status = MPI.Status()
        while (message := self._probe(status)) is not None:
            notice = np.empty(status.Get_count(MPI.BYTE), dtype=np.uint8)
            message.Recv(notice)
            name, failure = _decode(notice)
            self._latches.latch(name).trip(failure)

    def _send(self, notice: Array, rank: int) -> None:
        try:
            request = self.roster.control.Isend(notice, rank, NOTICE_TAG)
        except MPI.Exception:
            if self._ulfm:
                return  # the receiver is dead: it needs no notice, and others see that it is dead
            raise
        self._limbo.park([request], [notice])

    def _probe(self, status: MPI.Status) -> MPI.Message | None:
        control = self.roster.control
        try:
            return control.Improbe(MPI.ANY_SOURCE, NOTICE_TAG, status)
        except MPI.Exception:
            if not self._ulfm:
                raise
        # ULFM refuses "any source" until the dead have been acknowledged.
        control.Ack_failed(control.size)
        return control.Improbe(MPI.ANY_SOURCE, NOTICE_TAG, status)


def _encode(name: str, failure: Failure) -> Array:
    fields = (name, failure.kind, failure.reason[:LONGEST_REASON], failure.rank)
    return np.frombuffer(json.dumps(fields).encode(), dtype=np.uint8)


def _decode(notice: Array) -> tuple[str, Failure]:
    name, kind, reason, rank = json.loads(notice.tobytes())
    return name, Failure(kind, reason, rank)
