"""What the parts of the scheduler share while one event is worked on."""

from __future__ import annotations

from collections import deque

import msgspec

from elevon.agent.scheduling.communicators import CommunicatorTable
from elevon.agent.scheduling.events import Command
from elevon.agent.scheduling.queue import ReadyQueue
from elevon.agent.scheduling.ranks import RankTable
from elevon.agent.scheduling.records import Attempt, TaskRecord, TaskTable
from elevon.model.outcomes import Failure
from elevon.model.transitions import History


class SchedulerState:
    """The tables, the moment, and what was decided so far.

    Attributes:
        history: the last transitions of tasks, ranks and world.
        at: the moment of the event that is worked on.
        step: how many events have come, this one included.
        commands: what this event has led to.
        unrunnable: unstarted tasks that can never run, with the reason; ended before the event
            is over (a queue instead of a call, because a failed task may have a million
            descendants).
    """

    def __init__(self, ranks: int, communicator_cache: int) -> None:
        self.history = History()
        self.tasks = TaskTable(self.history)
        self.ranks = RankTable(ranks, self.history)
        self.queue = ReadyQueue()
        self.communicators = CommunicatorTable(communicator_cache)
        self.at = 0.0
        self.step = 0
        self.commands: list[Command] = []
        self.unrunnable: deque[tuple[TaskRecord, Failure]] = deque()

    def mark_unrunnable(self, record: TaskRecord, failure: Failure) -> None:
        """An unstarted task can never run."""
        self.unrunnable.append((record, failure))

    def snapshot(self) -> tuple[object, ...]:
        """The whole state, as values that can be compared. O(tasks + ranks)."""
        tasks = tuple(_row(record) for record in self.tasks.records.values())
        counts = (self.step, self.tasks.submitted, tuple(self.tasks.in_state.items()))
        tables = (self.ranks.snapshot(), self.queue.keys(), self.communicators.snapshot())
        return tasks, counts, tables


def _row(record: TaskRecord) -> tuple[object, ...]:
    """A record's fields; other records in them by their ids."""
    values = (getattr(record, name) for name in record.__struct_fields__)
    return tuple(_plain(value) for value in values)


def _plain(value: object) -> object:
    if isinstance(value, TaskRecord):
        return value.task
    if isinstance(value, Attempt):
        return tuple(_plain(field) for field in msgspec.structs.astuple(value))
    if isinstance(value, dict):
        return tuple((_plain(key), _plain(item)) for key, item in value.items())
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    return value
