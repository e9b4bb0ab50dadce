"""The tables of states: what may happen, what may not, and the page that shows them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from elevon.model.states import (
    PILOT_LIFE,
    TASK_LIFE,
    IllegalTransition,
    PilotState,
    TaskEvent,
    TaskState,
    advance,
    document,
)

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_the_page_is_current():
    assert PAGE.read_text() == document(), "run: python -m elevon.model.states > docs/states.md"


def test_an_illegal_event_raises_and_names_both():
    with pytest.raises(IllegalTransition, match="no way from 'done' by 'cancel'"):
        advance(TASK_LIFE, TaskState.DONE, TaskEvent.CANCEL)


def test_a_legal_event_gives_the_next_state():
    assert advance(TASK_LIFE, TaskState.READY, TaskEvent.STARTED) is TaskState.RUNNING


@pytest.mark.parametrize(
    ("life", "first"), [(TASK_LIFE, TaskState.WAITING), (PILOT_LIFE, PilotState.NEW)]
)
def test_every_state_can_be_reached_and_left_unless_it_is_final(life, first):
    ways = defaultdict(set)
    for (state, _), after in life.items():
        ways[state].add(after)
    reached, seen = [first], {first}
    while reached:
        new = ways[reached.pop()] - seen
        seen |= new
        reached += new
    assert seen == set(type(first))
    assert all(state.final or ways[state] - {state} for state in type(first))


def test_of_the_final_states_only_done_can_be_left_and_only_to_restore_data():
    left = {(s, e) for (s, e) in TASK_LIFE if s.final}
    assert left == {(TaskState.DONE, TaskEvent.OUTPUT_LOST)}
    assert not any(state.final for (state, _) in PILOT_LIFE)
