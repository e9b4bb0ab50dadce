"""The scheduler: who is started, in which order, and what a client is told."""

from __future__ import annotations

import msgspec
import pytest

from elevon.agent.scheduling.events import EndTask, StartGang
from elevon.agent.scheduling.scheduler import Scheduler
from elevon.model.operations import WriteParquet
from elevon.model.outcomes import FailureKind
from elevon.model.states import TaskState
from tests.support.scheduler import Rig, ended, only, started


def test_a_gang_starts_all_or_nothing():
    rig = Rig(ranks=4, join=False)
    rig.read("a", ranks=3)
    assert started(rig.join(0) + rig.join(1)) == []
    (start,) = only(rig.join(2), StartGang)
    assert (start.ranks, start.attempt, start.communicator_id) == ((0, 1, 2), 1, 1)
    assert rig.state("a") is TaskState.RUNNING


def test_a_gang_of_one_needs_no_communicator():
    rig = Rig()
    rig.read("a")
    assert rig.starts["a"][0].communicator_id == 0


def test_a_dataset_ends_with_its_partitions_in_gang_order():
    rig = Rig()
    rig.read("a", ranks=2)
    rig.part("a", 1, rows=7, nbytes=70)
    assert rig.state("a") is TaskState.RUNNING
    rig.part("a", 0, rows=5, nbytes=50, schema=b"s")
    (outcome,) = rig.ends["a"]
    assert [(p.rank, p.rows, p.nbytes) for p in outcome.partitions] == [(0, 5, 50), (1, 7, 70)]
    assert outcome.partitions[1].address == "node0:1:1.0"
    assert outcome.schema == b"s"
    assert outcome.values == ()


@pytest.mark.parametrize(("returns", "values"), [("rank0", (b"x",)), ("all", (b"x", b"y"))])
def test_values_are_kept_as_the_task_returns_them(returns, values):
    rig = Rig()
    rig.call("f", ranks=2, returns=returns)
    rig.finish("f", values=[b"x", b"y"])
    assert rig.ends["f"][0].values == values


def test_written_files_are_values_by_rank():
    rig = Rig()
    rig.read("a")
    rig.finish("a")
    rig.submit("w", WriteParquet(path="out"), "a", ranks=2)
    rig.finish("w", values=[b"x", b"y"])
    assert rig.ends["w"][0].values == (b"x", b"y")


def test_a_rank_is_free_as_soon_as_its_own_part_has_ended():
    rig = Rig(ranks=2)
    rig.read("a", ranks=2)
    rig.read("b")
    assert started(rig.part("a", 1)) == ["b"]
    assert rig.gang("b") == (1,)
    assert rig.state("a") is TaskState.RUNNING


def test_the_profile_has_the_moments_of_the_events():
    rig = Rig(ranks=2)
    rig.read("a", ranks=2)
    rig.sort("b", "a", ranks=2)
    received = rig.now
    rig.finish("a")
    ready = rig.now
    rig.finish("b")
    profile = rig.ends["b"][0].profile
    assert (profile.received_s, profile.ready_s, profile.placed_s) == (received, ready, ready)
    assert (profile.submitted_s, profile.ended_s) == (received - 1, rig.now)
    assert [part.rank for part in profile.parts] == list(rig.gang("b"))
    assert profile.attempts == 1


# ------------------------------------------------------------ order


def test_order_of_submission_within_a_priority_and_the_greater_priority_first():
    rig = Rig(ranks=1)
    rig.read("running")
    for name, priority in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)]:
        rig.read(name, priority=priority)
    order = []
    while rig.starts.keys() - rig.ends.keys():
        (task,) = rig.starts.keys() - rig.ends.keys()
        order += started(rig.finish(task))
    assert order == ["b", "d", "a", "c", "e"]


def test_small_tasks_overtake_a_large_one_that_waits_for_ranks():
    rig = Rig(ranks=4)
    rig.read("busy", ranks=2)
    rig.read("large", ranks=4)
    assert started(rig.read("small", ranks=2)) == ["small"]


def test_a_large_gang_is_not_overtaken_for_ever():
    rig = Rig(ranks=4)
    rig.read("s0", ranks=1)
    rig.read("large", ranks=4)
    number = 0
    while "large" not in rig.starts:
        number += 1
        rig.read(f"s{number}", ranks=1)
        running = [t for t in rig.starts if t not in rig.ends]
        if len(running) == 4 or f"s{number}" not in rig.starts:
            rig.finish(running[0])
        assert number < 100, "the large gang starves"
    overtaken = [task for task in rig.starts if task not in ("s0", "large")]
    assert len(overtaken) == 8, "twice the pilot's ranks"
    assert rig.gang("large") == (0, 1, 2, 3)


