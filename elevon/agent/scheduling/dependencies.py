"""Where data meets tasks: are the inputs there, is the output still there, is it still needed?

Lost data is recomputed when an unfinished task needs it: the producer goes DONE -> WAITING and runs
again, after the last running reader of its old partitions has left (a reader must never see two
versions). Old partitions are overwritten or, on ranks outside the new gang, dropped at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from elevon.agent.scheduling import failures, lineage
from elevon.agent.scheduling.events import DropData
from elevon.agent.scheduling.records import TaskRecord
from elevon.agent.scheduling.state import SchedulerState
from elevon.model.ids import RankId
from elevon.model.operations import Call
from elevon.model.outcomes import Failure
from elevon.model.states import (
    HANDLE_LIFE,
    HandleEvent,
    HandleState,
    OutputEvent,
    OutputState,
    TaskEvent,
    TaskState,
)
from elevon.model.transitions import by_event

# Looked up once: an enum's member costs more to find than a transition to make.
_DONE: Final = TaskState.DONE
_INPUTS_READY: Final = TaskEvent.INPUTS_READY
_AFTER_RELEASE: Final = by_event(HANDLE_LIFE, HandleEvent.RELEASE)
_AWAITED: Final = HandleState.AWAITED
_TOLD: Final = HandleState.TOLD


class Dependencies:
    """Links between producers and consumers."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state

    # ------------------------------------------------------------ before a task runs

    def admit(self, record: TaskRecord) -> Failure | None:
        """Connect a new task with what it needs; returns why it can never run, if that shows."""
        description = record.submission.description
        if not description.inputs and not description.options.after:
            self._ready(record)
            return None
        refusal = self._refusal(record)
        if refusal is None:
            self._link(record)
        return refusal

    def _refusal(self, record: TaskRecord) -> Failure | None:
        description = record.submission.description
        for task in (*description.inputs, *description.options.after):
            producer = self._state.tasks.records.get(task)
            if producer is None or producer is record:
                return failures.unknown_input(record, task)
            if producer.failure is not None and producer.final:
                return failures.dependency(record, producer)
        for task in description.inputs:
            producer = self._state.tasks.records[task]
            if not producer.dataset and not isinstance(description.operation, Call):
                return failures.no_dataset(record, producer)
        return None

    def _link(self, record: TaskRecord) -> None:
        description = record.submission.description
        records = self._state.tasks.records
        record.inputs = tuple(records[task] for task in description.inputs)
        record.producers = tuple(dict.fromkeys(record.inputs))
        for producer in record.producers:
            producer.holders += 1
        for task in description.options.after:
            self._follow(record, records[task])
        self.await_inputs(record)

    def await_inputs(self, record: TaskRecord) -> None:
        """A WAITING task waits for what is not there, has lost data recomputed, or is READY."""
        for producer in record.producers:
            producer.consumers = producer.consumers or {}
            producer.consumers[record] = None
            record.missing += not producer.available
        for producer in record.producers:
            self.recover(producer)
        if not record.missing:
            self._ready(record)

    # ------------------------------------------------------------ after it ran

    def keep(self, record: TaskRecord, rank: RankId) -> None:
        """A rank holds a part of the output now."""
        if record.kept_on is None:
            record.kept_on = {}
        record.kept_on[rank] = None
        self._state.ranks.resident[rank][record] = None

    def wake_dependents(self, record: TaskRecord) -> None:
        """The task is DONE and its output whole: those that waited for it go on."""
        if record.consumers or record.followers:
            followers, record.followers = record.followers or {}, None
            record.holders -= len(followers)
            for waiting in (*record.waiting_consumers(), *followers):
                waiting.missing -= 1
                if not waiting.missing:
                    self._ready(waiting)
        self.drop_if_unneeded(record)

    def unlink(self, record: TaskRecord) -> None:
        """The task has ended: it needs its inputs no more, unless it may have to run again."""
        tasks, producers = self._state.tasks, record.producers
        if producers:
            for producer in producers:
                if producer.consumers is not None:
                    producer.consumers.pop(record, None)
            if record.failure is not None or not lineage.keeps_inputs(record):
                tasks.let_go(record)
            for producer in producers:
                self.drop_if_unneeded(producer)
        for task in record.submission.description.options.after:
            self._unfollow(record, tasks.records.get(task))

    def leave(self, record: TaskRecord) -> None:
        """An attempt of the task is over and reads its inputs no more."""
        for producer in record.producers:
            producer.readers -= 1
            self.recover(producer)

    def trim(self, record: TaskRecord) -> None:
        """Drop what earlier attempts have left on ranks outside the gang of the last one."""
        attempt = record.attempt
        assert attempt is not None, "a task that has run has an attempt"
        if record.kept_on is not None and len(record.kept_on) > len(attempt.gang):
            gang = set(attempt.gang)
            self._drop(record, [rank for rank in record.kept_on if rank not in gang])

    # ------------------------------------------------------------ release and loss

    def release(self, record: TaskRecord) -> None:
        """The client will not ask for the output again."""
        handle = _AFTER_RELEASE.get(record.handle)
        if handle is None:
            self._state.tasks.refuse(record, record.handle, HandleEvent.RELEASE)
        record.handle = handle
        self.drop_if_unneeded(record)

    def drop_if_unneeded(self, record: TaskRecord) -> None:
        """Drop the output that neither the client nor an unfinished task needs."""
        handle = record.handle
        if handle is _TOLD or handle is _AWAITED or record.consumers or not record.final:
            return
        if record.dataset and (record.available or record.output is OutputState.DAMAGED):
            self._state.tasks.move_output(record, OutputEvent.UNNEEDED)
        self.drop_all(record)
        self._state.tasks.forget_if_done(record)

    def drop_all(self, record: TaskRecord) -> None:
        """Drop whatever ranks hold of the task's output."""
        if record.kept_on:
            self._drop(record, list(record.kept_on))

    def lose(self, ranks: Iterable[RankId], reason: str) -> list[TaskRecord]:
        """What was resident on these ranks is lost.

        Returns:
            The tasks that it was an output of, also those that still run. Call ``recover`` on
            each once everything that the event has changed is known.
        """
        hit: dict[TaskRecord, None] = {}
        for rank in ranks:
            resident = self._state.ranks.resident[rank]
            for record in resident:
                self._lose_partition(record, rank, reason)
            hit.update(resident)
            resident.clear()
        return list(hit)

    def recover(self, record: TaskRecord) -> None:
        """Make a task run again whose output is not whole, if a task waits for it.

        Where readers of the old partitions still run, nothing happens: the last one's ``leave``
        comes here again. Where it is impossible, the waiting tasks are unrunnable.
        """
        if record.state is not _DONE or record.available or record.readers:
            return
        waiting = record.waiting_consumers()
        if not waiting:
            return
        plan = lineage.plan(record)
        if plan.blocker is not None:
            for consumer in waiting:
                failure = failures.data_lost(consumer, record, plan.blocker)
                self._state.mark_unrunnable(consumer, failure)
        for task in plan.again:
            if not task.readers:
                self._run_again(task)

    def _run_again(self, record: TaskRecord) -> None:
        self._state.tasks.move(record, TaskEvent.OUTPUT_LOST)
        self._state.tasks.move_output(record, OutputEvent.RECOMPUTE)
        record.lost = None
        record.retries = record.false_starts = 0
        self.await_inputs(record)

    def _lose_partition(self, record: TaskRecord, rank: RankId, reason: str) -> None:
        assert record.kept_on is not None, "a resident task is kept somewhere"
        del record.kept_on[rank]
        if record.state is not _DONE:
            return
        was_available = record.available
        self._state.tasks.move_output(record, OutputEvent.PARTITION_LOST)
        if record.lost is None:
            record.lost = {}
        record.lost[rank] = reason
        if was_available:
            self._take_back(record)

    def _take_back(self, record: TaskRecord) -> None:
        """The output is not whole any more: unstarted consumers wait again."""
        for consumer in record.consumers or ():
            if consumer.state is TaskState.READY:
                self._state.queue.remove(consumer)
                self._state.tasks.move(consumer, TaskEvent.INPUT_LOST)
                consumer.missing = 1
            elif consumer.state is TaskState.WAITING:
                consumer.missing += 1

    def _drop(self, record: TaskRecord, ranks: list[RankId]) -> None:
        assert record.kept_on is not None, "only what is kept can be dropped"
        for rank in ranks:
            del record.kept_on[rank]
            del self._state.ranks.resident[rank][record]
        self._state.commands.append(DropData(record.task, tuple(sorted(ranks))))

    def _ready(self, record: TaskRecord) -> None:
        self._state.tasks.move(record, _INPUTS_READY)
        record.ready_s = self._state.at
        self._state.queue.push(record)

    def _follow(self, record: TaskRecord, predecessor: TaskRecord) -> None:
        """Wait for a task's end, unless it has ended once or is waited for as an input anyway."""
        predecessor.followers = predecessor.followers or {}
        if predecessor.told or record in predecessor.followers or predecessor in record.inputs:
            return
        predecessor.followers[record] = None
        predecessor.holders += 1
        record.missing += 1

    def _unfollow(self, record: TaskRecord, predecessor: TaskRecord | None) -> None:
        if predecessor is None or not predecessor.followers:
            return
        if record in predecessor.followers:
            del predecessor.followers[record]
            predecessor.holders -= 1
            self._state.tasks.forget_if_done(predecessor)
