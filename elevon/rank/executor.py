"""Runs one member's part of a task: decode, open, fetch, compute, keep, close - and stamp it all.

Whatever a task does, ``run`` returns an outcome: the only thing that gets past it is the death of
the process.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cloudpickle
import msgspec

from elevon.comm.base.timed import TimedCommunicator
from elevon.comm.protocol import Communicator
from elevon.errors import (
    CollectiveTimeout,
    CommunicatorError,
    GroupAborted,
    MemberLost,
    TaskError,
)
from elevon.frames.files.pickles import dumps
from elevon.model.ids import RankId, TaskId
from elevon.model.operations import Call, Load
from elevon.model.outcomes import Failure, FailureKind, PartOutcome, Stamps
from elevon.model.slices import Slice
from elevon.model.texts import error_text, traceback_text
from elevon.rank.calls import Job
from elevon.rank.inputs import Inputs
from elevon.rank.operators import prepare
from elevon.rank.store import InputUnavailable, PartitionStore
from elevon.wire.messages import Interrupt, RunTask

# Of the lines that led to an error, those from here to the caller's code tell nothing.
_HERE = str(Path(__file__).parent)
# A value travels through the agent, which is no road for bulk data.
LARGEST_VALUE_BYTES = 64 * 1024 * 1024
# An exception travels for its type and its attributes; one that carries data is told by its text.
LARGEST_EXCEPTION_BYTES = 1024 * 1024
# One rank runs one attempt at a time; the rest are words about attempts that have ended.
MOST_EARLY_INTERRUPTS = 64


class World(Protocol):
    """What opens private communicators for the rank."""

    def open_group(
        self, slots: Sequence[RankId], context: int, timeout_s: float | None
    ) -> Communicator:
        """The communicator of these ranks; returns when all of them have come."""

    def interrupt(
        self, context: int, reason: str, rank: int | None = None, lost: bool = False
    ) -> None:
        """End a group of this process, also while it is being opened. Thread-safe."""

    def evict(self, contexts: Iterable[int]) -> None:
        """Free cached communicators."""


class _Stopwatch:
    """Collects the stamps of one part."""

    def __init__(self, received: float) -> None:
        self._stamps = {"received": received}

    def stamp(self, name: str) -> float:
        self._stamps[name] = now = time.monotonic()
        return now

    def stamps(self, in_collectives_s: float) -> Stamps:
        """All stamps; a phase that was not reached ends where the one before it did."""
        last, filled = 0.0, {}
        for name in ("received", "decoded", "opened", "fetched", "computed", "finished"):
            last = filled[name] = self._stamps.get(name, last)
        return Stamps(in_collectives_s=in_collectives_s, **filled)


class Executor:
    """One rank's way through one task at a time.

    Args:
        world: opens the private communicators.
        store: the rank's partitions.
        host: for failures.
    """

    def __init__(self, world: World, store: PartitionStore, host: str) -> None:
        self.world = world
        self._store = store
        self._host = host
        self._process = os.getpid()
        self._functions: dict[str, Callable[..., Any]] = {}
        self._pickled: dict[str, bytes] = {}  # those that could not be unpickled so far
        self._lock = threading.Lock()
        self._current: RunTask | None = None
        self._early: OrderedDict[tuple[TaskId, int], Interrupt] = OrderedDict()

    def interrupt(self, message: Interrupt) -> None:
        """Called by the control thread: the named attempt is to end, open or just opening."""
        attempt = (message.task, message.attempt)
        with self._lock:
            current = self._current
            if current is not None and (current.task, current.attempt) == attempt:
                self.world.interrupt(
                    current.communicator_id, message.reason, _blamed(message), message.lost
                )
                return
            # Either it has ended here already, or this word has overtaken its RunTask, which comes
            # by the other channel.
            self._early[attempt] = message
            while len(self._early) > MOST_EARLY_INTERRUPTS:
                self._early.popitem(last=False)

    def run(self, message: RunTask, received: float) -> PartOutcome:
        """Carry one part out."""
        watch = _Stopwatch(received)
        timed: TimedCommunicator | None = None
        entered = 0.0
        try:
            self._enter(message)
            job = self._decode(message)
            watch.stamp("decoded")
            timed = TimedCommunicator(self._open(message))
            entered = watch.stamp("opened")
            outcome = self._carry_out(message, job, timed, watch)
            self._end_fork(message)
        except BaseException as error:  # noqa: BLE001 - the border: told to the agent
            self._end_fork(message)
            outcome = PartOutcome(failure=self._failure(message, error))
            if timed is not None and message.communicator_id:
                timed.abort(f"rank {message.group_rank} failed: {error_text(error)}")
        finally:
            self._leave(timed)
        watch.stamp("finished")
        stamps = watch.stamps(timed.seconds if timed else 0.0)
        return msgspec.structs.replace(outcome, stamps=stamps, entered_s=entered)

    def _end_fork(self, message: RunTask) -> None:
        """A process that a function has forked must not go on as if it were this rank."""
        if os.getpid() != self._process:
            told = f"a process forked by {message.task} ({message.name}) ends with its function\n"
            with contextlib.suppress(OSError):
                os.write(2, told.encode("utf-8", "backslashreplace"))
            os._exit(0)

    def _enter(self, message: RunTask) -> None:
        with self._lock:
            self._current = message
            early = self._early.pop((message.task, message.attempt), None)
        if early is not None:
            kind = MemberLost if early.lost else GroupAborted
            raise kind(early.reason, rank=_blamed(early))

    def _decode(self, message: RunTask) -> Job:
        function = None
        if isinstance(message.operation, Call):
            function = self._function(message.operation.function, message.function)
        return prepare(message.operation, function, message.threads)

    def _function(self, digest: str, pickled: bytes) -> Callable[..., Any] | None:
        """The function, or None where it was never sent.

        It is sent once. If it cannot be unpickled now, each task that calls it tries again, and
        fails with the reason of its own time.
        """
        if pickled:
            self._pickled[digest] = pickled
            self._functions.pop(digest, None)
        if digest in self._pickled:
            self._functions[digest] = cloudpickle.loads(self._pickled[digest])
            del self._pickled[digest]
        return self._functions.get(digest)

    def _open(self, message: RunTask) -> Communicator:
        if message.evict:
            self.world.evict(message.evict)
        return self.world.open_group(message.members, message.communicator_id, message.timeout_s)

    def _leave(self, timed: TimedCommunicator | None) -> None:
        with self._lock:
            self._current = None
        if timed is not None:
            timed.close()

    def _carry_out(
        self, message: RunTask, job: Job, comm: TimedCommunicator, watch: _Stopwatch
    ) -> PartOutcome:
        inputs = self._inputs(message)
        watch.stamp("fetched")
        result = job(comm, inputs)
        watch.stamp("computed")
        kind = message.operation.result
        if kind == "partitions":
            return self._keep(message, result, inputs)
        wanted = message.group_rank == 0 or kind == "value of each rank"
        return PartOutcome(value=_encode_value(result) if wanted else b"")

    def _inputs(self, message: RunTask) -> Inputs:
        operation, memory_bytes = message.operation, message.memory_bytes or None
        if isinstance(operation, Load):
            return Inputs([self._load(message, operation)], [None], memory_bytes)
        values = [
            _decode_value(value) if value else self._store.collect(slices, schema)
            for slices, value, schema in zip(
                message.inputs, message.values, message.schemas, strict=True
            )
        ]
        layouts = [self._store.layout_of(slices) for slices in message.inputs]
        return Inputs(values, layouts, memory_bytes)

    def _load(self, message: RunTask, operation: Load) -> Any:
        size = len(message.members)
        start = operation.rows * message.group_rank // size
        end = operation.rows * (message.group_rank + 1) // size
        piece = Slice(message.task, operation.address, start, end - start)
        return self._store.collect([piece], b"")

    def _keep(self, message: RunTask, result: Any, inputs: Inputs) -> PartOutcome:
        import pyarrow as pa

        from elevon.frames.exchange.own_bytes import narrowed, own_bytes, owned
        from elevon.frames.exchange.partitioning import Placed
        from elevon.frames.files.ipc import schema_to_bytes
        from elevon.frames.schema.dictionaries import decode_extensions

        placed = result if isinstance(result, Placed) else Placed(result)
        result = placed.table
        if not isinstance(result, pa.Table):
            if not hasattr(result, "__arrow_c_stream__"):
                raise TypeError(
                    f"a task that returns a dataset must return an Arrow table on every rank, "
                    f"not {type(result).__name__}"
                )
            result = pa.table(result)
        result = decode_extensions(result)
        # What is kept for long must not keep a larger table that it was cut or chosen from.
        for table in inputs.values:
            result = narrowed(result, table) if isinstance(table, pa.Table) else result
        result = owned(result)
        self._store.put(message.task, result, placed.layout)
        schema = schema_to_bytes(result.schema) if message.group_rank == 0 else b""
        return PartOutcome(rows=result.num_rows, nbytes=own_bytes(result), schema=schema)

    def _failure(self, message: RunTask, error: BaseException) -> Failure:
        traceback = traceback_text(error, _HERE)  # first: what travels goes without its frames
        exception, refused = _encode_exception(error)
        return Failure(
            kind=_kind_of(error),
            message=(
                f"task {message.task} ({message.name}) failed on rank {message.group_rank} of "
                f"{len(message.members)} at {self._host}: {error_text(error)}{refused}"
            ),
            rank=message.group_rank,
            host=self._host,
            traceback=traceback,
            exception=exception,
            unreachable=error.rank if type(error) is MemberLost else None,
        )


def _blamed(message: Interrupt) -> int | None:
    return message.group_rank if message.group_rank >= 0 else None


def _kind_of(error: BaseException) -> FailureKind:
    kind = type(error)  # isinstance would ask a foreign error for its __class__, too
    if issubclass(kind, InputUnavailable):
        return FailureKind.DATA_LOST
    if issubclass(kind, CollectiveTimeout):
        return FailureKind.ERROR
    if issubclass(kind, CommunicatorError | TaskError):
        return FailureKind.ABORTED
    return FailureKind.ERROR


def _encode_value(value: Any) -> bytes:
    data = dumps(value)
    if len(data) > LARGEST_VALUE_BYTES:
        raise ValueError(
            f"the returned value takes {len(data):,} bytes, more than the {LARGEST_VALUE_BYTES:,} "
            "that travel through the agent; return an Arrow table with "
            'options(returns="dataset"), which stays on the ranks'
        )
    return data


def _decode_value(data: bytes) -> Any:
    return cloudpickle.loads(data)


def _encode_exception(error: BaseException) -> tuple[bytes, str]:
    """The pickled exception; or b"", and why, where it cannot make the round trip."""
    try:
        data: bytes = cloudpickle.dumps(error.with_traceback(None))
        if len(data) > LARGEST_EXCEPTION_BYTES:
            return b"", f" (the exception itself stays there: it takes {len(data):,} bytes)"
        cloudpickle.loads(data)
    except BaseException as second:  # noqa: BLE001 - pickling runs foreign code; its text travels
        return b"", f" (the exception itself stays there: pickling it raised {error_text(second)})"
    return data, ""
