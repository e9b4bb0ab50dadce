"""Datasets on ranks: released, lost, made again, or not to be had again."""

from __future__ import annotations

from elevon.model.operations import Load
from elevon.model.outcomes import FailureKind
from elevon.model.states import TaskState
from tests.support.scheduler import Rig, dropped, ended, started


def chain(rig, ranks=1):
    """a -> b -> c, all ended, each on as many ranks."""
    rig.read("a", ranks=ranks)
    rig.finish("a")
    rig.sort("b", "a", ranks=ranks)
    rig.finish("b")
    rig.sort("c", "b", ranks=ranks)
    rig.finish("c")


# ------------------------------------------------------------ release


def test_released_data_is_dropped_once_no_unfinished_task_needs_it():
    rig = Rig()
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.sort("b", "a")
    assert dropped(rig.release("a")) == []
    assert dropped(rig.finish("b")) == [("a", (0, 1))]


def test_a_task_released_before_its_end_is_run_told_and_dropped():
    rig = Rig()
    rig.read("a")
    rig.release("a")
    commands = rig.finish("a")
    assert (ended(commands), dropped(commands)) == (["a"], [("a", (0,))])
    assert rig.known() == 0


def test_what_is_ended_and_released_is_forgotten():
    rig = Rig()
    rig.call("f")
    rig.finish("f")
    rig.call("g")
    rig.fail("g", 0)
    rig.read("big", ranks=99)
    assert rig.known() == 3
    for task in ("f", "g", "big"):
        rig.release(task)
    assert rig.known() == 0


def test_descriptions_are_kept_as_long_as_a_descendant_may_need_them():
    rig = Rig()
    chain(rig)
    rig.release("a")
    rig.release("b")
    assert rig.known() == 3, "c is not released, and a and b may have to run again for it"
    rig.release("c")
    assert rig.known() == 0


def test_what_cannot_run_again_holds_nothing():
    rig = Rig()
    rig.read("a")
    rig.finish("a")
    rig.call("f", "a", returns="dataset")
    rig.finish("f")
    rig.release("a")
    assert rig.known() == 1


def test_a_failed_consumer_and_a_canceled_one_hold_nothing():
    rig = Rig(ranks=1)
    rig.read("a")
    rig.finish("a")
    rig.sort("b", "a")
    rig.sort("c", "a", after=("b",))
    rig.cancel("c")
    rig.fail("b", 0)
    assert dropped(rig.release("a")) == [("a", (0,))]
    assert rig.known() == 2


def test_a_predecessor_is_remembered_while_it_is_waited_for():
    rig = Rig(ranks=2)
    rig.call("first")
    rig.call("then", after=("first",))
    rig.release("first")
    rig.finish("first")
    assert rig.known() == 1
    assert "then" in rig.starts


def test_a_canceled_follower_lets_its_predecessor_go():
    rig = Rig(ranks=2)
    rig.call("first")
    rig.call("then", after=("first",))
    rig.cancel("then")
    rig.release("first")
    rig.finish("first")
    rig.release("then")
    assert rig.known() == 0


# ------------------------------------------------------------ loss and lineage


def test_lost_data_is_made_again_when_a_consumer_needs_it():
    rig = Rig(ranks=2)
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.gone(1)
    rig.join(1)
    assert rig.state("a") is TaskState.DONE, "nobody needs it yet"
    assert "its output is lost with 1 ranks since" in rig.why("a")
    assert started(rig.sort("b", "a", ranks=2)) == ["a"]
    assert rig.why("b") == "b (sort) waits for its inputs: a (read), running"
    commands = rig.finish("a", rows=[4, 4])
    assert (ended(commands), started(commands)) == (["a"], ["b"])
    assert rig.ends["a"][1].profile.attempts == 2
    assert [p.rows for p in rig.ends["a"][1].partitions] == [4, 4]
    address = rig.ends["a"][1].partitions[1].address
    assert address == rig.starts["b"][0].inputs[1][0][0].address
    assert address != rig.ends["a"][0].partitions[1].address
    rig.finish("b")
    assert started(rig.sort("c", "a", ranks=2)) == ["c"], "a is whole again"


def test_lineage_goes_back_as_far_as_it_must():
    rig = Rig(ranks=1)
    chain(rig)
    rig.release("a")
    rig.release("b")
    rig.gone(0)
    rig.join(0)
    assert started(rig.sort("d", "c")) == ["a"]
    assert "waits for its inputs: c (sort), waiting" in rig.why("d")
    assert rig.why("c").startswith("c (sort) runs again because its output was lost; waits for")
    assert started(rig.finish("a")) == ["b"]
    commands = rig.finish("b")
    assert (started(commands), dropped(commands)) == (["c"], [("a", (0,))])
    assert started(rig.finish("c")) == ["d"]
    assert [len(rig.ends[task]) for task in "abc"] == [1, 1, 2], "released ones are not told again"


