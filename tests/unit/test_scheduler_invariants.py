"""Each invariant of the scheduler holds in a story, and sees its breach."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from elevon.agent.scheduling.invariants import INVARIANTS, validate
from elevon.agent.scheduling.state import SchedulerState
from elevon.model.ids import RankId
from elevon.model.states import HandleState, OutputState, RankState, TaskState
from elevon.model.transitions import InvariantBroken
from tests.support.scheduler import Rig


@pytest.fixture
def state() -> SchedulerState:
    """A task that runs, one that is ready, one that waits, and one that has ended; a lost rank."""
    rig = Rig(ranks=5, per_node=5)
    rig.read("d")
    rig.finish("d")
    rig.read("a", ranks=3)
    rig.read("b", ranks=3)
    rig.sort("c", "a")
    rig.gone(4)
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


def an_idle_rank_that_is_not_counted(state: SchedulerState) -> None:
    state.ranks.alive += 1


def a_lost_rank_that_is_awaited_in_no_repair(state: SchedulerState) -> None:
    state.ranks.states[4] = RankState.AWAITED


def a_task_that_waits_for_too_much(state: SchedulerState) -> None:
    record(state, "c").missing += 1


def a_holder_that_is_not_counted(state: SchedulerState) -> None:
    record(state, "a").holders = 0


def a_partition_that_its_rank_does_not_know(state: SchedulerState) -> None:
    state.ranks.resident[0].clear()


def a_partition_that_is_gone(state: SchedulerState) -> None:
    record(state, "d").kept_on.clear()
    state.ranks.resident[0].clear()


def an_end_that_was_not_told(state: SchedulerState) -> None:
    record(state, "d").handle = HandleState.AWAITED


def an_end_that_is_remembered(state: SchedulerState) -> None:
    record(state, "d").handle = HandleState.CLOSED


def a_communicator_of_the_dead(state: SchedulerState) -> None:
    state.ranks.idle.take(RankId(3))
    state.ranks.states[3] = RankState.ABSENT
    state.communicators.open((RankId(2), RankId(3)))


BREACHES: list[Callable[[SchedulerState], None]] = [
    a_task_done_that_has_no_output,
    a_count_that_is_off,
    a_ready_task_that_is_forgotten,
    a_busy_rank_that_is_idle,
    an_idle_rank_that_is_not_counted,
    a_part_that_is_not_counted,
    a_loss_without_damage,
    a_lost_rank_that_is_awaited_in_no_repair,
    a_reader_that_reads_nothing,
    a_consumer_that_is_not_known,
    a_task_that_waits_for_too_much,
    a_holder_that_is_not_counted,
    a_partition_that_its_rank_does_not_know,
    a_partition_that_is_gone,
    an_end_that_was_not_told,
    an_end_that_is_remembered,
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
