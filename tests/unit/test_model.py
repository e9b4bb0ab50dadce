"""Descriptions refuse what cannot be, and say what would be right."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from elevon.errors import DescriptionError
from elevon.model.algebra import (
    Aggregate,
    Concat,
    Filter,
    GroupBy,
    Project,
    Rename,
    Rolling,
    SliceRows,
)
from elevon.model.ids import IdSource, TaskId
from elevon.model.operations import Call, Join, Load, Read, Sort, WriteParquet
from elevon.model.pilots import PilotDescription
from elevon.model.tasks import TaskDescription, TaskOptions, with_options
from elevon.tasks.batch import resolve


def test_an_unknown_option_is_an_error_with_a_suggestion():
    with pytest.raises(DescriptionError, match="'rank'; did you mean 'ranks'"):
        with_options(TaskOptions(), {"rank": 2})


@pytest.mark.parametrize(
    "options",
    [
        {"ranks": 0},
        {"ranks": 1.5},
        {"ranks": 2.0},
        {"ranks": np.float64(2)},
        {"ranks": True},
        {"ranks": 10**7},
        {"cores_per_rank": 0},
        {"cores_per_rank": 1_025},
        {"gpus_per_rank": "0"},
        {"memory_per_rank": -1},
        {"memory_per_rank": 2**80},
        {"timeout_s": 0},
        {"timeout_s": "2"},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"timeout_s": 1e10},
        {"timeout_s": np.timedelta64(5, "ns")},
        {"timeout_s": True},
        {"retries": -1},
        {"retries": 2**80},
        {"retry_errors": "yes"},
        {"retry_errors": None},
        {"priority": "high"},
        {"priority": 2**80},
        {"priority": -(2**31)},
        {"after": 3},
        {"after": [3]},
        {"after": {"task.1"}},
        {"name": 123},
        {"name": "x\udc80"},
        {"name": "x" * 10_001},
        {"returns": "both"},
        {"returns": None},
        {"returns": ["all"]},
    ],
)
def test_bad_option_values_are_refused(options):
    with pytest.raises(DescriptionError, match=next(iter(options))):
        with_options(TaskOptions(), options)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"ranks": np.int64(2)}, {"ranks": 2}),
        ({"ranks": np.array(2)}, {"ranks": 2}),
        ({"timeout_s": np.float64(5)}, {"timeout_s": 5.0}),
        ({"timeout_s": 5}, {"timeout_s": 5.0}),
        ({"retry_errors": np.True_}, {"retry_errors": True}),
        ({"retry_errors": 0}, {"retry_errors": False}),
        ({"name": np.str_("n")}, {"name": "n"}),
        ({"after": "task.1"}, {"after": ("task.1",)}),
        ({"after": ["task.1"]}, {"after": ("task.1",)}),
        ({"memory_per_rank": 2**63 - 1}, {"memory_per_rank": 2**63 - 1}),
    ],
)
def test_what_is_plainly_meant_is_kept_in_the_type_that_travels(given, plain):
    made, expected = TaskOptions(**given), TaskOptions(**plain)
    assert made == expected
    assert repr(made) == repr(expected)


def test_priorities_are_far_from_where_the_queue_takes_them_for_nothing():
    most = 2**31 - 1
    assert TaskOptions(priority=most).priority == most
    assert TaskOptions(priority=-most).priority == -most


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: PilotDescription(rank=3), "did you mean 'ranks'"),
        (lambda: TaskOptions(timeout=3), "did you mean 'timeout_s'"),
        (lambda: TaskDescription(operation=Read(("p",)), option=TaskOptions()), "'options'"),
        (lambda: TaskDescription(operation="read"), "operation"),
        (lambda: TaskDescription(operation=Read), "operation"),
        (lambda: TaskDescription(operation=Read(("p",)), options={}), "TaskOptions"),
        (lambda: TaskDescription(operation=Read(("p",)), options=None), "TaskOptions"),
        (lambda: TaskDescription(operation=Sort(("a",), (True,)), inputs=(1,)), "inputs"),
        (lambda: TaskDescription(operation=Sort(("a",), (True,)), inputs="\udc80"), "inputs"),
    ],
)
def test_what_is_made_by_hand_is_told_its_field(make, text):
    with pytest.raises(DescriptionError, match=text):
        make()


def test_options_are_frozen_and_changed_by_copy():
    base = TaskOptions()
    assert with_options(base, {"ranks": 3}).ranks == 3
    assert base.ranks == 1
    with pytest.raises(AttributeError):
        base.ranks = 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Join((), ()),
        lambda: Join(("a",), ("a", "b")),
        lambda: Join(("a",), ("a",), how="cross"),
        lambda: Sort((), ()),
        lambda: Sort(("a",), (True, False)),
        lambda: Sort(("a",), (True,), "middle"),
        lambda: Read(()),
        lambda: Read((1,)),
        lambda: Read(("p",), columns=[1]),
        lambda: Read(("p",), format="xls"),
        lambda: Load("unix:a", -1),
        lambda: Load(None, 1),
        lambda: Call("f", "text"),
        lambda: Call("f", b"", returns=None),
        lambda: Call("f", b"", -1),
        lambda: WriteParquet(None),
        lambda: Filter("x > 1"),
        lambda: GroupBy(("k",), (("a", "x", "sum"),)),
        lambda: GroupBy(("k",), Aggregate("a", "x", "sum")),
        lambda: Project(("k",)),
        lambda: Rename((("a", "b", "c"),)),
        lambda: Rename(("ab",)),
        lambda: Rolling(3, ("x",)),
        lambda: SliceRows("a"),
        lambda: Concat("2"),
        lambda: TaskDescription(operation=Sort(("a",), (True,))),
        lambda: PilotDescription(ranks=0),
        lambda: PilotDescription(resource="moon"),
        lambda: PilotDescription(start_timeout_s=0),
        lambda: PilotDescription(start_timeout_s=float("inf")),
        lambda: PilotDescription(client_grace_s="10"),
        lambda: PilotDescription(walltime_s=float("nan")),
        lambda: PilotDescription(ranks=2.0),
        lambda: PilotDescription(tls="yes"),
        lambda: PilotDescription(resource=None),
        lambda: PilotDescription(communicator="tcp\udc80"),
        lambda: PilotDescription(communicator="tcp", relay="host:" + "9" * 5000),
        lambda: PilotDescription(communicator="tcp", relay="host:1", relay_secret_file="\0"),
        lambda: PilotDescription(communicator="smoke"),
        lambda: PilotDescription(communicator=None),
        lambda: PilotDescription(communicator="smoke://here"),
        lambda: PilotDescription(communicator="redis://"),
        lambda: PilotDescription(communicator="redis://host:port/0"),
        lambda: PilotDescription(communicator="s3:///prefix"),
        lambda: PilotDescription(communicator="file://a/relative/path"),
        lambda: PilotDescription(communicator="redis://host/0", tls=True),
        lambda: PilotDescription(communicator="tcp", relay="host:1"),
        lambda: PilotDescription(communicator="tcp", relay="host", relay_secret_file="s"),
        lambda: PilotDescription(communicator="tcp", relay="host:0", relay_secret_file="s"),
        lambda: PilotDescription(communicator="tcp", relay_secret_file="s"),
        lambda: PilotDescription(communicator="mpi", relay="host:1", relay_secret_file="s"),
        lambda: PilotDescription(communicator="tcp", relay=1, relay_secret_file="s"),
        lambda: PilotDescription(walltime_s=-1),
        lambda: PilotDescription(communicator_cache=5000),
    ],
)
def test_impossible_descriptions_are_refused_when_made(make):
    with pytest.raises(DescriptionError):
        make()


def test_a_description_names_its_store_and_its_relay():
    url = "redis://user:word@host:6379/0"
    assert PilotDescription(communicator=url).store == url
    assert PilotDescription(communicator="file:///a/directory").store == "file:///a/directory"
    file = pathlib.Path("s")
    relayed = PilotDescription(communicator="tcp", relay="host:1", relay_secret_file=file)
    assert relayed.relay_secret_file == "s"
    assert (relayed.store, relayed.relay) == ("", "host:1")


@pytest.mark.parametrize(
    "fields",
    [
        {"communicator": "radis://user:word@host:6379/0"},
        {"communicator": "redis://user:word@host:no/0"},
        {"communicator": "redis://user:word@host:6379/0", "tls": True},
        {"communicator": "redis://user:word\udc80@host:6379/0"},
        {"communicator": "redis://user:word@host:6379/0" * 1000},
    ],
)
def test_what_is_wrong_with_a_store_is_said_without_its_password(fields):
    with pytest.raises(DescriptionError) as refused:
        PilotDescription(**fields)
    assert "word" not in str(refused.value)


def named(name, *inputs):
    operation = {0: Read(("f.parquet",)), 1: Sort(("a",), (True,)), 2: Join(("a",), ("a",))}
    options = TaskOptions(name=name)
    return TaskDescription(operation=operation[len(inputs)], inputs=inputs, options=options)


def ids():
    source = IdSource("task")
    return lambda: TaskId(source.next())


def test_a_batch_is_ordered_so_that_inputs_come_first():
    batch = [named("sorted", "joined"), named("joined", "l", "r"), named("l"), named("r")]
    ordered = resolve(batch, ids(), lambda _: False)
    seen = set()
    for _, task, description in ordered:
        assert set(description.inputs) <= seen
        seen.add(task)
    assert sorted(place for place, _, _ in ordered) == [0, 1, 2, 3]


def test_a_batch_may_name_tasks_that_were_submitted_before():
    ((_, _, description),) = resolve([named("s", "task.0001")], ids(), lambda t: t == "task.0001")
    assert description.inputs == ("task.0001",)


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        ([named("a", "b"), named("b", "a")], "wait for each other"),
        ([named("a"), named("a")], "two tasks"),
        ([named("a", "nowhere")], "neither the name"),
    ],
)
def test_impossible_batches_are_refused(batch, why):
    with pytest.raises(DescriptionError, match=why):
        resolve(batch, ids(), lambda _: False)


def test_a_budget_of_memory_is_kept_by_verbs_and_refused_for_functions():
    options = TaskOptions(memory_per_rank=1 << 20)
    TaskDescription(operation=Read(("a.parquet",)), options=options)
    with pytest.raises(DescriptionError, match=r"memory_per_rank=1,048,576 is of no effect on a"):
        TaskDescription(operation=Call("f", b""), options=options)
