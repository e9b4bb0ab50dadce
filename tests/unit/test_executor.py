"""One rank's way through a task: every end is an outcome, and every end closes the group."""

from __future__ import annotations

import tempfile
import time

import cloudpickle
import msgspec
import numpy as np
import pyarrow as pa
import pytest

from elevon.comm import Communicator
from elevon.errors import GroupAborted
from elevon.frames.exchange.partitioning import Layout
from elevon.frames.files import ipc
from elevon.model.algebra import Aggregate, Drop, DropDuplicates, Equals, GroupBy, RankRows, SetRows
from elevon.model.ids import RankId, TaskId
from elevon.model.operations import Call, InputRef, Join, Sort
from elevon.model.outcomes import FailureKind
from elevon.model.slices import Slice
from elevon.rank.calls import wants_communicator
from elevon.rank.executor import Executor
from elevon.rank.store import PartitionStore
from elevon.wire.messages import Interrupt, RunTask


class LonelyGroup:
    """A group of one that remembers what was done to it."""

    rank = 0
    size = 1
    timeout_s = None

    def allgather(self, array):
        return array[None]

    def allgatherv(self, array):
        return [array]

    def __init__(self):
        self.closed = self.aborted = self.interrupted = None

    def barrier(self):
        if self.interrupted:
            raise GroupAborted(self.interrupted)

    def allreduce(self, array, op="sum"):
        self.barrier()
        return np.asarray(array)

    def abort(self, reason):
        self.aborted = reason

    def close(self):
        self.closed = True


class LonelyWorld:
    """Opens lonely groups."""

    def __init__(self):
        self.groups = []
        self.evicted = []
        self.interrupts = {}
        self.on_open = lambda: None

    def open_group(self, slots, context, timeout_s):
        self.on_open()
        if context in self.interrupts:
            raise GroupAborted(self.interrupts[context])
        self.groups.append(LonelyGroup())
        return self.groups[-1]

    def interrupt(self, context, reason, rank=None, lost=False):
        self.interrupts[context] = reason
        self.blamed = (rank, lost)
        for group in self.groups:
            group.interrupted = reason

    def evict(self, contexts):
        self.evicted += contexts


@pytest.fixture
def world():
    return LonelyWorld()


@pytest.fixture
def store(tmp_path):
    store = PartitionStore(tmp_path / "s.sock")
    yield store
    store.close()


@pytest.fixture
def executor(world, store):
    return Executor(world, store, "host")


def message(operation, *, inputs=(), values=(), schemas=(), function=None, evict=(), context=1):
    return RunTask(
        task=TaskId("task.1"),
        name="name",
        attempt=1,
        operation=operation,
        members=(RankId(0),),
        group_rank=0,
        communicator_id=context,
        evict=evict,
        inputs=inputs,
        values=values or (b"",) * len(inputs),
        schemas=schemas or (b"",) * len(inputs),
        function=cloudpickle.dumps(function) if function else b"",
        threads=1,
        timeout_s=None,
    )


def call(function, *args, returns="rank0", inputs=0, **kwargs):
    arguments = cloudpickle.dumps((args, kwargs))
    return message(
        Call("digest", arguments, inputs, returns),
        function=function,
        inputs=((),) * inputs,
    )


def run(executor, work):
    return executor.run(work, time.monotonic())


def test_a_function_runs_and_its_group_is_closed(executor, world):
    outcome = run(executor, call(lambda comm, x: x * comm.size, 21))
    assert outcome.failure is None
    assert cloudpickle.loads(outcome.value) == 21
    assert world.groups[0].closed


def test_a_function_is_sent_once(executor):
    assert run(executor, call(lambda: 5)).failure is None
    again = run(executor, call(None))
    assert cloudpickle.loads(again.value) == 5


