"""How lost data is recomputed: by running what made it, and what made that.

This is lineage as in Spark (Zaharia et al., NSDI 2012): descriptions are kept, not copies.
"""

from __future__ import annotations

import msgspec

from elevon.agent.scheduling.records import TaskRecord
from elevon.model.states import TaskState


class Plan(msgspec.Struct, frozen=True):
    """What has to run again, producers before their consumers; or what makes it impossible."""

    again: tuple[TaskRecord, ...] = ()
    blocker: TaskRecord | None = None


def keeps_inputs(record: TaskRecord) -> bool:
    """Whether a task that ended well may have to run again to restore its output."""
    return record.dataset and record.submission.description.operation.repeatable


def plan(target: TaskRecord) -> Plan:
    """How to recompute the output of ``target``.

    Args:
        target: a task that is DONE and whose output is not whole.
    """
    again: dict[TaskRecord, None] = {}
    stack = [(target, False)]
    while stack:
        record, inputs_planned = stack.pop()
        if inputs_planned:
            again[record] = None
        elif record not in again and not _comes_anyway(record):
            if not _can_run_again(record):
                return Plan(blocker=record)
            stack.append((record, True))
            stack.extend((producer, False) for producer in record.producers)
    return Plan(again=tuple(again))


def _comes_anyway(record: TaskRecord) -> bool:
    """Whether the output is there, or on its way already."""
    return record.available or not record.final


def _can_run_again(record: TaskRecord) -> bool:
    return record.state is TaskState.DONE and keeps_inputs(record)