def test_a_ready_consumer_waits_again_when_its_input_is_lost():
    rig = Rig(ranks=2)
    rig.read("a")
    rig.finish("a")
    rig.read("busy", ranks=1)
    rig.read("busy2", ranks=1, priority=1)
    rig.sort("b", "a")
    assert rig.state("b") is TaskState.READY
    rig.gone(rig.ends["a"][0].partitions[0].rank)
    assert rig.state("b") is TaskState.WAITING
    assert rig.state("a") is TaskState.READY


def test_data_that_a_function_made_is_not_made_again():
    rig = Rig(ranks=2)
    rig.call("f", returns="dataset", ranks=2)
    rig.finish("f")
    rig.call("busy", ranks=2)
    rig.sort("b", "f")
    rig.sort("c", "b")
    commands = rig.gone(1, reason="killed")
    assert ended(commands) == ["b", "c"]
    failure = rig.failure("b")
    assert failure.kind is FailureKind.DATA_LOST
    assert (
        "needs dataset f (call), of which partitions are lost (rank 1: killed)" in failure.message
    )
    assert "f (call) is not run again, because a function may have effects" in failure.message
    assert rig.failure("c").cause == "b"


def test_a_chain_is_as_weak_as_its_source():
    rig = Rig(ranks=1)
    rig.submit("a", Load(address="client", rows=10))
    rig.finish("a")
    rig.sort("b", "a")
    rig.finish("b")
    rig.gone(0)
    rig.join(0)
    rig.sort("c", "b")
    assert "needs dataset b (sort), of which partitions are lost" in rig.failure("c").message
    assert (rig.state("b"), len(rig.ends["b"])) == (TaskState.DONE, 1), "it was not tried in vain"
    rig.sort("d", "a")
    assert "a (load) is not run again" in rig.failure("d").message


def test_lineage_may_be_long():
    rig = Rig(validates=False, ranks=1)
    rig.read("t0")
    rig.finish("t0")
    for number in range(1, 3000):
        rig.sort(f"t{number}", f"t{number - 1}")
        rig.finish(f"t{number}")
    rig.gone(0)
    rig.join(0)
    assert started(rig.sort("last", "t2999")) == ["t0"]
    for number in range(2999):
        assert started(rig.finish(f"t{number}")) == [f"t{number + 1}"]


def test_a_running_consumer_that_cannot_fetch_is_started_again_after_the_data():
    rig = Rig(ranks=3)
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.sort("b", "a", ranks=1)
    reader = rig.gang("b")[0]
    lost = 1 - reader
    rig.gone(lost)
    assert rig.state("a") is TaskState.DONE, "it has a running reader"
    rig.sort("c", "a")
    assert "lost, runs again when its running readers have left" in rig.why("c")
    rig.fail("b", 0, kind=FailureKind.DATA_LOST)
    assert started(rig.join(lost)) == ["a"]
    rig.finish("a")
    assert {"b", "c"} <= set(rig.starts)
    rig.finish("b")
    assert rig.ends["b"][0].failure is None
    assert rig.ends["b"][0].profile.attempts == 2


def test_a_running_consumer_that_has_its_data_already_ends_well():
    rig = Rig(ranks=3)
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.sort("b", "a")
    lost = 1 - rig.gang("b")[0]
    rig.gone(lost)
    rig.finish("b")
    assert rig.ends["b"][0].failure is None
    assert len(rig.starts["a"]) == 1


def test_whoever_waits_for_lost_data_gets_it_when_its_last_reader_has_ended_well():
    rig = Rig(ranks=3)
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.sort("b", "a")
    lost = 1 - rig.gang("b")[0]
    rig.gone(lost)
    rig.sort("c", "a")
    rig.finish("b")
    assert started(rig.join(lost)) == ["a"]
    assert started(rig.finish("a")) == ["c"]


def test_a_failed_fetch_may_come_before_the_news_of_the_loss():
    rig = Rig(ranks=3)
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.sort("b", "a")
    lost = 1 - rig.gang("b")[0]
    assert started(rig.fail("b", 0, kind=FailureKind.DATA_LOST)) == ["b"]
    rig.gone(lost)
    rig.fail("b", 0, kind=FailureKind.DATA_LOST)
    assert started(rig.join(lost)) == ["a"]
    rig.finish("a")
    rig.finish("b")
    assert rig.ends["b"][0].failure is None


