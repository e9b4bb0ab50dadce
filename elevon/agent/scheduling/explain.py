"""A true answer to "why is this task pending?", in one or two sentences."""

from __future__ import annotations

from collections.abc import Sequence

from elevon.agent.scheduling.failures import first_line, label, ranks_of
from elevon.agent.scheduling.policy import Policy
from elevon.agent.scheduling.ranks import RankTable
from elevon.agent.scheduling.records import Attempt, TaskRecord
from elevon.agent.scheduling.state import SchedulerState
from elevon.model.ids import TaskId
from elevon.model.states import AttemptState, OutputState, TaskState, WorldState

_NAMED = 5


def explain(state: SchedulerState, policy: Policy, task: TaskId) -> str:
    """What the task waits for, or what it does, or how it ended."""
    record = state.tasks.records.get(task)
    if record is None:
        return f"{task} is not known here: it was never submitted, or it ended and was released"
    if record.state is TaskState.WAITING:
        return f"{label(record)} {_why_waiting(state, record)}"
    if record.state is TaskState.READY:
        return f"{label(record)} {_why_ready(state, policy, record)}"
    if record.attempt is not None:
        return f"{label(record)} {_how_it_runs(state.ranks, record, record.attempt)}"
    return f"{label(record)} {_how_it_ended(record)}"


def _why_waiting(state: SchedulerState, record: TaskRecord) -> str:
    absent = [_condition(p) for p in record.producers if not p.available]
    after = record.submission.description.options.after
    predecessors = (state.tasks.records.get(task) for task in dict.fromkeys(after))
    before = [_condition(p) for p in predecessors if p and record in (p.followers or ())]
    reasons = [f"waits for its inputs: {_list(absent)}"] if absent else []
    reasons += [f"waits for the end of: {_list(before)}"] if before else []
    if record.told:
        reasons.insert(0, "runs again because its output was lost")
    return "; ".join(reasons)


def _condition(producer: TaskRecord) -> str:
    if producer.state is TaskState.DONE and not producer.available:
        return f"{label(producer)}, lost, runs again when its running readers have left"
    return f"{label(producer)}, {producer.state.value}"


def _why_ready(state: SchedulerState, policy: Policy, record: TaskRecord) -> str:
    ranks, first = state.ranks, state.queue.first()
    needs = f"is ready and needs {ranks_of(record.size)}"
    if ranks.world is WorldState.REPAIRING:
        return f"{needs}; nothing starts until {_lost(ranks)} {_is(ranks)} replaced"
    if policy.draining():
        return (
            f"{needs}; nothing starts until all {ranks.alive} living ranks are idle "
            f"({ranks.busy} are busy), so that {_lost(ranks)} can be replaced: "
            f"{_why_drained(ranks)}"
        )
    if first is not None and first is not record and policy.keeps_ranks_for(first):
        return (
            f"{needs}; free ranks are kept for {label(first)}, which needs {first.size} and was "
            f"overtaken for {first.overtaken} ranks: {ranks.idle.count} of {first.size} are idle"
        )
    free = ranks.idle.count
    text = f"{needs}: waits for {record.size - free} of {record.size}, {free} of {ranks.alive}"
    text += " living ranks idle"
    if first is not None and first is not record:
        text += f"; ahead of it: {label(first)} with {ranks_of(first.size)}"
    return text


def _how_it_runs(ranks: RankTable, record: TaskRecord, attempt: Attempt) -> str:
    left = f"{attempt.running} of {record.size} parts have not ended"
    gang = _list([str(rank) for rank in attempt.gang])
    text = f"runs as attempt {record.attempts} on {_plural(record.size)} {gang}; {left}"
    if record.state is not TaskState.STOPPING:
        return text
    if attempt.state is AttemptState.CANCELING:
        return f"{text}; stopping because it was canceled: {attempt.cancel}"
    if attempt.cause is not None:
        return f"{text}; stopping because: {first_line(attempt.cause)}"
    return f"{text}; stopping because members left a collective; who failed first is not known yet"


def _how_it_ended(record: TaskRecord) -> str:
    if record.failure is not None:
        return f"ended: {record.state.value}, {record.failure.kind.value}: {record.failure.message}"
    if record.output is OutputState.DROPPED:
        return "ended well; its output was dropped after its release"
    if not record.available:
        return f"ended well; its output is lost with {len(record.lost or ())} ranks since"
    return "ended well"


def _why_drained(ranks: RankTable) -> str:
    if ranks.world is WorldState.UNFIT:
        return "new communicators do not open without"
    return "a task that is ready needs more ranks than live"


def _lost(ranks: RankTable) -> str:
    return f"lost {_plural(len(ranks.lost))} {_list([str(rank) for rank in sorted(ranks.lost)])}"


def _is(ranks: RankTable) -> str:
    return "is" if len(ranks.lost) == 1 else "are"


def _plural(count: int) -> str:
    return "rank" if count == 1 else "ranks"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
