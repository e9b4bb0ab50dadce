"""The communicator of a group of ranks that are connected by sockets.

A group is a tag space over connections that are there already, so making one, and splitting one,
sends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from elevon import _native
from elevon.comm.base import reductions
from elevon.comm.base.arrays import ArrayCommunicator, Parts, members_of
from elevon.comm.base.buffers import BufferPool
from elevon.comm.base.failure import Failure
from elevon.comm.protocol import Array, ReduceOp
from elevon.errors import CommunicatorError, UsageError


@dataclass(frozen=True, slots=True)
class Transport:
    """What all groups of one rank share.

    Attributes:
        mesh: the connections.
        buffers: memory for what is received.
    """

    mesh: _native.Mesh
    buffers: BufferPool


@dataclass(frozen=True, slots=True)
class TagSpace:
    """The tag space of a group.

    Attributes:
        context: the agent's number.
        path: 0, or which splits lead to it from that group.
        name: for messages.
        slots: of the members, by rank.
    """

    context: int
    path: int
    name: str
    slots: tuple[int, ...]

    def part(self, members: list[int], number: int) -> TagSpace:
        """The space of some members after the split ``number``; the same on all of them."""
        name = f"{self.name}/{number}.{members[0]}"
        digest = blake2b(name.encode(), digest_size=8).digest()
        # 0 is the group itself; two paths that meet in 64 bits would show as a wrong call.
        path = int.from_bytes(digest, "little") | 1
        return TagSpace(self.context, path, name, tuple(self.slots[rank] for rank in members))


class TcpCommunicator(ArrayCommunicator):
    """See Communicator; this one is made by TcpWorld.open_group and by split.

    Args:
        transport: of this process.
        tags: the tag space of the group.
        timeout_s: seconds that one collective may take.
        on_close: gives the group back.
        parent: the group that this one was split from; when that fails, so does this.
    """

    def __init__(
        self,
        transport: Transport,
        tags: TagSpace,
        timeout_s: float | None,
        on_close: Callable[[TagSpace], None],
        parent: _native.Group | None = None,
    ) -> None:
        self._transport = transport
        self._tags = tags
        self._timeout_s = timeout_s
        self._on_close = on_close
        self._group = transport.mesh.open(tags.context, tags.path, tags.slots, tags.name, parent)
        self._closed = False
        self._splits = 0
        self._children: list[TcpCommunicator] = []

    @property
    def rank(self) -> int:
        """The caller's number in the group."""
        return self._group.rank

    @property
    def size(self) -> int:
        """How many ranks the group has."""
        return self._group.size

    @property
    def timeout_s(self) -> float | None:
        """Seconds that one collective may take."""
        return self._timeout_s

    def barrier(self) -> None:
        """See Communicator."""
        self._run(lambda group: group.barrier(self._timeout_s))

    def reduce(self, array: Array, op: ReduceOp = "sum", root: int = 0) -> Array | None:
        """See Communicator."""
        self._check_root(root)
        mine = reductions.compiled(array, op)
        if mine is None:
            return super().reduce(array, op, root)
        result = self._like(mine) if self.rank == root else None
        self._fold("reduce", op, mine, result, root)
        return result

    def allreduce(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        mine = reductions.compiled(array, op)
        if mine is None:
            return super().allreduce(array, op)
        return self._folded("allreduce", op, mine, self._like(mine))

    def scan(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        mine = reductions.compiled(array, op)
        if mine is None:
            return super().scan(array, op)
        return self._folded("scan", op, mine, self._like(mine))

    def reduce_scatter(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        mine = reductions.compiled(array, op)
        if mine is None:
            return super().reduce_scatter(array, op)
        self._check_rows("reduce_scatter", mine)
        return self._folded("reduce_scatter", op, mine, self._like(mine[0]))

    def split(self, color: int | None, key: int = 0) -> TcpCommunicator | None:
        """See Communicator."""
        choices = self._split_choices(color, key)
        self._splits += 1
        if color is None:
            return None
        tags = self._tags.part(members_of(choices, color), self._splits)
        child = TcpCommunicator(self._transport, tags, self._timeout_s, self._forget, self._group)
        self._children.append(child)
        return child

    def abort(self, reason: str) -> None:
        """See Communicator."""
        text = f"rank {self.rank} aborted group {self._tags.name}: {reason}"
        self._group.fail("aborted", text, self.rank)

    def close(self) -> None:
        """See Communicator."""
        if not self._closed:
            self._closed = True
            for child in self._children:
                child.close()
            self._on_close(self._tags)

    def check(self) -> None:
        """Do nothing while the group is whole; local.

        Raises:
            CommunicatorError: it has failed, or a member is lost.
        """
        if self._group.failure is not None:
            raise self._error()
        for rank, reason in self._group.losses:
            text = f"group {self._tags.name}: rank {rank} is lost: {reason}"
            raise Failure("lost", text, rank).error()

    def _run(self, call: Callable[[_native.Group], None]) -> None:
        if self._closed:
            raise UsageError(f"group {self._tags.name} is closed")
        try:
            call(self._group)
        except _native.GroupFailed:
            raise self._error() from None

    def _error(self) -> CommunicatorError:
        failure = self._group.failure
        assert failure is not None
        return Failure(*failure).error()

    def _forget(self, tags: TagSpace) -> None:
        self._transport.mesh.forget(tags.context, tags.path)

    def _new(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        nbytes = math.prod(shape) * dtype.itemsize
        return self._transport.buffers.take(nbytes).view(dtype).reshape(shape)

    def _like(self, array: Array) -> Array:
        return self._new(array.shape, array.dtype)

    def _folded(self, what: str, op: ReduceOp, mine: Array, result: Array) -> Array:
        self._fold(what, op, mine, result, -1)
        return result

    def _fold(self, what: str, op: ReduceOp, mine: Array, result: Array | None, root: int) -> None:
        """Reduce in the engine; ``reductions.compiled`` has said that it can."""
        nbytes, limit_s = mine.nbytes if result is None else result.nbytes, self._timeout_s

        def call(group: _native.Group) -> None:
            room = self._transport.buffers.take(group.room_for(what, nbytes, limit_s))
            group.reduction(what, str(op), mine.dtype.name, mine, result, room, root, limit_s)

        self._run(call)

    def _bcast(self, data: Array, root: int) -> None:
        if self.rank == root and not data.flags.writeable:
            data = data.copy()
        self._run(lambda group: group.bcast(data, root, self._timeout_s))

    def _gather(self, send: Array, rows: Array | None, root: int) -> None:
        self._run(lambda group: group.gather(send, rows, root, self._timeout_s))

    def _scatter(self, rows: Array | None, own: Array, root: int) -> None:
        self._run(lambda group: group.scatter(rows, own, root, self._timeout_s))

    def _allgather(self, send: Array, rows: Array) -> None:
        self._run(lambda group: group.allgather(send, rows, self._timeout_s))

    def _allgatherv(self, rows: Sequence[Array]) -> None:
        self._run(lambda group: group.allgatherv(rows, self._timeout_s))

    def _alltoall(self, send: Array, rows: Array) -> None:
        self._run(lambda group: group.alltoall(send, rows, self._timeout_s))

    def _exchange(self, what: str, outgoing: Parts, incoming: Parts) -> None:
        sends = [part for part in outgoing if part[0] != self.rank]
        receives = [part for part in incoming if part[0] != self.rank]
        self._run(lambda group: group.exchange(what, sends, receives, -1, self._timeout_s))
