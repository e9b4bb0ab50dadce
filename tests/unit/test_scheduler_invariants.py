"""Each invariant of the scheduler holds in a story, and sees its breach."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from elevon.agent.scheduling.invariants import INVARIANTS, validate
from elevon.agent.scheduling.state import SchedulerState
from elevon.model.ids import RankId
from elevon.model.states import OutputState, RankState, TaskState
from elevon.model.transitions import InvariantBroken
from tests.support.scheduler import Rig


@pytest.fixture
def state() -> SchedulerState:
    """Three of four ranks work for a task, another one waits, and a third waits for its output."""
    rig = Rig(ranks=4)
    rig.read("a", ranks=3)
    rig.read("b", ranks=2)
    rig.sort("c", "a")
    return rig.scheduler._state


def record(state: SchedulerState, task: str):  # type: ignore[no-untyped-def]
    return next(r for r in state.tasks.records.values() if r.task == task)


def a_task_done_that_has_no_output(state: SchedulerState) -> None:
    record(state, "b").output = OutputState.WHOLE


def a_count_that_is_off(state: SchedulerState) -> None:
    state.tasks.in_state[TaskState.READY] += 1


def a_ready_task_that_is_forgotten(state: SchedulerState) -> None:
    state.queue.remove(record(state, "b"))


def a_busy_rank_that_is_idle(state: SchedulerState) -> None:
    state.ranks.states[0] = RankState.IDLE


def a_part_that_is_not_counted(state: SchedulerState) -> None:
    record(state, "a").attempt.running -= 1


def a_loss_without_damage(state: SchedulerState) -> None:
    state.ranks.lost[RankId(3)] = "gone"


def a_reader_that_reads_nothing(state: SchedulerState) -> None:
    record(state, "a").readers += 1


def a_consumer_that_is_not_known(state: SchedulerState) -> None:
    record(state, "a").consumers.clear()


def a_communicator_of_the_dead(state: SchedulerState) -> None:
    state.ranks.idle.take(RankId(3))
    state.ranks.states[3] = RankState.ABSENT
    state.communicators.open((RankId(2), RankId(3)))


BREACHES: list[Callable[[SchedulerState], None]] = [
    a_task_done_that_has_no_output,
    a_count_that_is_off,
    a_ready_task_that_is_forgotten,
    a_busy_rank_that_is_idle,
    a_part_that_is_not_counted,
    a_loss_without_damage,
    a_reader_that_reads_nothing,
    a_consumer_that_is_not_known,
    a_communicator_of_the_dead,
]


def test_all_hold(state: SchedulerState) -> None:
    validate(state)


@pytest.mark.parametrize(
    ("invariant", "breach"),
    list(zip(INVARIANTS, BREACHES, strict=True)),
    ids=lambda one: one.__name__,
)
def test_a_breach_is_seen_and_named(state: SchedulerState, invariant, breach) -> None:  # type: ignore[no-untyped-def]
    breach(state)

    assert list(invariant(state))
    with pytest.raises(InvariantBroken, match="This is a defect of Elevon"):
        validate(state)
