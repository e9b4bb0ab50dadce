"""Parts that fail, members that leave, retries, cancellation and time limits."""

from __future__ import annotations

import pytest

from elevon.agent.scheduling.events import AbortGang, EndRank
from elevon.model.outcomes import FailureKind
from elevon.model.states import TaskState
from tests.support.scheduler import Rig, aborted, dropped, ended, only, started

ABORTED = FailureKind.ABORTED


def test_the_first_failing_part_makes_the_others_leave():
    rig = Rig()
    rig.call("f", ranks=3)
    rig.part("f", 2)
    commands = rig.fail("f", 1, text="ValueError: x")
    assert aborted(commands) == [(0,)], "those whose parts still run"
    assert rig.state("f") is TaskState.STOPPING
    assert "stopping because: ValueError: x" in rig.why("f")
    assert ended(rig.fail("f", 0, kind=ABORTED)) == ["f"]
    failure = rig.failure("f")
    assert (failure.kind, failure.rank, failure.host) == (FailureKind.ERROR, 1, "node0")


def test_those_who_leave_are_told_whom_to_blame():
    rig = Rig()
    rig.read("x", ranks=2)
    rig.call("f", ranks=2)
    assert rig.gang("f") == (2, 3)
    (told,) = only(rig.fail("f", 1), AbortGang)
    assert (told.group_rank, told.lost) == (1, False)
    rig = Rig()
    rig.call("f", ranks=3)
    (told,) = only(rig.gone(0), AbortGang)
    assert (told.group_rank, told.lost) == (0, True)
    rig = Rig()
    rig.call("f", ranks=2)
    (told,) = only(rig.cancel("f"), AbortGang)
    assert (told.group_rank, told.lost) == (-1, False)


def test_a_rank_that_others_cannot_reach_is_ended_and_blamed():
    rig = Rig()
    rig.call("f", ranks=4)
    rig.fail("f", 0, kind=ABORTED, unreachable=2)
    rig.fail("f", 2, kind=ABORTED, unreachable=0)
    rig.fail("f", 1, kind=ABORTED, unreachable=2)
    commands = rig.fail("f", 3, kind=ABORTED)
    assert [command.rank for command in only(commands, EndRank)] == [2]
    assert ended(commands) == ["f"]
    failure = rig.failure("f")
    assert (failure.kind, failure.rank) == (FailureKind.RANK_LOST, 2)
    assert "lost their connection" in failure.message
    rig.call("g", ranks=4)
    assert rig.state("g") is TaskState.READY, "it waits for the successor"
    rig.gone(2, "killed")
    assert started(rig.join(2)) == ["g"]


def test_of_a_broken_connection_one_end_is_ended_and_a_task_that_had_not_begun_starts_again():
    rig = Rig()
    rig.call("f", ranks=2)
    rig.fail("f", 0, kind=ABORTED, unreachable=1, entered_s=0.0)
    commands = rig.fail("f", 1, kind=ABORTED, unreachable=0, entered_s=0.0)
    assert [command.rank for command in only(commands, EndRank)] == [1]
    assert ended(commands) == []
    assert rig.state("f") is not TaskState.FAILED


def test_nobody_is_ended_where_somebody_else_is_to_blame():
    rig = Rig()
    rig.call("f", ranks=2)
    rig.fail("f", 0, text="ValueError: x")
    commands = rig.fail("f", 1, kind=ABORTED, unreachable=0)
    assert only(commands, EndRank) == []
    assert rig.failure("f").message == "ValueError: x"


def test_the_rank_in_a_failure_is_the_number_within_the_gang():
    rig = Rig()
    rig.read("x", ranks=2)
    rig.call("f", ranks=2)
    rig.fail("f", 1)
    rig.part("f", 0)
    assert rig.gang("f") == (2, 3)
    assert rig.failure("f").rank == 1


def test_later_failures_do_not_change_the_cause_and_abort_nobody_twice():
    rig = Rig()
    rig.call("f", ranks=3)
    rig.fail("f", 1, text="first")
    assert aborted(rig.fail("f", 2, text="second")) == []
    rig.gone(0)
    assert rig.failure("f").message == "first"


