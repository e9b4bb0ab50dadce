"""The communicator of a group of MPI ranks.

Equal shapes travel by MPI's own collectives; lengths that differ by pairs of Isend and Irecv,
which measured as fast as memcpy on both MPIs and know no limit of 2^31 - 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from mpi4py import MPI

from elevon.comm.base.arrays import ArrayCommunicator, Parts, members_of
from elevon.comm.base.failure import Failure
from elevon.comm.mpi.channel import CHUNK_BYTES, Channel, Start
from elevon.comm.protocol import Array
from elevon.errors import UsageError

# MPI's collectives have counts of 32 bits, and some of them sum up over the ranks.
LARGEST_COLLECTIVE_BYTES = 1 << 30


class MpiCommunicator(ArrayCommunicator):
    """See Communicator; this one is made by MpiWorld.open_group and by split.

    Args:
        channel: the group.
        timeout_s: seconds that one collective may take.
        on_close: gives the channel back.
    """

    def __init__(
        self, channel: Channel, timeout_s: float | None, on_close: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._timeout_s = timeout_s
        self._on_close = on_close
        self._closed = False
        self._splits = 0
        self._children: list[MpiCommunicator] = []

    @property
    def rank(self) -> int:
        """The caller's number in the group."""
        return self._channel.rank

    @property
    def size(self) -> int:
        """How many ranks the group has."""
        return self._channel.size

    @property
    def timeout_s(self) -> float | None:
        """Seconds that one collective may take."""
        return self._timeout_s

    @property
    def mpi(self) -> MPI.Intracomm:
        """The MPI communicator, for libraries that want one. What is done on it has no way out."""
        return self._raw()

    @property
    def calls(self) -> int:
        """How many steps all collectives so far took. Members that did the same agree in it."""
        return self._channel.calls

    def barrier(self) -> None:
        """See Communicator."""
        raw = self._raw()
        self._run("barrier", lambda: [raw.Ibarrier()])

    def split(self, color: int | None, key: int = 0) -> MpiCommunicator | None:
        """See Communicator."""
        choices = self._split_choices(color, key)
        self._splits += 1
        child = None
        if color is not None:
            channel = self._channel.derive(members_of(choices, color), self._splits)
            child = MpiCommunicator(channel, self._timeout_s, channel.close)
            self._children.append(child)
        self.barrier()  # see Channel: no member may revoke what another one still creates
        return child

    def abort(self, reason: str) -> None:
        """See Communicator."""
        text = f"rank {self.rank} aborted group {self._channel.name}: {reason}"
        self._channel.fail(Failure("aborted", text, self.rank))

    def interrupt(self, reason: str, rank: int | None = None, lost: bool = False) -> None:
        """Make the pending and all later collectives of this member raise.

        Another thread may call this; it makes no MPI call. The other members are not told.

        Args:
            reason: what the error says.
            rank: the group rank to blame.
            lost: whether that rank is dead, which makes the error a MemberLost.
        """
        self._channel.latch.trip(Failure("lost" if lost else "aborted", reason, rank))

    def close(self) -> None:
        """See Communicator."""
        if not self._closed:
            self._closed = True
            for child in self._children:
                child.close()
            self._on_close()

    def _raw(self) -> MPI.Intracomm:
        if self._closed:
            raise UsageError(f"group {self._channel.name} is closed")
        return self._channel.raw

    def _run(self, what: str, start: Start, *buffers: Array) -> None:
        self._raw()
        self._channel.run(what, start, buffers, self._timeout_s)

    def _exchange(self, what: str, outgoing: Parts, incoming: Parts) -> None:
        self._raw()
        rank = self.rank
        self._channel.exchange(
            what,
            [part for part in outgoing if part[0] != rank],
            [part for part in incoming if part[0] != rank],
            self._timeout_s,
        )

    def _bcast(self, data: Array, root: int) -> None:
        raw = self._raw()
        for start in range(0, max(data.size, 1), CHUNK_BYTES):
            chunk = data[start : start + CHUNK_BYTES]
            self._run("bcast", partial(_ibcast, raw, chunk, root), chunk)

    def _gather(self, send: Array, rows: Array | None, root: int) -> None:
        raw = self._raw()
        if self._fits(send, self.size):
            self._run("gather", lambda: [raw.Igather(send, rows, root)], send, *_present(rows))
            return
        incoming = [] if rows is None else self._rows(rows)
        self._exchange("gather", [(root, send)], incoming)
        if rows is not None:
            self._rows(rows)[self.rank][1][:] = send

    def _scatter(self, rows: Array | None, own: Array, root: int) -> None:
        raw = self._raw()
        if self._fits(own, self.size):
            self._run("scatter", lambda: [raw.Iscatter(rows, own, root)], own, *_present(rows))
            return
        outgoing = [] if rows is None else self._rows(rows)
        self._exchange("scatter", outgoing, [(root, own)])
        if rows is not None:
            own[:] = self._rows(rows)[self.rank][1]

    def _allgather(self, send: Array, rows: Array) -> None:
        raw = self._raw()
        if self._fits(rows):
            self._run("allgather", lambda: [raw.Iallgather(send, rows)], send, rows)
        else:
            self._exchange("allgather", [(peer, send) for peer in self._peers], self._rows(rows))
            self._rows(rows)[self.rank][1][:] = send

    def _alltoall(self, send: Array, rows: Array) -> None:
        raw = self._raw()
        if self._fits(rows):
            self._run("alltoall", lambda: [raw.Ialltoall(send, rows)], send, rows)
        else:
            self._exchange("alltoall", self._rows(send), self._rows(rows))
            self._rows(rows)[self.rank][1][:] = self._rows(send)[self.rank][1]

    def _new(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return self._channel.new(shape, dtype)

    def _fits(self, data: Array, copies: int = 1) -> bool:
        return data.size * copies <= LARGEST_COLLECTIVE_BYTES

    def _rows(self, rows: Array) -> list[tuple[int, Array]]:
        return list(enumerate(rows.reshape(self.size, -1)))


def _ibcast(raw: MPI.Intracomm, chunk: Array, root: int) -> list[MPI.Request]:
    return [raw.Ibcast(chunk, root)]


def _present(buffer: Array | None) -> tuple[Array, ...]:
    return () if buffer is None else (buffer,)