def test_stamps_ascend_and_tell_collectives_from_work(executor):
    def work(comm):
        comm.allreduce(1)

    stamps = run(executor, call(work)).stamps
    moments = [
        stamps.received,
        stamps.decoded,
        stamps.opened,
        stamps.fetched,
        stamps.computed,
        stamps.finished,
    ]
    assert moments == sorted(moments)
    assert 0 < stamps.in_collectives_s <= stamps.computed - stamps.fetched


def test_an_exception_is_a_failure_and_aborts_the_group(executor, world):
    outcome = run(executor, call(lambda comm: {}["missing"]))
    assert outcome.failure.kind is FailureKind.ERROR
    assert isinstance(cloudpickle.loads(outcome.failure.exception), KeyError)
    assert "KeyError" in outcome.failure.traceback
    assert "task.1" in outcome.failure.message
    assert world.groups[0].aborted
    assert world.groups[0].closed


def test_a_failure_tells_the_lines_that_led_to_it(executor):
    def divide(x):
        return 1 / x

    def fail():
        try:
            divide(0)
        except ZeroDivisionError as error:
            raise ValueError("cannot") from error

    outcome = run(executor, call(fail))
    told = outcome.failure.traceback
    for line in ("Traceback (most recent call last)", "in divide", "in fail", "direct cause"):
        assert line in told
    assert "in _carry_out" not in told
    # The exception itself travels without its frames, which cannot be pickled.
    assert cloudpickle.loads(outcome.failure.exception).__traceback__ is None


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt()])
def test_even_what_is_no_exception_is_a_failure(executor, error):
    def leave():
        raise error

    outcome = run(executor, call(leave))
    assert outcome.failure.kind is FailureKind.ERROR
    assert type(error).__name__ in outcome.failure.message


def test_an_exception_that_cannot_be_pickled_travels_as_text(executor):
    class Stubborn(Exception):
        def __reduce__(self):
            raise TypeError("never")

    def fail():
        raise Stubborn("deep")

    outcome = run(executor, call(fail))
    assert outcome.failure.exception == b""
    assert "deep" in outcome.failure.traceback


def test_a_peers_failure_is_not_the_first_cause(executor):
    def fail(comm):
        raise GroupAborted("rank 3 failed", rank=3)

    assert run(executor, call(fail)).failure.kind is FailureKind.ABORTED


def test_an_interrupt_reaches_the_group_of_its_attempt_only(executor, world):
    def work(comm):
        executor.interrupt(Interrupt(TaskId("task.0"), 1, "another", -1))
        comm.barrier()
        executor.interrupt(Interrupt(TaskId("task.1"), 2, "another attempt", -1))
        comm.barrier()
        executor.interrupt(Interrupt(TaskId("task.1"), 1, "this one", 2, lost=True))
        comm.barrier()

    executor._functions["digest"] = work
    outcome = run(executor, call(None))
    assert outcome.failure.kind is FailureKind.ABORTED
    assert "this one" in outcome.failure.message
    assert world.blamed == (2, True)


def test_an_interrupt_before_the_group_is_open_is_not_lost(executor, world):
    world.on_open = lambda: executor.interrupt(Interrupt(TaskId("task.1"), 1, "too late", -1))
    outcome = run(executor, call(lambda: 1))
    assert outcome.failure.kind is FailureKind.ABORTED
    assert "too late" in outcome.failure.message
    world.on_open = lambda: None
    late = Interrupt(TaskId("task.1"), 1, "it has ended", -1)
    world.interrupts.clear()
    executor.interrupt(late)
    assert world.interrupts == {}


def test_an_interrupt_that_overtakes_its_task_is_not_lost(executor, world):
    executor.interrupt(Interrupt(TaskId("task.1"), 1, "already over", 3))
    outcome = run(executor, call(lambda: 1))
    assert outcome.failure.kind is FailureKind.ABORTED
    assert "already over" in outcome.failure.message
    assert world.groups == []


def test_old_groups_are_evicted_first(executor, world):
    run(executor, message(Call("d", cloudpickle.dumps(((), {}))), function=int, evict=(4, 5)))
    assert world.evicted == [4, 5]