def test_explain_tells_for_whom_ranks_are_kept():
    rig = Rig(ranks=2)
    rig.read("s0")
    rig.read("large", ranks=2)
    for number in range(1, 6):
        rig.read(f"s{number}")
    for number in range(1, 5):
        rig.finish(f"s{number}")
    assert "s5" not in rig.starts
    assert "free ranks are kept for large (read), which needs 2" in rig.why("s5")
    assert "overtaken for 4 ranks: 1 of 2 are idle" in rig.why("s5")
    assert started(rig.finish("s0")) == ["large"]


def test_overtaking_counts_ranks_not_tasks():
    rig = Rig(ranks=4)
    rig.read("s0")
    rig.read("large", ranks=4)
    for number in range(1, 4):
        rig.read(f"w{number}", ranks=3)
        if f"w{number}" in rig.starts:
            rig.finish(f"w{number}")
    assert "w3" in rig.starts
    rig.read("w4", ranks=3)
    assert "w4" not in rig.starts


# ------------------------------------------------------------ dependencies


def test_a_task_waits_for_its_inputs_and_predecessors():
    rig = Rig()
    rig.read("a")
    rig.call("first")
    rig.sort("b", "a", after=("first",))
    assert "b" not in rig.starts
    assert "waits for its inputs: a (read), running" in rig.why("b")
    assert "waits for the end of: first (call), running" in rig.why("b")
    assert started(rig.finish("a")) == []
    assert started(rig.finish("first")) == ["b"]


def test_a_table_joined_with_itself_is_waited_for_once():
    rig = Rig()
    rig.read("a")
    rig.join_tables("b", "a", "a", after=("a", "a"))
    assert started(rig.finish("a")) == ["b"]
    assert len(rig.starts["b"][0].inputs[0]) == 2


def test_an_ended_predecessor_is_not_waited_for():
    rig = Rig()
    rig.call("first")
    rig.finish("first")
    assert started(rig.call("then", after=("first",))) == ["then"]


def test_a_failed_task_fails_its_descendants_with_the_first_cause():
    rig = Rig()
    rig.read("a")
    rig.sort("b", "a")
    rig.sort("c", "b")
    rig.call("d", after=("c",))
    commands = rig.fail("a", 0, text="no such file\ndetails")
    assert ended(commands) == ["a", "b", "c", "d"]
    for task in "bcd":
        assert rig.failure(task).kind is FailureKind.DEPENDENCY
        assert rig.failure(task).cause == "a"
    assert rig.failure("b").message.startswith("no such file\n")
    assert "because a (read), which it needs, did not succeed" in rig.failure("b").message
    assert "details" not in rig.failure("b").message
    assert [rig.failure(task).distance for task in "bcd"] == [1, 2, 3]
    assert "(3 steps after a, which failed first)" in rig.failure("d").message
    rig.sort("late", "c")
    assert rig.failure("late").cause == "a"


def test_a_chain_of_descendants_may_be_long():
    rig = Rig(validates=False)
    rig.read("t0")
    for number in range(1, 5000):
        rig.sort(f"t{number}", f"t{number - 1}")
    assert len(ended(rig.fail("t0", 0))) == 5000
    rig.scheduler.validate()


@pytest.mark.parametrize(("text", "each"), [("boom", 300), ("boom " * 200_000, 1_300)])
def test_the_failures_of_a_chain_take_space_in_proportion_to_its_length(text, each):
    rig = Rig(validates=False)
    rig.read("t0")
    for number in range(1, 10_000):
        rig.sort(f"t{number}", f"t{number - 1}")
    rig.fail("t0", 0, text=text, traceback="line\n" * 10_000)
    consequences = [rig.failure(f"t{number}") for number in range(1, 10_000)]
    assert max(len(msgspec.msgpack.encode(failure)) for failure in consequences) <= each
    last = consequences[-1]
    assert (last.cause, last.distance) == ("t0", 9_999)
    assert last.message.startswith("boom")
    assert "t9999 (sort) cannot run because t9998 (sort)" in last.message
    assert "(9999 steps after t0, which failed first)" in last.message


# ------------------------------------------------------------ refusals


def test_more_ranks_than_the_pilot_has_is_refused_at_once():
    rig = Rig(ranks=4)
    rig.read("a", ranks=5, name="big")
    failure = rig.failure("a")
    assert failure.kind is FailureKind.RESOURCES
    assert failure.message == (
        "task a (big) asks for 5 ranks, but the pilot has 4: "
        "ask for fewer ranks, or start a larger pilot"
    )
    rig.sort("b", "a")
    assert rig.failure("b").cause == "a"


