"""How tasks end: the outcome that the client is told, and what it means for those that need them.

Every task is told to the client once, with one exception: a dataset that was lost and run again is
told again, with its new partitions, or with the failure for which it could not be recomputed. The
client resolves the future at the first telling and takes the placement from the last.
"""

from __future__ import annotations

from typing import Final

from elevon.agent.scheduling import failures
from elevon.agent.scheduling.dependencies import Dependencies
from elevon.agent.scheduling.events import EndTask
from elevon.agent.scheduling.records import Attempt, TaskRecord
from elevon.agent.scheduling.state import SchedulerState
from elevon.model.outcomes import (
    Failure,
    Partition,
    PartOutcome,
    RankProfile,
    TaskOutcome,
    TaskProfile,
)
from elevon.model.states import (
    ENDS,
    HANDLE_LIFE,
    OUTPUT_LIFE,
    AttemptState,
    HandleEvent,
    HandleState,
    OutputEvent,
    TaskEvent,
    TaskState,
)
from elevon.model.transitions import by_event

# Looked up once: an enum's member costs more to find than a transition to make.
_ALL_PARTS_DONE: Final = ENDS[AttemptState.SUCCEEDED]
_AFTER_MADE: Final = by_event(OUTPUT_LIFE, OutputEvent.MADE)
_AFTER_TELL: Final = by_event(HANDLE_LIFE, HandleEvent.TELL)
_CLOSED: Final = HandleState.CLOSED
_READY: Final = TaskState.READY
_WAITING: Final = TaskState.WAITING


class Outcomes:
    """Ends tasks."""

    def __init__(self, state: SchedulerState, dependencies: Dependencies) -> None:
        self._state = state
        self._dependencies = dependencies

    def succeed(self, record: TaskRecord, attempt: Attempt) -> None:
        """All parts have ended well."""
        parts = [part for part in attempt.parts if part is not None]
        if record.dataset:
            record.partitions = self._partitions(attempt, parts)
            record.schema = parts[0].schema
            self._dependencies.trim(record)
        else:
            record.values = _values(record, parts)
        tasks = self._state.tasks
        tasks.move(record, _ALL_PARTS_DONE)
        made = _AFTER_MADE.get(record.output)
        if made is None:
            tasks.refuse(record, record.output, OutputEvent.MADE)
        record.output = made
        self._tell(record)
        record.attempt = None
        self._dependencies.unlink(record)
        self._dependencies.wake_dependents(record)

    def fail(self, record: TaskRecord, failure: Failure, event: TaskEvent) -> None:
        """The task ends without a result."""
        if record.state is _READY:
            self._state.queue.remove(record)
        ran_before = record.told
        self._state.tasks.move(record, event)
        record.failure = failure
        record.partitions, record.schema = (), b""
        self._tell(record)
        record.attempt = None
        for waiting in (*record.waiting_consumers(), *(record.followers or ())):
            self._state.mark_unrunnable(waiting, _inherited(waiting, record, failure, ran_before))
        self._dependencies.drop_all(record)
        self._dependencies.unlink(record)
        self._state.tasks.forget_if_done(record)

    def end_unrunnable(self) -> None:
        """End every unstarted task that can never run, and those that this dooms in turn."""
        unrunnable = self._state.unrunnable
        while unrunnable:
            record, failure = unrunnable.popleft()
            if record.state is _WAITING:
                self.fail(record, failure, TaskEvent.GIVE_UP)

    def _tell(self, record: TaskRecord) -> None:
        handle = record.handle
        if handle is _CLOSED:
            return
        told = _AFTER_TELL.get(handle)
        if told is None:
            self._state.tasks.refuse(record, handle, HandleEvent.TELL)
        record.handle = told
        outcome = TaskOutcome(
            failure=record.failure,
            partitions=record.partitions,
            schema=record.schema,
            values=record.values,
            profile=self._profile(record),
        )
        self._state.commands.append(EndTask(record.task, outcome))

    def _profile(self, record: TaskRecord) -> TaskProfile:
        attempt = record.attempt
        pairs = zip(attempt.gang, attempt.parts, strict=True) if attempt is not None else ()
        return TaskProfile(
            submitted_s=record.submission.submitted_s,
            received_s=record.received_s,
            ready_s=record.ready_s,
            placed_s=record.placed_s,
            ended_s=self._state.at,
            attempts=record.attempts,
            parts=tuple([RankProfile(rank, part.stamps) for rank, part in pairs if part]),
        )

    def _partitions(self, attempt: Attempt, parts: list[PartOutcome]) -> tuple[Partition, ...]:
        address = self._state.ranks.address
        return tuple(
            Partition(rank, part.rows, part.nbytes, address[rank])
            for rank, part in zip(attempt.gang, parts, strict=True)
        )


def _values(record: TaskRecord, parts: list[PartOutcome]) -> tuple[bytes, ...]:
    """Rank 0's value, or all by rank, as the operation says."""
    operation = record.submission.description.operation
    if operation.result == "value":
        return (parts[0].value,)
    return tuple(part.value for part in parts)


def _inherited(
    waiting: TaskRecord, failed: TaskRecord, failure: Failure, ran_before: bool
) -> Failure:
    """What the failure of one task is for another that waits for it."""
    if ran_before:
        return failures.recompute_failed(waiting, failed, failure)
    return failures.dependency(waiting, failed)