def test_inputs_come_from_the_store_in_order_and_values_as_they_are(executor, store):
    table = pa.table({"x": range(10)})
    store.put(TaskId("task.0"), table)
    slices = tuple(Slice(TaskId("task.0"), store.address, at, 2) for at in (4, 0))
    work = message(
        Call("d", cloudpickle.dumps(((InputRef(0), InputRef(1)), {})), 2),
        function=lambda t, v: (t["x"].to_pylist(), v),
        inputs=(slices, ()),
        values=(b"", cloudpickle.dumps("value")),
        schemas=(ipc.schema_to_bytes(table.schema), b""),
    )
    assert cloudpickle.loads(run(executor, work).value) == ([4, 5, 0, 1], "value")


def test_an_input_of_no_slices_is_an_empty_table_of_its_schema(executor):
    schema = pa.schema([("x", pa.string())])
    work = message(
        Call("d", cloudpickle.dumps(((InputRef(0),), {})), 1),
        function=lambda t: (t.num_rows, str(t.schema.field("x").type)),
        inputs=((),),
        schemas=(ipc.schema_to_bytes(schema),),
    )
    assert cloudpickle.loads(run(executor, work).value) == (0, "string")


def test_a_lost_input_is_named_so(executor, store):
    gone = Slice(TaskId("task.0"), "unix:/nowhere", 0, 1)
    work = message(Sort(("x",), (True,)), inputs=((gone,),))
    assert run(executor, work).failure.kind is FailureKind.DATA_LOST
    here = Slice(TaskId("task.0"), store.address, 0, 1)
    work = message(Sort(("x",), (True,)), inputs=((here,),))
    assert run(executor, work).failure.kind is FailureKind.DATA_LOST


def test_a_returned_dataset_stays_here(executor, store):
    outcome = run(executor, call(lambda: pa.table({"x": [1, 2]}), returns="dataset"))
    assert outcome.rows == 2
    assert ipc.schema_from_bytes(outcome.schema).names == ["x"]
    piece = Slice(TaskId("task.1"), store.address, 0, 2)
    assert store.collect([piece], b"")["x"].to_pylist() == [1, 2]


def test_the_layout_of_a_join_stays_beside_its_partition(executor, store):
    store.put(TaskId("task.0"), pa.table({"x": [1, 2]}))
    piece = Slice(TaskId("task.0"), store.address, 0, 2)
    work = message(Join(("x",), ("x",)), inputs=((piece,), (piece,)))
    assert run(executor, work).rows == 2
    joined = Slice(TaskId("task.1"), store.address, 0, 2)
    layout = Layout(("x",), ("int64",), 1, 0)
    assert store.layout_of([joined]) == store.layout_of([joined, joined]) == layout
    assert store.layout_of([joined, piece]) is None
    assert store.layout_of([Slice(TaskId("task.1"), "unix:/elsewhere", 0, 2)]) is None
    assert store.layout_of([]) is None
    store.put(TaskId("task.1"), pa.table({"x": [1, 2]}))
    assert store.layout_of([joined]) is None


def test_the_memory_of_a_task_is_the_budget_of_its_operator(executor, store, monkeypatch):
    # Who spills cannot: so that he says so.
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    store.put(TaskId("task.0"), pa.table({"x": range(100)}))
    piece = Slice(TaskId("task.0"), store.address, 0, 100)
    for operation in (Join(("x",), ("x",)), Sort(("x",), (True,))):
        inputs = ((piece,),) * operation.inputs
        work = msgspec.structs.replace(message(operation, inputs=inputs), memory_bytes=10)
        assert "memory budget" in run(executor, work).failure.message
        assert run(executor, msgspec.structs.replace(work, memory_bytes=0)).failure is None


