"""What the parts of the scheduler share while one event is worked on."""

from __future__ import annotations

from collections import deque

import msgspec

from elevon.agent.scheduling.communicators import ContextTable
from elevon.agent.scheduling.events import Command
from elevon.agent.scheduling.queue import ReadyQueue
from elevon.agent.scheduling.ranks import RankSlots
from elevon.agent.scheduling.records import Attempt, Book, TaskRecord
from elevon.model.outcomes import Failure


class Board:
    """The tables, the moment, and what was decided so far.

    Attributes:
        at: the moment of the event that is worked on.
        step: how many events have come, this one included.
        commands: what this event has led to.
        doomed: unstarted tasks that can never run, with the reason; ended before the event is over
            (a queue instead of a call, because a failed task may have a million descendants).
    """

    def __init__(self, ranks: int, communicator_cache: int) -> None:
        self.book = Book()
        self.slots = RankSlots(ranks)
        self.queue = ReadyQueue()
        self.contexts = ContextTable(communicator_cache)
        self.at = 0.0
        self.step = 0
        self.commands: list[Command] = []
        self.doomed: deque[tuple[TaskRecord, Failure]] = deque()

    def doom(self, record: TaskRecord, failure: Failure) -> None:
        """An unstarted task can never run."""
        self.doomed.append((record, failure))

    def snapshot(self) -> tuple[object, ...]:
        """The whole state, as values that can be compared. O(tasks + ranks)."""
        tasks = tuple(_row(record) for record in self.book.records.values())
        counts = (self.step, self.book.submitted, tuple(self.book.in_state.items()))
        tables = (self.slots.snapshot(), self.queue.keys(), self.contexts.snapshot())
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