def test_a_partition_that_is_really_missing_does_not_keep_its_consumer_for_ever():
    rig = Rig()
    rig.read("a")
    rig.finish("a")
    rig.sort("b", "a")
    for _ in range(4):
        assert "b" not in rig.ends
        rig.fail("b", 0, kind=FailureKind.DATA_LOST, text="no partition of a here")
    assert rig.failure("b").kind is FailureKind.DATA_LOST
    assert rig.failure("b").message == "no partition of a here"


def test_a_rank_that_dies_between_its_part_and_the_end_takes_the_output_with_it():
    rig = Rig(ranks=3)
    rig.read("a", ranks=2, retries=1)
    rig.part("a", 0, rows=1)
    rig.gone(rig.gang("a")[0])
    assert rig.state("a") is TaskState.STOPPING
    assert dropped(rig.part("a", 1, rows=1)) == []
    assert started(rig.join(rig.gang("a")[0])) == ["a"]
    rig.finish("a")
    assert rig.ends["a"][0].failure is None


def test_if_making_it_again_fails_both_are_told():
    rig = Rig(ranks=1)
    rig.read("a")
    rig.finish("a")
    rig.gone(0)
    rig.join(0)
    rig.sort("b", "a")
    rig.sort("c", "b")
    assert ended(rig.fail("a", 0, text="file is gone")) == ["a", "b", "c"]
    assert rig.ends["a"][1].failure.message == "file is gone"
    assert rig.ends["a"][1].partitions == ()
    assert rig.failure("b").kind is FailureKind.DATA_LOST
    assert rig.failure("b").message.startswith("file is gone\n")
    assert rig.failure("c").cause == "b"
    rig.sort("d", "a")
    assert rig.failure("d").cause == "a"


def test_a_task_that_runs_again_cannot_be_canceled():
    rig = Rig(ranks=1)
    rig.read("a")
    rig.finish("a")
    rig.gone(0)
    rig.join(0)
    rig.sort("b", "a")
    assert rig.cancel("a") == []
    rig.cancel("b")
    commands = rig.finish("a")
    assert (ended(commands), rig.state("a")) == (["a"], TaskState.DONE)


def test_old_partitions_outside_the_new_gang_are_dropped_when_it_has_ended():
    rig = Rig(ranks=6, per_node=6)
    rig.read("a", ranks=3)
    rig.finish("a")
    for name in ("f", "g", "h"):
        rig.call(name)
    rig.gone(0)
    rig.sort("b", "a")
    assert rig.gang("a") == (3, 4, 5)
    assert dropped(rig.finish("a")) == [("a", (1, 2))]
    assert dropped(rig.release("a") + rig.finish("b")) == [("a", (3, 4, 5))]


def test_loss_of_released_data_with_no_consumer_costs_nothing():
    rig = Rig(ranks=2)
    chain(rig)
    rig.release("a")
    rig.release("b")
    rig.release("c")
    assert rig.known() == 0
    rig.gone(0)
    assert rig.known() == 0


def test_a_waiting_consumer_waits_also_for_what_was_lost_meanwhile():
    rig = Rig(ranks=2)
    rig.read("a")
    rig.finish("a")
    rig.read("busy", priority=1)
    rig.read("b", priority=1)
    rig.join_tables("c", "a", "b")
    rig.gone(0)
    rig.join(0)
    assert rig.state("a") is not TaskState.DONE
    for task in ("busy", "b"):
        if task not in rig.ends:
            rig.finish(task)
    assert "c" not in rig.starts
    assert started(rig.finish("a")) == ["c"]


def test_a_source_that_is_read_runs_again_only_when_its_readers_have_left():
    rig = Rig(ranks=4)
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.sort("b", "a", ranks=2)
    rig.finish("b")
    rig.call("reader", "a")
    lost = 1 - rig.gang("reader")[0]
    rig.call("busy", ranks=2)
    rig.gone(lost)
    rig.finish("busy")
    rig.sort("c", "b")
    assert rig.state("b") is TaskState.WAITING
    assert rig.state("a") is TaskState.DONE
    rig.finish("reader")
    assert started(rig.join(lost)) == ["a"]
    assert started(rig.finish("a")) == ["b"]
    assert started(rig.finish("b")) == ["c"]


def test_nothing_runs_again_for_data_whose_reader_may_still_end_well():
    rig = Rig(ranks=4)
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.sort("b", "a", ranks=2)
    rig.finish("b")
    rig.call("reader", "b")
    rig.gone(1 - rig.gang("reader")[0])
    rig.sort("c", "b")
    assert [rig.state(task) for task in "ab"] == [TaskState.DONE, TaskState.DONE]
    rig.cancel("c")
    rig.finish("reader")
    assert [len(rig.starts[task]) for task in "ab"] == [1, 1]