def test_every_operator_is_given_the_memory_of_its_task(executor, store, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    rows = pa.table({"x": range(10_000), "y": [str(i) for i in range(10_000)]})
    store.put(TaskId("task.0"), rows)
    piece = Slice(TaskId("task.0"), store.address, 0, 10_000)
    spilling = [
        GroupBy(("x",), (Aggregate("n", "y", "count"),)),
        GroupBy((), (Aggregate("n", "y", "nunique"),)),
        DropDuplicates(),
        SetRows("union"),
        RankRows("x"),
        Equals(ordered=False),
    ]
    for operation in spilling:
        inputs = ((piece,),) * operation.inputs
        work = msgspec.structs.replace(message(operation, inputs=inputs), memory_bytes=10)
        assert "memory budget" in run(executor, work).failure.message, operation
        assert run(executor, msgspec.structs.replace(work, memory_bytes=0)).failure is None


def test_what_arrow_raises_by_itself_becomes_an_error_of_ours(executor, store):
    store.put(
        TaskId("task.0"),
        pa.table(
            {
                "d": pa.chunked_array(
                    [
                        pa.DictionaryArray.from_arrays(
                            pa.array(range(100), pa.int8()), [f"{chunk} {i}" for i in range(100)]
                        )
                        for chunk in (0, 1)
                    ]
                )
            }
        ),
    )
    piece = Slice(TaskId("task.0"), store.address, 0, 200)
    failure = run(executor, message(Sort(("d",), (True,)), inputs=((piece,),))).failure
    assert "SchemaError: rows cannot be sorted: the chunks' dictionaries together have 200" in (
        failure.message
    )


def test_a_result_does_not_keep_the_table_that_it_was_cut_from(executor, store):
    text = pa.array([f"a text of some length {i}" for i in range(50_000)], pa.string_view())
    outcome = run(executor, call(lambda: pa.table({"t": text}).slice(7, 5), returns="dataset"))
    piece = Slice(TaskId("task.1"), store.address, 0, 5)
    assert outcome.nbytes < 1000
    kept = store.collect([piece], b"")
    assert kept.get_total_buffer_size() < 1000
    assert kept["t"].to_pylist() == text[7:12].to_pylist()
    value = run(executor, call(lambda: {"few": text.slice(7, 5)})).value
    assert len(value) < 2000
    assert cloudpickle.loads(value)["few"].to_pylist() == text[7:12].to_pylist()


def test_a_chosen_column_does_not_keep_the_others(executor, store):
    wide = pa.table({name: np.arange(50_000) for name in "abcdef"})
    store.put(TaskId("task.0"), wide)
    piece = Slice(TaskId("task.0"), store.address, 0, 50_000)
    chooses = call(lambda table: table.select(["a"]), InputRef(0), inputs=1, returns="dataset")
    works = [
        message(Drop(tuple("bcdef")), inputs=((piece,),)),
        msgspec.structs.replace(chooses, inputs=((piece,),)),
        message(Drop(("f",)), inputs=((piece,),)),
    ]
    places = [wide["a"].chunk(0).buffers()[1].address]
    for work in works:
        assert run(executor, work).failure is None
        kept = store.collect([Slice(TaskId("task.1"), store.address, 0, 50_000)], b"")
        assert kept["a"].equals(wide["a"])
        places.append(kept["a"].chunk(0).buffers()[1].address)
    assert [place == places[0] for place in places[1:]] == [False, False, True]


def test_what_is_no_table_is_no_dataset(executor):
    outcome = run(executor, call(lambda: 7, returns="dataset"))
    assert "must return an Arrow table" in outcome.failure.message


@pytest.mark.parametrize(
    ("function", "wants"),
    [
        (lambda comm: 0, True),
        (lambda comm, x: 0, True),
        (lambda x, comm: 0, False),
        (lambda: 0, False),
        (print, False),
        (int, False),
    ],
)
def test_who_wants_a_communicator(function, wants):
    assert wants_communicator(function) is wants


def test_an_annotation_asks_for_a_communicator():
    def annotated(group: Communicator): ...

    def as_text(group: "elevon.Communicator"): ...  # noqa: F821, UP037

    assert wants_communicator(annotated)
    assert wants_communicator(as_text)
