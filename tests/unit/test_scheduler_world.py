"""Ranks that come, go, are replaced, given up; worlds that end."""

from __future__ import annotations

import pytest

from elevon.model.outcomes import FailureKind
from elevon.model.states import TaskState
from tests.support.scheduler import Rig, aborted, ended, repairs, started


def test_an_idle_world_is_repaired_at_once_and_nothing_starts_meanwhile():
    rig = Rig(ranks=3)
    assert repairs(rig.gone(1)) == [(1,)]
    assert started(rig.read("a")) == []
    assert "nothing starts until lost rank 1 is replaced" in rig.why("a")
    assert started(rig.join(1)) == ["a"]


def test_a_busy_world_works_on_and_is_repaired_when_idle():
    rig = Rig(ranks=3)
    rig.read("a")
    commands = rig.gone(1)
    assert repairs(commands) == []
    assert started(rig.read("b")) == ["b"]
    assert repairs(rig.finish("a")) == []
    assert repairs(rig.finish("b")) == [(1,)]


def test_a_gang_larger_than_what_is_left_drains_the_world():
    rig = Rig(ranks=3)
    rig.read("a")
    rig.gone(1)
    rig.read("large", ranks=3)
    assert started(rig.read("small", priority=9)) == []
    assert "nothing starts until all 2 living ranks are idle (1 are busy)" in rig.why("small")
    assert "lost rank 1 can be replaced: a task that is ready needs more" in rig.why("small")
    commands = rig.finish("a")
    assert (repairs(commands), started(commands)) == ([(1,)], [])
    assert started(rig.join(1)) == ["small"]


def test_a_communicator_that_does_not_open_in_a_damaged_world_drains_it():
    rig = Rig(ranks=4)
    rig.read("a")
    rig.gone(1)
    rig.call("f", ranks=2)
    rig.fail("f", 0, kind=FailureKind.ABORTED, entered_s=0.0)
    commands = rig.fail("f", 1, kind=FailureKind.ABORTED, entered_s=0.0)
    assert started(commands) == []
    assert "new communicators do not open without" in rig.why("f")
    assert repairs(rig.finish("a")) == [(1,)]
    assert started(rig.join(1)) == ["f"]


def test_a_loss_during_a_repair_asks_again_for_all_that_are_missing():
    rig = Rig(ranks=4)
    rig.gone(1)
    assert repairs(rig.gone(2)) == [(1, 2)]
    rig.join(1)
    assert started(rig.read("a")) == []
    assert repairs(rig.gone(3)) == [(2, 3)]
    assert repairs(rig.gone(3)) == []
    assert started(rig.join(2) + rig.join(3)) == ["a"]


def test_all_ranks_lost_one_by_one_are_all_replaced():
    rig = Rig(ranks=2)
    rig.read("a", ranks=2, retries=1)
    rig.gone(0)
    commands = rig.gone(1)
    assert repairs(commands) == [(0, 1)]
    assert started(rig.join(0) + rig.join(1)) == ["a"]


def test_a_rank_that_dies_before_it_has_joined_is_replaced():
    rig = Rig(ranks=2, join=False)
    rig.join(0)
    assert repairs(rig.gone(1)) == [(1,)]
    rig.join(1)
    assert rig.scheduler.statistics().alive == 2


def test_a_rank_that_joins_twice_has_died_in_between():
    rig = Rig(ranks=2)
    rig.call("f", retries=1)
    rig.join(rig.gang("f")[0])
    assert len(rig.starts["f"]) == 2
    assert rig.scheduler.statistics().alive == 2


# ------------------------------------------------------------ the whole world


def test_only_the_culprits_task_fails_when_the_world_ends():
    rig = Rig(ranks=4)
    rig.call("guilty", ranks=2)
    rig.call("innocent")
    rig.call("ready", ranks=4)
    commands = rig.world_gone(culprit=rig.gang("guilty")[1], reason="out of memory")
    assert ended(commands) == ["guilty"]
    assert (aborted(commands), repairs(commands)) == ([], [])
    failure = rig.failure("guilty")
    assert (failure.kind, failure.rank) == (FailureKind.RANK_LOST, 1)
    assert "lost rank 1 (number 1 of its 2) on node0: out of memory" in failure.message
    assert rig.state("innocent") is TaskState.READY
    assert started(rig.join(0)) == ["innocent"]
    rig.finish("innocent")
    assert rig.ends["innocent"][0].failure is None
    assert rig.ends["innocent"][0].profile.attempts == 2, "the restart is visible"


def test_a_restart_because_of_the_world_uses_up_no_retry():
    rig = Rig(ranks=1)
    rig.call("f", retries=1)
    for _ in range(5):
        rig.world_gone()
        rig.join(0)
    rig.gone(0)
    rig.join(0)
    rig.finish("f")
    assert rig.ends["f"][0].failure is None
    assert rig.ends["f"][0].profile.attempts == 7


def test_the_culprits_task_is_retried_if_it_may():
    rig = Rig(ranks=1)
    rig.call("f", retries=1)
    rig.world_gone(culprit=0)
    rig.join(0)
    rig.world_gone(culprit=0)
    assert rig.failure("f").kind is FailureKind.RANK_LOST


@pytest.mark.parametrize("stop", ["cancel", "error"])
def test_a_task_that_was_stopping_ends_with_its_own_cause(stop):
    rig = Rig(ranks=2)
    rig.call("f", ranks=2)
    rig.cancel("f") if stop == "cancel" else rig.fail("f", 0)
    rig.world_gone()
    kind = FailureKind.CANCELED if stop == "cancel" else FailureKind.ERROR
    assert rig.failure("f").kind is kind


def test_a_task_whose_members_left_because_the_world_ended_is_started_again():
    rig = Rig(ranks=2)
    rig.call("f", ranks=2)
    rig.fail("f", 0, kind=FailureKind.ABORTED)
    rig.world_gone()
    assert rig.state("f") is TaskState.READY


def test_all_data_is_lost_with_the_world_and_made_again_where_needed():
    rig = Rig(ranks=2)
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.call("made", returns="dataset")
    rig.finish("made")
    rig.sort("b", "a", ranks=2)
    rig.sort("c", "made")
    commands = rig.world_gone()
    assert ended(commands) == ["c"]
    assert rig.failure("c").kind is FailureKind.DATA_LOST
    assert [rig.state(task) for task in "ab"] == [TaskState.READY, TaskState.WAITING]
    rig.join(0)
    assert started(rig.join(1)) == ["a"]
    assert started(rig.finish("a")) == ["b"]


def test_the_loss_of_a_world_is_told_in_few_words():
    rig = Rig(ranks=20, per_node=20)
    rig.call("made", returns="dataset", ranks=20)
    rig.finish("made")
    rig.world_gone(reason="x")
    rig.sort("b", "made")
    assert "(rank 0: x; rank 1: x; rank 2: x; and 17 more ranks)" in rig.failure("b").message


def test_a_world_that_ends_during_a_repair_has_nothing_to_repair():
    rig = Rig(ranks=2)
    rig.gone(1)
    rig.world_gone()
    rig.join(0)
    assert started(rig.read("a")) == ["a"]
    rig.finish("a")
    rig.join(1)
    assert repairs(rig.gone(1)) == [(1,)]