def test_a_member_that_left_says_nothing_of_the_cause():
    rig = Rig()
    rig.call("f", ranks=3)
    assert aborted(rig.fail("f", 1, kind=ABORTED)) == []
    assert rig.state("f") is TaskState.STOPPING
    assert "who failed first is not known yet" in rig.why("f")
    assert aborted(rig.fail("f", 2, text="the real one")) == [(0,)]
    rig.fail("f", 0, kind=ABORTED)
    assert (rig.failure("f").message, rig.failure("f").rank) == ("the real one", 2)


def test_a_lost_rank_is_the_cause_though_the_others_left_first():
    rig = Rig()
    rig.call("f", ranks=3)
    rig.fail("f", 0, kind=ABORTED, text="MemberLost: 2")
    rig.fail("f", 1, kind=ABORTED, text="MemberLost: 2")
    assert "f" not in rig.ends
    rig.gone(2, reason="killed by signal 9")
    failure = rig.failure("f")
    assert (failure.kind, failure.rank, failure.host) == (FailureKind.RANK_LOST, 2, "node0")
    assert failure.message == (
        "task f (call) lost rank 2 (number 2 of its 3) on node0: killed by signal 9; "
        "options(retries=1) would have it started again"
    )


def test_a_member_that_died_after_its_part_is_the_cause_where_nobody_says_another():
    rig = Rig()
    rig.call("f", ranks=2)
    rig.part("f", 1)
    rig.gone(1)
    assert rig.state("f") is TaskState.RUNNING, "its value is here; rank 0 may end well"
    rig.fail("f", 0, kind=ABORTED)
    assert (rig.failure("f").kind, rig.failure("f").rank) == (FailureKind.RANK_LOST, 1)


def test_a_value_outlives_the_rank_that_returned_it():
    rig = Rig()
    rig.call("f", ranks=2)
    rig.part("f", 0, value=b"x")
    rig.gone(0)
    rig.part("f", 1)
    assert rig.ends["f"][0].values == (b"x",)


def test_if_all_left_and_nobody_said_why_that_is_an_error():
    rig = Rig()
    rig.call("f", ranks=2)
    rig.fail("f", 1, kind=ABORTED, text="GroupAborted: stop")
    rig.part("f", 0)
    failure = rig.failure("f")
    assert (failure.kind, failure.rank) == (FailureKind.ERROR, 1)
    assert "none said why; member 1 said: GroupAborted: stop" in failure.message


def test_a_communicator_that_does_not_open_is_tried_again_a_few_times():
    rig = Rig()
    rig.call("f", ranks=2)
    for attempt in range(1, 5):
        assert rig.starts["f"][-1].attempt == attempt
        rig.fail("f", 0, kind=ABORTED, entered_s=0.0)
        rig.fail("f", 1, kind=ABORTED, entered_s=0.0)
    assert rig.failure("f").kind is FailureKind.ERROR
    assert rig.ends["f"][0].profile.attempts == 4


# ------------------------------------------------------------ retries


def test_a_lost_rank_is_retried_as_often_as_asked():
    rig = Rig()
    rig.call("f", ranks=2, retries=1)
    rig.call("busy")
    rig.gone(1)
    assert started(rig.part("f", 0)) == ["f"]
    assert rig.starts["f"][1].attempt == 2
    assert rig.gang("f") == (0, 3)
    rig.gone(0)
    rig.part("f", 1)
    assert rig.failure("f").kind is FailureKind.RANK_LOST
    assert "after 1 retries it is given up" in rig.failure("f").message
    assert rig.ends["f"][0].profile.attempts == 2


@pytest.mark.parametrize(("retry_errors", "starts"), [(False, 1), (True, 3)])
def test_the_users_exception_is_retried_only_if_asked(retry_errors, starts):
    rig = Rig()
    rig.call("f", retries=2, retry_errors=retry_errors)
    while "f" not in rig.ends:
        rig.fail("f", 0)
    assert len(rig.starts["f"]) == starts
    assert rig.failure("f").kind is FailureKind.ERROR


def test_a_retried_task_keeps_its_place_in_the_queue():
    rig = Rig(ranks=1)
    rig.call("f", retries=1, retry_errors=True)
    rig.call("g")
    assert started(rig.fail("f", 0)) == ["f"]


