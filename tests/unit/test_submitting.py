"""What a TaskManager sends, and that a call which it refuses has sent nothing."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import elevon as ev
from elevon.errors import DescriptionError, UsageError
from elevon.model.algebra import Drop
from elevon.model.operations import Load, Read, Sort
from elevon.model.pilots import PilotDescription
from elevon.model.tasks import TaskDescription, TaskOptions
from elevon.pilot.manager import PilotManager
from elevon.session import Session
from elevon.tasks.manager import TaskManager
from elevon.wire.encodable import LARGEST_DESCRIPTION_BYTES, check_tasks
from elevon.wire.messages import PutFunction, Submit
from tests.support.client import Client

TABLE = pa.table({"k": [1, 2, 3], "name": ["a", "b", "c"]})


@pytest.fixture
def client(tmp_path):
    with Client(tmp_path) as client:
        yield client


class Unpicklable:
    """Raises what it was made with as soon as it is pickled."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error

    def __call__(self):
        pass


class Mean(BaseException):
    pass


ERRORS = [
    ValueError("no"),
    SystemExit(3),
    GeneratorExit(),
    StopIteration(),
    RecursionError(),
    MemoryError(),
    RuntimeError(),
    Mean("no"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_pickling_raises_is_the_cause_of_a_description_error(client, error):
    hostile = Unpicklable(error)
    for call in (
        lambda: client.tasks.submit(hostile),
        lambda: client.tasks.submit(print, hostile),
        lambda: client.tasks.submit(print, end=[hostile]),
        lambda: client.tasks.submit(lambda: hostile),
    ):
        with pytest.raises(DescriptionError, match="cannot be pickled") as refused:
            call()
        assert isinstance(refused.value.__cause__, Exception | type(error))
    assert client.posted == []


def test_ctrl_c_while_pickling_is_ctrl_c(client):
    with pytest.raises(KeyboardInterrupt):
        client.tasks.submit(print, Unpicklable(KeyboardInterrupt()))
    assert client.posted == []


def test_what_cannot_travel_is_refused(client):
    task = client.tasks.submit(print)
    for what in (threading.Lock(), (i for i in "ab"), [task], lambda: task):
        with pytest.raises(DescriptionError, match="cannot be pickled"):
            client.tasks.submit(print, what)


def test_what_no_stream_of_arrow_keeps_is_refused(client):
    inside = pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([b"1" * 16]).cast(pa.uuid()))
    tables = {
        "keeps none of its 2 rows": pa.table({"a": [1, 2]}).select([]),
        "holds a NUL": pa.table({"a\0b": [1]}),
        "Python objects": pl.DataFrame({"a": pl.Series([object()], dtype=pl.Object)}),
        "decode it first": pa.table({"a": pa.StructArray.from_arrays([inside], ["x"])}),
    }
    for message, table in tables.items():
        for call in (client.tasks.from_arrow, lambda table: client.tasks.head(table, 1)):
            with pytest.raises(DescriptionError, match=message):
                call(table)
    assert client.posted == []


def test_what_belongs_to_this_process_says_so(client, tmp_path):
    with ev.Session(root=tmp_path) as session:
        for mine in (client.tasks, session, ev.PilotManager(session)):
            named = f"a {type(mine).__name__} belongs to the process"
            with pytest.raises(DescriptionError, match=named):
                client.tasks.submit(lambda mine=mine: mine)


@pytest.mark.parametrize("function", ["/bin/date", None, 3, b"print", ["ls"], TABLE])
def test_a_function_can_be_called(client, function):
    with pytest.raises(DescriptionError, match="is no function"):
        client.tasks.submit(function)


class Nameless:
    def __call__(self):
        pass

    @property
    def __name__(self):
        raise SystemExit(4)


def strange(name):
    def function():
        pass

    class Called:
        __call__ = staticmethod(function)
        __name__ = name

    return Called()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda: print, "print"),
        (Nameless, "Nameless"),
        (lambda: strange(3), "Called"),
        (lambda: strange("\udc80"), "\\udc80"),
        (lambda: strange(""), "Called"),
    ],
)
def test_the_name_of_a_function_is_for_reports(client, function, name):
    assert client.tasks.submit(function()).name == name


def test_large_arguments_are_refused_before_they_fill_memory(client):
    for call in (
        lambda: client.tasks.submit(print, np.zeros(200 << 20, np.uint8)),
        lambda: client.tasks.submit(print, [b"x" * (1 << 20)] * 3, "x" * (80 << 20)),
        lambda: client.tasks.submit(lambda data=b"x" * (80 << 20): data),
    ):
        with pytest.raises(DescriptionError, match="travel with a task"):
            call()
    assert client.posted == []


def test_a_function_is_sent_once_and_before_its_task(client):
    client.tasks.submit(print, 1)
    client.tasks.submit(print, 2)
    assert [type(message) for message in client.posted] == [PutFunction, Submit, Submit]


def test_a_function_goes_only_where_its_task_goes(tmp_path):
    with Client(tmp_path, pilots=2) as client:
        client.tasks.submit(print)
        assert sorted(len(link.posted) for link in client.links) == [0, 2]


