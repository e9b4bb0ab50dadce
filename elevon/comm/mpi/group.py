"""The communicator of a group of MPI ranks.

Before it: ``channel``, and the labels and reductions of ``comm``. After it: ``world`` opens it, the
rank gives it to operators and user functions.

Equal shapes travel by MPI's own collectives; lengths that differ by pairs of Isend and Irecv,
which measured as fast as memcpy on both MPIs and know no limit of 2^31 - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from mpi4py import MPI

from elevon.comm import reductions
from elevon.comm.failure import Failure
from elevon.comm.labels import (
    LABEL,
    as_bytes,
    as_payload,
    as_sequence,
    described_by,
    labels_of,
)
from elevon.comm.mpi.channel import CHUNK_BYTES, Channel, Parts, Post
from elevon.comm.protocol import Array, ReduceOp
from elevon.errors import UsageError

# MPI's collectives have counts of 32 bits, and some of them sum up over the ranks.
LARGEST_COLLECTIVE_BYTES = 1 << 30
MOST_DIMENSIONS = 64
HEADER = np.dtype([("ndim", "<i8"), ("dtype", "S24"), ("shape", "<i8", (MOST_DIMENSIONS,))])


class MpiCommunicator:
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

    def bcast(self, array: Array, root: int = 0) -> Array:
        """See Communicator."""
        self._check_root(root)
        data = as_payload(array)
        if self.rank != root and not data.flags.writeable:
            data = data.copy()
        self._bcast(as_bytes(data), root)
        if data is not array and isinstance(array, np.ndarray) and array.flags.writeable:
            array[...] = data  # what the caller passed was not contiguous
        return data

    def gather(self, array: Array, root: int = 0) -> Array | None:
        """See Communicator."""
        self._check_root(root)
        mine = as_payload(array)
        if self.rank != root:
            self._gather(as_bytes(mine), None, root)
            return None
        result = self._channel.new((self.size, *mine.shape), mine.dtype)
        self._gather(as_bytes(mine), as_bytes(result), root)
        return result

    def gatherv(self, array: Array, root: int = 0) -> list[Array] | None:
        """See Communicator."""
        self._check_root(root)
        mine = as_sequence(array)
        labels = self.gather(labels_of([mine]).view(np.uint8), root)
        if labels is None:
            self._exchange("gatherv", [(root, as_bytes(mine))], [])
            return None
        arrays = self._announced(labels, mine)
        self._exchange("gatherv", [], self._by_peer(arrays))
        return arrays

    def scatter(self, array: Array | None, root: int = 0) -> Array:
        """See Communicator."""
        self._check_root(root)
        header = np.zeros(1, dtype=HEADER)
        rows = None
        if self.rank == root:
            rows = as_payload(array)
            _fill_header(header, rows, self.size)
        self._bcast(as_bytes(header), root)
        result = self._channel.new(*_read_header(header))
        self._scatter(None if rows is None else as_bytes(rows), as_bytes(result), root)
        return result

    def scatterv(self, arrays: Sequence[Array] | None, root: int = 0) -> Array:
        """See Communicator."""
        self._check_root(root)
        label = np.empty(1, dtype=LABEL)
        if self.rank != root:
            self._scatter(None, as_bytes(label), root)
            count, dtype = described_by(label[0])
            result = self._channel.new((count,), dtype)
            self._exchange("scatterv", [], [(root, as_bytes(result))])
            return result
        parts = self._one_each(arrays)
        self._scatter(as_bytes(labels_of(parts)), as_bytes(label), root)
        self._exchange("scatterv", self._by_peer(parts), [])
        return parts[root]

    def allgather(self, array: Array) -> Array:
        """See Communicator."""
        mine = as_payload(array)
        result = self._channel.new((self.size, *mine.shape), mine.dtype)
        send, rows, raw = as_bytes(mine), as_bytes(result), self._raw()
        if self._fits(rows):
            self._run("allgather", lambda: [raw.Iallgather(send, rows)], send, rows)
        else:
            self._exchange("allgather", [(peer, send) for peer in self._peers], self._rows(rows))
            self._rows(rows)[self.rank][1][:] = send
        return result

    def allgatherv(self, array: Array) -> list[Array]:
        """See Communicator."""
        mine = as_sequence(array)
        arrays = self._announced(self.allgather(labels_of([mine]).view(np.uint8)), mine)
        outgoing = [(peer, as_bytes(mine)) for peer in self._peers]
        self._exchange("allgatherv", outgoing, self._by_peer(arrays))
        return arrays

    def reduce(self, array: Array, op: ReduceOp = "sum", root: int = 0) -> Array | None:
        """See Communicator."""
        self._check_root(root)
        return reductions.reduce(self, array, op, root)

    def allreduce(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        return reductions.allreduce(self, array, op)

    def scan(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        return reductions.scan(self, array, op)

    def alltoall(self, array: Array) -> Array:
        """See Communicator."""
        mine = as_payload(array)
        if mine.ndim == 0 or mine.shape[0] != self.size:
            raise UsageError(f"alltoall takes one row for each of {self.size} ranks: {mine.shape}")
        result = self._channel.new(mine.shape, mine.dtype)
        send, rows, raw = as_bytes(mine), as_bytes(result), self._raw()
        if self._fits(rows):
            self._run("alltoall", lambda: [raw.Ialltoall(send, rows)], send, rows)
        else:
            self._exchange("alltoall", self._rows(send), self._rows(rows))
            result[self.rank] = mine[self.rank]
        return result

    def alltoallv(self, arrays: Sequence[Array]) -> list[Array]:
        """See Communicator."""
        parts = self._one_each(arrays)
        labels = self.alltoall(labels_of(parts).view(np.uint8).reshape(self.size, -1))
        result = self._announced(labels, parts[self.rank])
        self._exchange("alltoallv", self._by_peer(parts), self._by_peer(result))
        return result

    def split(self, color: int | None, key: int = 0) -> MpiCommunicator | None:
        """See Communicator."""
        wish = np.array([color is not None, color or 0, key], dtype=np.int64)
        wishes = self.allgather(wish).tolist()
        self._splits += 1
        child = None
        if color is not None:
            channel = self._channel.derive(_members(wishes, color), self._splits)
            child = MpiCommunicator(channel, self._timeout_s, channel.close)
            self._children.append(child)
        self.barrier()  # see Channel: nobody may revoke what another one still creates
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
        self._channel.fuse.blow(Failure("lost" if lost else "aborted", reason, rank))

    def close(self) -> None:
        """See Communicator."""
        if not self._closed:
            self._closed = True
            for child in self._children:
                child.close()
            self._on_close()

    @property
    def _peers(self) -> list[int]:
        # Every rank starts with another peer, so that no one is everybody's first.
        return [(self.rank + distance) % self.size for distance in range(1, self.size)]

    def _raw(self) -> MPI.Intracomm:
        if self._closed:
            raise UsageError(f"group {self._channel.name} is closed")
        return self._channel.raw

    def _run(self, what: str, post: Post, *buffers: Array) -> None:
        self._raw()
        self._channel.run(what, post, buffers, self._timeout_s)

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

    def _fits(self, data: Array, copies: int = 1) -> bool:
        return data.size * copies <= LARGEST_COLLECTIVE_BYTES

    def _rows(self, rows: Array) -> list[tuple[int, Array]]:
        return list(enumerate(rows.reshape(self.size, -1)))

    def _by_peer(self, arrays: Sequence[Array]) -> list[tuple[int, Array]]:
        return [(peer, as_bytes(arrays[peer])) for peer in self._peers]

    def _announced(self, labels: Array, own: Array) -> list[Array]:
        """What the labels announce, uninitialised, with the caller's own part in its place."""
        found = [described_by(label) for label in labels.reshape(-1).view(LABEL)]
        return [
            own if rank == self.rank else self._channel.new((count,), dtype)
            for rank, (count, dtype) in enumerate(found)
        ]

    def _one_each(self, arrays: Sequence[Array] | None) -> list[Array]:
        if arrays is None or len(arrays) != self.size:
            given = "none" if arrays is None else len(arrays)
            raise UsageError(f"one array for each of {self.size} ranks is needed, not {given}")
        return [as_sequence(array) for array in arrays]

    def _check_root(self, root: int) -> None:
        if not 0 <= root < self.size:
            raise UsageError(f"root {root} is no rank of a group of {self.size}")


def _members(wishes: list[list[int]], color: int) -> list[int]:
    """Who asked for a color, ordered by (key, rank)."""
    members = [rank for rank, (joins, its, _) in enumerate(wishes) if joins and its == color]
    return sorted(members, key=lambda rank: wishes[rank][2])


def _ibcast(raw: MPI.Intracomm, chunk: Array, root: int) -> list[MPI.Request]:
    return [raw.Ibcast(chunk, root)]


def _present(buffer: Array | None) -> tuple[Array, ...]:
    return () if buffer is None else (buffer,)


def _fill_header(header: Array, rows: Array, size: int) -> None:
    """Say what each rank gets of ``rows``."""
    if rows.ndim == 0 or rows.shape[0] != size:
        raise UsageError(f"scatter takes one row for each of {size} ranks: {rows.shape}")
    header["ndim"] = rows.ndim - 1
    header["dtype"] = rows.dtype.str.encode()
    header["shape"][0, : rows.ndim - 1] = rows.shape[1:]


def _read_header(header: Array) -> tuple[tuple[int, ...], np.dtype[Any]]:
    shape = header["shape"][0, : int(header["ndim"][0])]
    return tuple(shape.tolist()), np.dtype(header["dtype"][0].decode())