def test_what_a_failed_attempt_has_left_is_dropped():
    rig = Rig()
    rig.read("a", ranks=3)
    rig.part("a", 0, rows=1)
    rig.fail("a", 1)
    assert dropped(rig.part("a", 2, rows=1)) == [("a", (0, 2))]


def test_what_an_earlier_attempt_has_left_outside_the_last_gang_is_dropped():
    rig = Rig(ranks=4)
    rig.read("a", ranks=2, retries=1, retry_errors=True)
    rig.read("busy", ranks=2)
    rig.part("a", 0, rows=1)
    rig.call("thief", priority=1)
    assert rig.gang("thief") == (0,)
    rig.part("busy", 0)
    rig.fail("a", 1)
    assert set(rig.gang("a")) == {1, 2}
    rig.part("a", 0)
    assert dropped(rig.part("a", 1)) == [("a", (0,))]


# ------------------------------------------------------------ late words


def test_words_about_an_attempt_that_is_over_are_ignored():
    rig = Rig(ranks=2)
    rig.call("f", retries=1, retry_errors=True)
    rig.fail("f", 0)
    assert rig.part("f", 0, attempt=1) == []
    assert rig.time_out("f", attempt=1) == []
    assert rig.state("f") is TaskState.RUNNING
    rig.finish("f")
    assert rig.part("f", 0) == []
    assert len(rig.ends["f"]) == 1


# ------------------------------------------------------------ cancel, time limit


def test_an_unstarted_task_is_canceled_at_once():
    rig = Rig(ranks=1)
    rig.read("a")
    rig.sort("waiting", "a")
    rig.read("ready")
    for task in ("waiting", "ready"):
        assert ended(rig.cancel(task)) == [task]
        assert rig.state(task) is TaskState.CANCELED
        assert rig.failure(task).kind is FailureKind.CANCELED
    assert started(rig.finish("a")) == []


def test_a_running_task_is_canceled_when_its_parts_have_left():
    rig = Rig()
    rig.call("f", ranks=2, retries=5, retry_errors=True)
    rig.call("child", "f")
    assert aborted(rig.cancel("f")) == [(0, 1)]
    assert aborted(rig.cancel("f")) == []
    assert "stopping because it was canceled: not needed" in rig.why("f")
    rig.fail("f", 0, text="KeyboardInterrupt")
    assert ended(rig.part("f", 1)) == ["f", "child"]
    assert rig.state("f") is TaskState.CANCELED
    assert rig.failure("f").message == "task f (call) was canceled: not needed"
    assert rig.failure("child").cause == "f"


def test_cancel_wins_over_a_failure_that_would_be_retried():
    rig = Rig()
    rig.call("f", ranks=2, retries=5, retry_errors=True)
    rig.fail("f", 0)
    assert aborted(rig.cancel("f")) == []
    rig.fail("f", 1, kind=ABORTED)
    assert rig.failure("f").kind is FailureKind.CANCELED


def test_cancel_of_an_ended_task_does_nothing():
    rig = Rig()
    rig.call("f")
    rig.finish("f")
    assert rig.cancel("f") == []
    assert rig.state("f") is TaskState.DONE


def test_a_time_limit_stops_the_attempt_and_is_the_cause():
    rig = Rig()
    rig.call("f", ranks=2, timeout_s=1.5, retries=3)
    assert aborted(rig.time_out("f")) == [(0, 1)]
    assert aborted(rig.time_out("f")) == []
    rig.gone(0, reason="it did not leave in time")
    rig.fail("f", 1, kind=ABORTED)
    assert rig.failure("f").kind is FailureKind.TIMEOUT
    assert "ran longer than its timeout_s=1.5" in rig.failure("f").message


def test_a_time_limit_ends_the_wait_for_a_cause():
    rig = Rig()
    rig.call("f", ranks=2, timeout_s=1.5)
    rig.fail("f", 0, kind=ABORTED)
    assert aborted(rig.time_out("f")) == [(1,)]
    rig.part("f", 1)
    assert rig.failure("f").kind is FailureKind.TIMEOUT