@pytest.mark.parametrize("needs", [{"source": "x"}, {"source": "ok", "after": ("x",)}])
def test_an_unknown_input_is_refused(needs):
    rig = Rig()
    rig.read("ok")
    rig.sort("a", **needs)
    assert rig.failure("a").kind is FailureKind.DEPENDENCY
    assert "needs x, which this agent does not know" in rig.failure("a").message
    rig.sort("self", "self")
    assert "needs self, which this agent does not know" in rig.failure("self").message


def test_a_value_is_no_input_for_a_frame_operation():
    rig = Rig()
    rig.call("f")
    rig.sort("a", "f")
    assert 'options(returns="dataset")' in rig.failure("a").message


def test_a_submission_that_comes_again_is_ignored():
    rig = Rig()
    rig.read("a")
    assert rig.read("a") == []
    rig.finish("a")
    assert rig.read("a") == []
    assert (len(rig.starts["a"]), len(rig.ends["a"])) == (1, 1)


def test_what_is_unknown_is_no_error_for_late_words():
    rig = Rig()
    assert rig.cancel("x") == rig.release("x") == rig.time_out("x") == []
    assert "not known here" in rig.why("x")
    with pytest.raises(KeyError):
        rig.state("x")


def test_numbers_that_no_rank_has_are_a_defect_of_the_shell():
    rig = Rig(ranks=2)
    with pytest.raises(ValueError, match="ranks 0 to 1"):
        rig.join(2)
    with pytest.raises(ValueError, match="there is no rank -1"):
        rig.gone(-1)
    with pytest.raises(ValueError, match="at least one rank"):
        Scheduler(ranks=0, communicator_cache=0)


# ------------------------------------------------------------ views


def test_explain_counts_ranks_and_names_who_is_ahead():
    rig = Rig(ranks=4)
    rig.read("busy", ranks=3)
    rig.read("large", ranks=4)
    rig.read("behind", ranks=2)
    assert rig.why("large") == (
        "large (read) is ready and needs 4 ranks: waits for 3 of 4, 1 of 4 living ranks idle"
    )
    assert rig.why("behind").endswith("ahead of it: large (read) with 4 ranks")
    assert "runs as attempt 1 on ranks 0, 1, 2; 3 of 3 parts have not ended" in rig.why("busy")


def test_explain_tells_how_tasks_ended():
    rig = Rig()
    rig.read("good")
    rig.finish("good")
    rig.read("bad")
    rig.fail("bad", 0)
    assert rig.why("good") == "good (read) ended well"
    assert rig.why("bad") == "bad (read) ended: failed, error: boom"


def test_statistics_count_every_task_once_in_its_state():
    rig = Rig(ranks=2)
    rig.read("a")
    rig.finish("a")
    rig.release("a")
    rig.read("b", ranks=2)
    rig.read("c", ranks=2)
    rig.sort("d", "c")
    numbers = rig.scheduler.statistics()
    assert (numbers.ranks, numbers.alive, numbers.idle, numbers.lost) == (2, 2, 0, 0)
    assert (numbers.submitted, numbers.known, numbers.communicators) == (4, 3, 1)
    counted = {state: count for state, count in numbers.tasks.items() if count}
    assert counted == {
        TaskState.DONE: 1,
        TaskState.RUNNING: 1,
        TaskState.READY: 1,
        TaskState.WAITING: 1,
    }


def test_the_end_of_a_task_is_told_before_what_follows_from_it():
    rig = Rig(ranks=1)
    rig.read("a")
    rig.sort("b", "a")
    assert [type(command) for command in rig.finish("a")] == [EndTask, StartGang]


def test_explain_bears_predecessors_that_are_forgotten():
    rig = Rig(ranks=1)
    rig.call("gone")
    rig.finish("gone")
    rig.read("a")
    rig.sort("b", "a", after=("gone",))
    rig.release("gone")
    assert rig.why("b") == "b (sort) waits for its inputs: a (read), running"


def test_a_gang_that_has_run_may_be_overtaken_again():
    rig = Rig(ranks=2)
    rig.read("s0")
    rig.read("large", ranks=2, retries=1, retry_errors=True)
    for number in range(1, 6):
        rig.read(f"s{number}")
        if f"s{number}" in rig.starts:
            rig.finish(f"s{number}")
    assert "s5" not in rig.starts
    rig.finish("s0")
    rig.fail("large", 0)
    assert rig.gang("s5") == (0,)
    rig.fail("large", 1)
    assert started(rig.read("s6")) == ["s6"]
