"""A communicator that knows how long its user has spent in it.

Time in a collective includes waiting for members that are not there yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from elevon.comm.protocol import Array, Communicator, ReduceOp
from elevon.model.texts import MESSAGE_CHARACTERS, bounded


class TimedCommunicator:
    """Passes everything on to ``inner`` and adds up the seconds that it took."""

    def __init__(self, inner: Communicator, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._clock = clock
        self.seconds = 0.0

    @contextmanager
    def _counted(self) -> Iterator[Communicator]:
        started = self._clock()
        try:
            yield self._inner
        finally:
            self.seconds += self._clock() - started

    @property
    def inner(self) -> Communicator:
        """The communicator itself, for what is outside the Protocol."""
        return self._inner

    @property
    def rank(self) -> int:
        """The caller's number in the group."""
        return self._inner.rank

    @property
    def size(self) -> int:
        """How many ranks the group has."""
        return self._inner.size

    @property
    def timeout_s(self) -> float | None:
        """Seconds that one collective may take."""
        return self._inner.timeout_s

    def barrier(self) -> None:
        """See Communicator."""
        with self._counted() as inner:
            inner.barrier()

    def bcast(self, array: Array, root: int = 0) -> Array:
        """See Communicator."""
        with self._counted() as inner:
            return inner.bcast(array, root)

    def gather(self, array: Array, root: int = 0) -> Array | None:
        """See Communicator."""
        with self._counted() as inner:
            return inner.gather(array, root)

    def gatherv(self, array: Array, root: int = 0) -> list[Array] | None:
        """See Communicator."""
        with self._counted() as inner:
            return inner.gatherv(array, root)

    def scatter(self, array: Array | None, root: int = 0) -> Array:
        """See Communicator."""
        with self._counted() as inner:
            return inner.scatter(array, root)

    def scatterv(self, arrays: Sequence[Array] | None, root: int = 0) -> Array:
        """See Communicator."""
        with self._counted() as inner:
            return inner.scatterv(arrays, root)

    def allgather(self, array: Array) -> Array:
        """See Communicator."""
        with self._counted() as inner:
            return inner.allgather(array)

    def allgatherv(self, array: Array) -> list[Array]:
        """See Communicator."""
        with self._counted() as inner:
            return inner.allgatherv(array)

    def reduce(self, array: Array, op: ReduceOp = "sum", root: int = 0) -> Array | None:
        """See Communicator."""
        with self._counted() as inner:
            return inner.reduce(array, op, root)

    def allreduce(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        with self._counted() as inner:
            return inner.allreduce(array, op)

    def scan(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        with self._counted() as inner:
            return inner.scan(array, op)

    def reduce_scatter(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        with self._counted() as inner:
            return inner.reduce_scatter(array, op)

    def alltoall(self, array: Array) -> Array:
        """See Communicator."""
        with self._counted() as inner:
            return inner.alltoall(array)

    def alltoallv(self, arrays: Sequence[Array]) -> list[Array]:
        """See Communicator."""
        with self._counted() as inner:
            return inner.alltoallv(arrays)

    def split(self, color: int | None, key: int = 0) -> Communicator | None:
        """See Communicator. The new group's own time is not counted here."""
        with self._counted() as inner:
            return inner.split(color, key)

    def abort(self, reason: str) -> None:
        """See Communicator. Of a very long reason the middle is left out: it travels to all."""
        self._inner.abort(bounded(reason, MESSAGE_CHARACTERS))

    def close(self) -> None:
        """See Communicator."""
        self._inner.close()
