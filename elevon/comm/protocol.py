"""The Communicator Protocol: a private group of ranks, and what it can do together.

Data are numpy arrays of any plain dtype (what is passed is made contiguous first). Counts are
64-bit everywhere. Every call ends by the group's deadline with CollectiveTimeout, and every call of
every member ends with GroupAborted or MemberLost soon after one member aborts, fails or dies. All
members must call the same collectives in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
ReduceName: TypeAlias = Literal["sum", "prod", "min", "max", "land", "lor"]
ReduceOp: TypeAlias = ReduceName | Callable[[Array, Array], Array]
"""A name, or a function of two arrays that gives a third of the same shape and dtype, element by
element. It is called in rank order, so it need not commute; large arrays reach it in slices."""


@runtime_checkable
class Communicator(Protocol):
    """A private group of ``size`` ranks, of which the caller is number ``rank``.

    "Shape s" below means any shape, the same on all ranks, as the dtype is.
    """

    @property
    def rank(self) -> int:
        """The caller's number in the group, 0 <= rank < size."""

    @property
    def size(self) -> int:
        """How many ranks the group has."""

    @property
    def timeout_s(self) -> float | None:
        """Seconds that one collective may take, or None where only abort and loss end it."""

    def barrier(self) -> None:
        """Return after all members have entered (not: after all have left)."""

    def bcast(self, array: Array, root: int = 0) -> Array:
        """Every rank passes shape s; all get the root's values (others' array is filled)."""

    def gather(self, array: Array, root: int = 0) -> Array | None:
        """Every rank passes shape s; the root gets (size, *s), the others None."""

    def gatherv(self, array: Array, root: int = 0) -> list[Array] | None:
        """Every rank passes one dimension of any length; the root gets them by rank."""

    def scatter(self, array: Array | None, root: int = 0) -> Array:
        """The root passes (size, *s), the others None; each gets its own s."""

    def scatterv(self, arrays: Sequence[Array] | None, root: int = 0) -> Array:
        """The root passes one 1-d array per rank, the others None; each gets its own."""

    def allgather(self, array: Array) -> Array:
        """Every rank passes shape s; all get (size, *s)."""

    def allgatherv(self, array: Array) -> list[Array]:
        """Every rank passes one dimension of any length; all get all of them, by rank."""

    def reduce(self, array: Array, op: ReduceOp = "sum", root: int = 0) -> Array | None:
        """Element by element over the ranks, from the left in rank order; the root gets shape s.

        The dtype stays, as with numpy's functions of two arrays; "land" and "lor" give bool.
        """

    def allreduce(self, array: Array, op: ReduceOp = "sum") -> Array:
        """As reduce; all get the result, the same bits on all."""

    def scan(self, array: Array, op: ReduceOp = "sum") -> Array:
        """Inclusive prefix: rank r gets the reduction over the ranks 0..r."""

    def reduce_scatter(self, array: Array, op: ReduceOp = "sum") -> Array:
        """Every rank passes (size, *s); rank r gets the reduction of all ranks' row r, shape s."""

    def alltoall(self, array: Array) -> Array:
        """Every rank passes (size, *s), row j for rank j; row i of the result is from rank i."""

    def alltoallv(self, arrays: Sequence[Array]) -> list[Array]:
        """Every rank passes one 1-d array per peer; item i of the result came from rank i.

        Lengths travel first, so a receiver needs to know nothing. The received arrays own their
        memory (a table may be laid over them); the caller's own part may be returned uncopied.
        """

    def split(self, color: int | None, key: int = 0) -> Communicator | None:
        """Collective: a new group for each color, ordered by (key, rank); None: no group."""

    def abort(self, reason: str) -> None:
        """Make every pending and later collective of every member end with GroupAborted."""

    def close(self) -> None:
        """Give the group up. Not collective; safe to call twice."""


def as_contiguous(array: object) -> Array:
    """The array form of what a caller passed: scalars become 0-d, the rest C-contiguous."""
    result = np.asarray(array)
    return result if result.flags.c_contiguous else np.ascontiguousarray(result)
