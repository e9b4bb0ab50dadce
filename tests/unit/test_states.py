"""The tables of states: what may happen, what may not, and the page that shows them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from elevon.model.diagrams import document
from elevon.model.states import (
    ENDS,
    LIVES,
    PILOT_LIFE,
    STOPS,
    TASK_LIFE,
    TOGETHER,
    AttemptState,
    PilotState,
    RankEvent,
    RankState,
    TaskEvent,
    TaskState,
)
from elevon.model.transitions import History, IllegalTransition

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_the_page_is_current():
    assert PAGE.read_text() == document(), "run: python -m elevon.model.diagrams > docs/states.md"


def test_an_illegal_event_raises_and_tells_the_story_of_its_key():
    history = History()
    state = TaskState.WAITING
    for event in (TaskEvent.INPUTS_READY, TaskEvent.STARTED, TaskEvent.ALL_PARTS_DONE):
        state = history.advance(TASK_LIFE, "task.1", state, event)
        history.note(("task.2", TaskState.WAITING, TaskEvent.CANCEL))

    with pytest.raises(IllegalTransition, match="no way from 'done' by 'cancel'") as told:
        history.advance(TASK_LIFE, "task.1", state, TaskEvent.CANCEL)
    assert "task.1" in str(told.value)
    assert "inputs ready (when waiting), started (when ready), all parts done" in str(told.value)
    assert "task.2" not in str(told.value)


def test_a_rank_and_a_task_of_one_name_are_two_keys():
    history = History()
    history.note((1, RankState.IDLE, RankEvent.STARTED))

    assert history.story("1") == "nothing is remembered of it"
    assert "part started (when idle)" in history.story(1)


def test_the_story_of_a_rank_has_the_starts_of_its_gangs():
    history = History()
    history.note(((3, 4), RankState.IDLE, RankEvent.STARTED))

    assert "part started (when idle)" in history.story(3)
    assert history.story(5) == "nothing is remembered of it"


def test_a_history_is_bounded():
    history = History(kept=3)
    for number in range(10):
        history.note((number, RankState.IDLE, RankEvent.STARTED))

    assert [n for n in range(10) if "part started" in history.story(n)] == [7, 8, 9]


def test_a_legal_event_gives_the_next_state():
    after = History().advance(TASK_LIFE, "t", TaskState.READY, TaskEvent.STARTED)

    assert after is TaskState.RUNNING


@pytest.mark.parametrize("name", LIVES)
def test_every_state_can_be_reached(name):
    life, first = LIVES[name]
    ways = defaultdict(set)
    for (state, _), after in life.items():
        ways[state].add(after)
    reached, seen = [first], {first}
    while reached:
        new = ways[reached.pop()] - seen
        seen |= new
        reached += new
    assert seen == set(type(first))


@pytest.mark.parametrize("states", [TaskState, PilotState])
def test_every_state_can_be_left_unless_it_is_final(states):
    life = TASK_LIFE if states is TaskState else PILOT_LIFE
    left = {state for (state, _), after in life.items() if after is not state}

    assert all(state.final or state in left for state in states)


def test_of_the_final_states_only_done_can_be_left_and_only_to_restore_data():
    left = {(s, e) for (s, e) in TASK_LIFE if s.final}
    assert left == {(TaskState.DONE, TaskEvent.OUTPUT_LOST)}
    assert not any(state.final for (state, _) in PILOT_LIFE)


def test_the_joint_tables_speak_of_transitions_that_exist():
    for event in STOPS.values():
        assert TASK_LIFE[TaskState.RUNNING, event] is TaskState.STOPPING
    for state, event in ENDS.items():
        running = (TaskState.RUNNING, event) in TASK_LIFE
        assert running == (state is AttemptState.SUCCEEDED)
        assert running or (TaskState.STOPPING, event) in TASK_LIFE
    assert set(TOGETHER) == set(TaskState)
