"""Task records: what the scheduler knows of every task, and when it may forget one.

A record is one row of the task table. ``TaskState`` is the name of the state that a task is in, for
all programs; so the row that holds it, and all else that is known, has another name.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NoReturn

import msgspec

from elevon.model.ids import RankId, TaskId
from elevon.model.outcomes import Failure, Partition, PartOutcome
from elevon.model.states import (
    ATTEMPT_LIFE,
    OUTPUT_LIFE,
    TASK_LIFE,
    AttemptEvent,
    AttemptState,
    HandleState,
    OutputEvent,
    OutputState,
    TaskEvent,
    TaskState,
)
from elevon.model.tasks import TaskSubmission
from elevon.model.transitions import History

# Numbers of tasks stay below this, so that priority and number make one integer to compare.
_NUMBERS = 1 << 48

# Looked up once: an enum's member costs more to find than a transition to make.
_WAITING: Final = TaskState.WAITING
_DONE: Final = TaskState.DONE
_FAILED: Final = TaskState.FAILED
_CANCELED: Final = TaskState.CANCELED
_WHOLE: Final = OutputState.WHOLE
_TOLD: Final = HandleState.TOLD
_RELEASED: Final = HandleState.RELEASED
_CLOSED: Final = HandleState.CLOSED


class Attempt(msgspec.Struct, eq=False, gc=False):
    """One run of a task on one gang; which one, ``TaskRecord.attempts`` says.

    Attributes:
        gang: the ranks, in gang order.
        communicator_id: the number of its private communicator, 0 for a gang of one.
        started_step: how many events had come when it started.
        running: parts that have not ended.
        parts: what the members reported, by gang order.
        state: where it is on its way.
        cause: while FAILING, the first failure that is not the consequence of another.
        cancel: while CANCELING, why the client wants it ended.
    """

    gang: tuple[RankId, ...]
    communicator_id: int
    started_step: int
    running: int
    parts: list[PartOutcome | None]
    state: AttemptState = AttemptState.WORKING
    cause: Failure | None = None
    cancel: str | None = None


class TaskRecord(msgspec.Struct, eq=False, gc=False):
    """All that is known of one task. Mutable; compared and hashed by identity.

    Attributes:
        task: its id.
        submission: what the client sent.
        number: its place in the order of submission.
        key: its place in the queue: greater priority first, then order of submission.
        size: ranks of its gang.
        dataset: whether its output stays on ranks.
        received_s, ready_s, placed_s: moments for the profile.
        inputs: the records of its inputs, position by position; emptied when not needed any more.
        producers: the same, each once (a table may be joined with itself).
        missing: inputs and predecessors that it still waits for.
        attempts, retries: starts so far; those of them that used up a retry.
        false_starts: restarts because an input could not be fetched, or the communicator not be
            opened, although nothing is known to be lost.
        overtaken: ranks given to tasks behind it while it was the first in the queue.
        partitions, schema, values, failure: how it ended.
        kept_on: ranks whose stores may hold anything of its output.
        output: where its output is.
        lost: ranks that took a partition of its output with them, and why.
        handle: what its client knows and wants.
        readers: running attempts that read its output.
        consumers: unfinished tasks that have it as an input.
        followers: tasks that wait for its end only.
        holders: records that have it in ``inputs``, or wait for its end.
    """

    task: TaskId
    submission: TaskSubmission
    number: int
    key: int
    size: int
    dataset: bool
    received_s: float
    state: TaskState = TaskState.WAITING
    ready_s: float = 0.0
    placed_s: float = 0.0
    inputs: tuple[TaskRecord, ...] = ()
    producers: tuple[TaskRecord, ...] = ()
    missing: int = 0
    attempt: Attempt | None = None
    attempts: int = 0
    retries: int = 0
    false_starts: int = 0
    overtaken: int = 0
    partitions: tuple[Partition, ...] = ()
    schema: bytes = b""
    values: tuple[bytes, ...] = ()
    failure: Failure | None = None
    kept_on: dict[RankId, None] | None = None
    output: OutputState = OutputState.ABSENT
    lost: dict[RankId, str] | None = None
    handle: HandleState = HandleState.AWAITED
    readers: int = 0
    consumers: dict[TaskRecord, None] | None = None
    followers: dict[TaskRecord, None] | None = None
    holders: int = 0

    @property
    def available(self) -> bool:
        """Whether it ended well and its output is whole."""
        return self.output is _WHOLE

    @property
    def final(self) -> bool:
        """Whether it has ended and does not run again to restore its output."""
        state = self.state
        return state is _DONE or state is _FAILED or state is _CANCELED

    @property
    def told(self) -> bool:
        """Whether the client was told an end."""
        handle = self.handle
        return handle is _TOLD or handle is _CLOSED

    @property
    def released(self) -> bool:
        """Whether the client will not ask for the output again."""
        handle = self.handle
        return handle is _RELEASED or handle is _CLOSED

    def waiting_consumers(self) -> list[TaskRecord]:
        """The consumers that have not started, in order of submission to them."""
        return [c for c in self.consumers or () if c.state is _WAITING]


class TaskTable:
    """All records, by id; how many are in each state; and how their states advance.

    A record is forgotten once the task has ended, the client has released it, and no other record
    holds it. A record holds its inputs until it has ended, and beyond that only where it may have
    to run again to restore its output: so the table is bounded by what clients and data still need.
    """

    def __init__(self, history: History) -> None:
        self.records: dict[TaskId, TaskRecord] = {}
        self.submitted = 0
        self.in_state: dict[TaskState, int] = dict.fromkeys(TaskState, 0)
        self._history = history
        self._note = history.note

    def enter(self, submission: TaskSubmission, at: float) -> TaskRecord:
        """A record for a new task, WAITING."""
        self.submitted += 1
        description = submission.description
        options = description.options
        record = TaskRecord(
            submission.task,
            submission,
            self.submitted,
            -options.priority * _NUMBERS + self.submitted,
            options.ranks,
            description.operation.result == "partitions",
            at,
        )
        self.records[submission.task] = record
        self.in_state[_WAITING] += 1
        return record

    def move(self, record: TaskRecord, event: TaskEvent) -> None:
        """Advance a task by the table of its states.

        Raises:
            IllegalTransition: the scheduler has a defect; nothing has changed.
        """
        before, in_state = record.state, self.in_state
        after = TASK_LIFE.get((before, event))
        if after is None:
            self.refuse(record, before, event)
        self._note((record.task, before, event))
        record.state = after
        in_state[before] -= 1
        in_state[after] += 1

    def move_attempt(
        self, record: TaskRecord, attempt: Attempt, event: AttemptEvent
    ) -> AttemptState:
        """Advance a task's attempt by its table; returns where it was. Raises as ``move``."""
        before = attempt.state
        after = ATTEMPT_LIFE.get((before, event))
        if after is None:
            self.refuse(record, before, event)
        self._note((record.task, before, event))
        attempt.state = after
        return before

    def move_output(self, record: TaskRecord, event: OutputEvent) -> None:
        """Advance a task's output by its table. Raises as ``move``."""
        before = record.output
        after = OUTPUT_LIFE.get((before, event))
        if after is None:
            self.refuse(record, before, event)
        self._note((record.task, before, event))
        record.output = after

    def refuse(self, record: TaskRecord, state: Enum, event: Enum) -> NoReturn:
        """A table has no such transition.

        Raises:
            IllegalTransition: always.
        """
        raise self._history.refusal(record.task, state, event)

    def forget_if_done(self, record: TaskRecord) -> None:
        """Forget a record that nothing needs, and then those that only it held."""
        idle = [record]
        while idle:
            record = idle.pop()
            handle = record.handle
            if record.holders or (handle is not _CLOSED and handle is not _RELEASED):
                continue
            if not record.final or self.records.pop(record.task, None) is None:
                continue
            if record.producers:
                idle.extend(self.let_go(record))

    def let_go(self, record: TaskRecord) -> tuple[TaskRecord, ...]:
        """A record does not hold its inputs any more; returns those that it held."""
        held, record.inputs, record.producers = record.producers, (), ()
        for producer in held:
            producer.holders -= 1
        return held
