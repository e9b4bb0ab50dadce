"""The partitions that live on one rank, and how others get at them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elevon.errors import WireError
from elevon.frames.files import ipc
from elevon.model.ids import TaskId
from elevon.model.slices import Slice
from elevon.wire.data import PartitionRequest, PartitionServer, fetch

if TYPE_CHECKING:
    import pyarrow as pa

    from elevon.frames.exchange.partitioning import Layout


class InputUnavailable(WireError):
    """An input partition could not be fetched: its rank or client is gone."""


class PartitionStore:
    """Tables by task, kept in memory until dropped. Thread-safe."""

    def __init__(self, socket_path: Path) -> None:
        self._tables: dict[TaskId, pa.Table] = {}
        self._layouts: dict[TaskId, Layout] = {}
        self._lock = threading.Lock()
        self._server = PartitionServer(socket_path, self._write)

    @property
    def address(self) -> str:
        """Where other processes fetch from this store."""
        return self._server.address

    def put(self, task: TaskId, table: pa.Table, layout: Layout | None = None) -> None:
        """Keep a table as this rank's partition of the task's output, and how its rows lie."""
        with self._lock:
            self._tables[task] = table
            self._layouts.pop(task, None)
            if layout is not None:
                self._layouts[task] = layout

    def drop(self, tasks: Iterable[TaskId]) -> None:
        """Forget partitions; unknown ones are no error (they may never have come to be)."""
        with self._lock:
            for task in tasks:
                self._tables.pop(task, None)
                self._layouts.pop(task, None)

    def collect(self, slices: Sequence[Slice], schema: bytes) -> pa.Table:
        """One input of one member: its slices in order, from here or from their owners.

        Raises:
            InputUnavailable: an owner is gone, or does not have the partition any more.
        """
        return ipc.concat(schema, [self._obtain(piece) for piece in slices])

    def layout_of(self, slices: Sequence[Slice]) -> Layout | None:
        """How the rows of these slices lie, if all of them lie here and lie alike.

        A part of a partition lies as the whole does: each of its rows is where it belongs.
        """
        with self._lock:
            known = {
                self._layouts.get(piece.task) if piece.address == self.address else None
                for piece in slices
            }
        return known.pop() if len(known) == 1 else None

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    def _obtain(self, piece: Slice) -> pa.Table:
        if piece.address == self.address:
            return self._get(piece.task, piece.offset, piece.rows)
        request = PartitionRequest(piece.task, piece.offset, piece.rows)
        try:
            return ipc.read_stream(fetch(piece.address, request))
        except WireError as error:
            raise InputUnavailable(str(error)) from error

    def _get(self, task: TaskId, offset: int, rows: int) -> pa.Table:
        with self._lock:
            if task not in self._tables:
                raise InputUnavailable(f"this rank does not hold a partition of {task} any more")
            table = self._tables[task]
        whole = offset == 0 and rows == table.num_rows
        return table if whole else table.slice(offset, rows)

    def _write(self, request: PartitionRequest, descriptor: int) -> None:
        with self._lock:
            table = self._tables[TaskId(request.key)]
        ipc.write_stream(table.slice(request.offset, request.rows), descriptor)
