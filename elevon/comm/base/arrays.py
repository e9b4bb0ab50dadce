"""What all communicators over byte movers share: shapes, lengths and dtypes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from elevon.comm.base import reductions
from elevon.comm.base.labels import (
    LABEL_BYTES,
    as_bytes,
    as_payload,
    as_sequence,
    described_by,
    fill_from,
    is_inline,
    labels_of,
)
from elevon.comm.protocol import Array, Communicator, ReduceOp
from elevon.errors import UsageError

MOST_DIMENSIONS = 64
HEADER = np.dtype([("ndim", "<i8"), ("dtype", "S24"), ("shape", "<i8", (MOST_DIMENSIONS,))])

# (group rank, bytes) of what leaves or of where it arrives.
Parts: TypeAlias = Sequence[tuple[int, Array]]


class ArrayCommunicator(ABC):
    """The part of a Communicator that knows arrays; a subclass moves bytes.

    The abstract methods get contiguous arrays of uint8. Rows lie one after another, by rank; the
    caller's own row is theirs to copy. Each raises UsageError on a closed group and a
    CommunicatorError on one that has failed.
    """

    @property
    @abstractmethod
    def rank(self) -> int:
        """The caller's number in the group."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many ranks the group has."""

    @property
    @abstractmethod
    def timeout_s(self) -> float | None:
        """Seconds that one collective may take."""

    @abstractmethod
    def barrier(self) -> None:
        """See Communicator."""

    @abstractmethod
    def split(self, color: int | None, key: int = 0) -> Communicator | None:
        """See Communicator."""

    @abstractmethod
    def abort(self, reason: str) -> None:
        """See Communicator."""

    @abstractmethod
    def close(self) -> None:
        """See Communicator."""

    @abstractmethod
    def _new(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An uninitialised array to receive into."""

    @abstractmethod
    def _bcast(self, data: Array, root: int) -> None:
        """Fill ``data`` with the root's."""

    @abstractmethod
    def _gather(self, send: Array, rows: Array | None, root: int) -> None:
        """Collect equal lengths; only the root has ``rows``."""

    @abstractmethod
    def _scatter(self, rows: Array | None, own: Array, root: int) -> None:
        """Hand out equal lengths; only the root has ``rows``."""

    @abstractmethod
    def _allgather(self, send: Array, rows: Array) -> None:
        """Collect equal lengths everywhere."""

    @abstractmethod
    def _alltoall(self, send: Array, rows: Array) -> None:
        """Row j to rank j, row i from rank i."""

    def _allgatherv(self, rows: Sequence[Array]) -> None:
        """A row from each rank, of lengths that all know; the caller's own is there."""
        outgoing = [(peer, rows[self.rank]) for peer in self._peers if rows[self.rank].size]
        incoming = [(peer, rows[peer]) for peer in self._peers if rows[peer].size]
        self._exchange("allgatherv", outgoing, incoming)

    @abstractmethod
    def _exchange(self, what: str, outgoing: Parts, incoming: Parts) -> None:
        """Any lengths, all at once; every receiver knows what comes. Own parts are passed over."""

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
        result = self._new((self.size, *mine.shape), mine.dtype)
        self._gather(as_bytes(mine), as_bytes(result), root)
        return result

    def gatherv(self, array: Array, root: int = 0) -> list[Array] | None:
        """See Communicator."""
        self._check_root(root)
        mine = as_sequence(array)
        labels = self.gather(labels_of([mine])[0], root)
        if labels is None:
            self._exchange("gatherv", _large([(root, mine)]), [])
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
            self._check_rows("scatter", rows)
            _fill_header(header, rows)
        self._bcast(as_bytes(header), root)
        result = self._new(*_read_header(header))
        self._scatter(None if rows is None else as_bytes(rows), as_bytes(result), root)
        return result

    def scatterv(self, arrays: Sequence[Array] | None, root: int = 0) -> Array:
        """See Communicator."""
        self._check_root(root)
        label = np.empty(LABEL_BYTES, dtype=np.uint8)
        if self.rank != root:
            self._scatter(None, label, root)
            result = fill_from(label, self._new_by(label))
            self._exchange("scatterv", [], _large([(root, result)]))
            return result
        parts = self._one_each(arrays)
        self._scatter(as_bytes(labels_of(parts)), label, root)
        self._exchange("scatterv", self._by_peer(parts), [])
        return parts[root]

    def allgather(self, array: Array) -> Array:
        """See Communicator."""
        mine = as_payload(array)
        result = self._new((self.size, *mine.shape), mine.dtype)
        self._allgather(as_bytes(mine), as_bytes(result))
        return result

    def allgatherv(self, array: Array) -> list[Array]:
        """See Communicator."""
        mine = as_sequence(array)
        arrays = self._announced(self.allgather(labels_of([mine])[0]), mine)
        self._allgatherv([as_bytes(array[:0] if is_inline(array) else array) for array in arrays])
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

    def reduce_scatter(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        return reductions.reduce_scatter(self, array, op)

    def alltoall(self, array: Array) -> Array:
        """See Communicator."""
        mine = as_payload(array)
        self._check_rows("alltoall", mine)
        result = self._new(mine.shape, mine.dtype)
        self._alltoall(as_bytes(mine), as_bytes(result))
        return result

    def alltoallv(self, arrays: Sequence[Array]) -> list[Array]:
        """See Communicator."""
        parts = self._one_each(arrays)
        result = self._announced(self.alltoall(labels_of(parts)), parts[self.rank])
        self._exchange("alltoallv", self._by_peer(parts), self._by_peer(result))
        return result

    @property
    def _peers(self) -> list[int]:
        # Every rank starts with another peer, so that no one is everybody's first.
        return [(self.rank + distance) % self.size for distance in range(1, self.size)]

    def _by_peer(self, arrays: Sequence[Array]) -> list[tuple[int, Array]]:
        """What has to travel on its own."""
        return _large([(peer, arrays[peer]) for peer in self._peers])

    def _new_by(self, label: Array) -> Array:
        count, dtype = described_by(label)
        return self._new((count,), dtype)

    def _announced(self, labels: Array, own: Array) -> list[Array]:
        """What the labels announce, with the caller's own part in its place."""
        return [
            own if rank == self.rank else fill_from(label, self._new_by(label))
            for rank, label in enumerate(labels)
        ]

    def _one_each(self, arrays: Sequence[Array] | None) -> list[Array]:
        if arrays is None or len(arrays) != self.size:
            given = "none" if arrays is None else len(arrays)
            raise UsageError(f"one array for each of {self.size} ranks is needed, not {given}")
        return [as_sequence(array) for array in arrays]

    def _check_root(self, root: int) -> None:
        if not 0 <= root < self.size:
            raise UsageError(f"root {root} is no rank of a group of {self.size}")

    def _check_rows(self, what: str, rows: Array) -> None:
        if rows.ndim == 0 or rows.shape[0] != self.size:
            raise UsageError(f"{what} takes one row for each of {self.size} ranks: {rows.shape}")

    def _split_choices(self, color: int | None, key: int) -> list[list[int]]:
        """What all members passed to split."""
        mine = np.array([color is not None, color or 0, key], dtype=np.int64)
        choices: list[list[int]] = self.allgather(mine).tolist()
        return choices


def _large(parts: Parts) -> list[tuple[int, Array]]:
    """The bytes of those that do not travel with their label."""
    return [(peer, as_bytes(array)) for peer, array in parts if not is_inline(array)]


def members_of(choices: list[list[int]], color: int) -> list[int]:
    """The ranks that asked for a color, ordered by (key, rank)."""
    members = [rank for rank, (joins, its, _) in enumerate(choices) if joins and its == color]
    return sorted(members, key=lambda rank: choices[rank][2])


def _fill_header(header: Array, rows: Array) -> None:
    """Say what each rank gets of ``rows``."""
    header["ndim"] = rows.ndim - 1
    header["dtype"] = rows.dtype.str.encode()
    header["shape"][0, : rows.ndim - 1] = rows.shape[1:]


def _read_header(header: Array) -> tuple[tuple[int, ...], np.dtype[Any]]:
    shape = header["shape"][0, : int(header["ndim"][0])]
    return tuple(shape.tolist()), np.dtype(header["dtype"][0].decode())