def test_tables_of_a_verb_go_with_its_task_and_live_as_long(client):
    joined = client.tasks.join(TABLE, pd.DataFrame({"k": [1]}), on="k", ranks=2)
    gc.collect()
    (submit,) = client.posted
    loads, consumer = submit.tasks[:2], submit.tasks[2]
    assert [type(load.description.operation) for load in loads] == [Load, Load]
    assert [load.description.options.ranks for load in loads] == [2, 2]
    assert consumer.description.inputs == tuple(load.task for load in loads)
    assert consumer.task == joined.id
    assert client.state()[1] == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda tasks: tasks.join(TABLE, 3, on="k"),
        lambda tasks: tasks.join(TABLE, TABLE, on="k", retries=2**80),
        lambda tasks: tasks.concat([TABLE, "k"]),
        lambda tasks: tasks.head(pd.DataFrame({"k": [1, "x"]}, dtype=object)),
        lambda tasks: tasks.from_arrow(TABLE, ranks=0),
        lambda tasks: tasks.from_arrow({"k": [1]}),
        lambda tasks: tasks.from_arrow(None),
        lambda tasks: tasks.filter(TABLE, "k > 1"),
        lambda tasks: tasks.filter(TABLE, True),
        lambda tasks: tasks.filter(TABLE, pc.is_in(pc.field("k"), pa.array(range(3_000_000)))),
        lambda tasks: tasks.select(TABLE, "k", name="name"),
        lambda tasks: tasks.select(TABLE, "k", after="k"),
        lambda tasks: tasks.read("/\udc80.parquet"),
        lambda tasks: tasks.read(["/a", None]),
        lambda tasks: tasks.read("/a\0"),
        lambda tasks: tasks.read([]),
        lambda tasks: tasks.read("/a", format="xls"),
        lambda tasks: tasks.read("/a", columns=[1]),
        lambda tasks: tasks.options(after="task.0000.000001"),
        lambda tasks: tasks.options(after=[print]),
        lambda tasks: tasks.options(ranks="2"),
        lambda tasks: tasks.drop(TABLE, ["x" * 9_999] * 4_000),
        lambda tasks: tasks.submit_tasks(3),
        lambda tasks: tasks.submit_tasks([Read(("/a",))]),
        lambda tasks: tasks.submit_tasks([TaskDescription(operation=Read(("/a",))), None]),
        lambda tasks: tasks.explain(3),
        lambda tasks: tasks.explain("\udc80"),
    ],
)
def test_a_refused_call_has_sent_and_kept_nothing(client, call):
    before = client.state()
    with pytest.raises(DescriptionError):
        call(client.tasks)
    assert client.state() == before


def test_paths_may_be_given_as_they_are_found(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tasks = client.tasks
    tasks.read(tmp_path / "a.csv", columns="k")
    tasks.read([b"/b.arrow", "s3://bucket/c"])
    tasks.read(np.str_("d.pq"))
    assert [submit.tasks[0].description.operation for submit in client.posted] == [
        Read((str(tmp_path / "a.csv"),), "csv", ("k",)),
        Read(("/b.arrow", "s3://bucket/c"), "arrow"),
        Read((str(tmp_path / "d.pq"),), "parquet"),
    ]


def test_after_takes_what_has_an_id(client):
    one = client.tasks.read("/a")
    chosen = client.tasks.options(after=one).read("/b", after=[one, one.id]).description
    assert chosen.options.after == (one.id, one.id)


def test_a_column_that_is_called_like_an_option_reaches_the_agent(client):
    frame = client.tasks.from_arrow(TABLE)
    made = frame.options(name="mine", after=frame, ranks=3).select({"name": "name"})
    assert made.name == "mine"
    assert made.description.options.after == (frame.id,)
    assert made.description.options.ranks == 3
    assert made.description.operation.columns[0].name == "name"


def test_descriptions_by_hand_travel_in_plain_types(client):
    sort = Sort([np.str_("k")], [np.True_])
    options = TaskOptions(ranks=np.int64(2), timeout_s=np.float64(5), name="sorted")
    read = TaskDescription(operation=Read("/a"), options=TaskOptions(name="read"))
    by_hand = TaskDescription(operation=sort, inputs=["read"], options=options)
    client.tasks.submit_tasks(one for one in (by_hand, read))
    assert [one.description.name for one in client.posted[0].tasks] == ["read", "sorted"]


def test_inputs_on_two_pilots_are_refused_with_nothing_sent(tmp_path):
    with Client(tmp_path, pilots=2) as client:
        one, other = client.tasks.read("/a"), client.tasks.read("/b")
        before = client.state()
        with pytest.raises(DescriptionError, match="different pilots"):
            client.tasks.join(one, other, on="k")
        with pytest.raises(DescriptionError, match="different pilots"):
            client.tasks.submit(print, one, other)
        assert client.state() == before


def test_a_description_has_a_limit_that_the_error_names():
    many = TaskDescription(operation=Drop(("x" * 9_999,) * 4_000), inputs=("t",))
    with pytest.raises(DescriptionError, match=f"{LARGEST_DESCRIPTION_BYTES:,}"):
        check_tasks([("t.2", many)])


def test_sessions_and_managers_are_checked_as_well(tmp_path):
    for arguments in ({"root": 5}, {"root": "/a\0"}, {"root": "\udc80"}, {"detach": "yes"}):
        with pytest.raises(DescriptionError, match=next(iter(arguments))):
            Session(**{"root": tmp_path, **arguments})
    assert list(tmp_path.iterdir()) == []
    with Session(root=tmp_path) as session:
        for pilots in (None, 3, [], [3], "pilot", PilotDescription()):
            with pytest.raises(DescriptionError, match="pilot"):
                TaskManager(session, pilots)


def test_a_refused_pilot_leaves_no_directory(tmp_path):
    with Session(root=tmp_path) as session:
        manager = PilotManager(session, providers={})
        for description in (
            None,
            {"ranks": 2},
            PilotDescription(ranks=2),
            PilotDescription(communicator="tcp", relay="h:1", relay_secret_file="/not/there"),
        ):
            with pytest.raises(UsageError):
                manager.submit(description)
        assert list(session.directory.iterdir()) == []
        assert manager.pilots == []
