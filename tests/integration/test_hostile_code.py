"""Functions, values and callbacks that do what they like cost their own task, and nothing else."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from typing import Any

import msgspec
import psutil
import pytest

import elevon as ev
from elevon.agent.reactor import REPAIR_WITHIN_S
from elevon.errors import (
    DescriptionError,
    ElevonError,
    GroupAborted,
    MemberLost,
    PilotLost,
    TaskError,
    TaskFailed,
)
from elevon.model.outcomes import FailureKind
from elevon.wire.messages import Explanation

SOON_S = 20.0


@pytest.fixture(scope="module")
def pilot(session):
    pilot = ev.PilotManager(session).submit(ev.PilotDescription(resource="local", ranks=2))
    pilot.wait(60)
    return pilot


@pytest.fixture
def answering(tasks):
    """After the test the pilot runs the next task, on both ranks, and is the same as before."""
    before = tasks.options(ranks=2, returns="all").submit(os.getpid).result(SOON_S)
    yield tasks
    after = tasks.options(ranks=2, returns="all").submit(os.getpid).result(SOON_S)
    assert after == before


def executed(code: str) -> type:
    """A class whose instances run ``code`` when they are unpickled."""

    class Value(Exception):
        def __reduce__(self) -> Any:
            return exec, (code,)

    return Value


def worded(raised: BaseException) -> type[Exception]:
    class Worded(Exception):
        def __str__(self) -> str:
            raise raised

        __repr__ = __str__

    return Worded


class Misfit(Exception):
    """Its ``__init__`` does not fit its args."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} {b}")


def misshapen(rank: object) -> MemberLost:
    error = MemberLost("told by a function")
    error.rank = rank  # type: ignore[assignment]
    return error


def chained() -> BaseException:
    first: BaseException = ValueError("the first")
    for number in range(2000):
        following = ValueError(f"{number}" * 50)
        following.__cause__, first = first, following
    return first


RAISED = {
    "200 MB of text": lambda: ValueError("x" * 200_000_000),
    "no text": lambda: worded(RuntimeError("no"))(),
    "text that exits": lambda: worded(SystemExit(3))(),
    "surrogate": lambda: ValueError("a name \udc80"),
    "exit": lambda: SystemExit(3),
    "interrupt": lambda: KeyboardInterrupt(),
    "generator exit": lambda: GeneratorExit(),
    "pickle exits": lambda: executed("raise SystemExit(4)")(),
    "pickle of another type": lambda: executed("7")(),
    "large": lambda: ValueError(b"x" * 20_000_000),
    "chain": chained,
    "misfit": lambda: Misfit(1, 2),
    "ours": lambda: TaskError("as if it were ours"),
    "aborted": lambda: GroupAborted("as if it were ours", rank=1),
    "lost": lambda: misshapen(None),
    "lost to a number": lambda: misshapen(2**80),
    "lost to a word": lambda: misshapen("\udc80"),
}


@pytest.mark.parametrize("name", RAISED)
def test_whatever_is_raised_fails_its_task(answering, name) -> None:
    def fail(comm: Any) -> None:
        if comm.rank == 1:
            raise RAISED[name]()
        comm.barrier()

    task = answering.options(ranks=2).submit(fail)
    error = task.exception(SOON_S)

    assert isinstance(error, ElevonError)
    assert 0 < len(str(error).encode()) < 150_000
    assert not isinstance(error, PilotLost)


def test_why_there_is_no_cause_is_told(answering) -> None:
    def fail() -> None:
        raise Misfit(1, 2)

    error = answering.submit(fail).exception(SOON_S)
    assert isinstance(error, TaskFailed)
    assert error.__cause__ is None
    assert "stays there" in str(error)
    assert "missing 1 required positional argument" in str(error)


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt()", "ValueError('no')"])
def test_a_value_that_cannot_be_unpickled_ends_its_future(answering, raised) -> None:
    code = f"import sys\nif 'elevon.rank' not in ' '.join(sys.orig_argv): raise {raised}"
    task = answering.submit(lambda: executed(code)())

    for _ in range(2):
        with pytest.raises(ElevonError, match="cannot be unpickled here") as told:
            task.result(SOON_S)
        assert type(told.value.__cause__).__name__ == raised.partition("(")[0]
    assert isinstance(task.exception(SOON_S), ElevonError)
    assert "done" in repr(task)


def test_an_exception_that_cannot_be_unpickled_here_is_told_by_its_text(answering) -> None:
    code = "import sys\nif 'elevon.rank' not in ' '.join(sys.orig_argv): raise SystemExit(1)"

    class Odd(Exception):
        def __reduce__(self) -> Any:
            return (eval, (f"exec({code!r}) or ValueError('x')",))

    def fail() -> None:
        raise Odd("the text of it")

    error = answering.submit(fail).exception(SOON_S)
    assert isinstance(error, TaskFailed)
    assert "the text of it" in str(error)
    assert "cannot be unpickled here: SystemExit" in str(error)


def test_a_function_that_cannot_be_unpickled_tells_why_each_time(answering) -> None:
    class Function:
        def __reduce__(self) -> Any:
            return exec, ("raise LookupError('as often as you like')",)

        def __call__(self) -> None: ...

    function = Function()
    for _ in range(3):
        error = answering.submit(function).exception(SOON_S)
        assert isinstance(error, TaskFailed)
        assert "as often as you like" in str(error)


def test_values_that_unpickle_slowly_keep_no_other_task(answering) -> None:
    code = "import sys, time\nif 'elevon.rank' not in ' '.join(sys.orig_argv): time.sleep(60)"
    slow = answering.submit(lambda: executed(code)())
    concurrent.futures.wait([slow], SOON_S)

    assert answering.submit(len, "abc").result(SOON_S) == 3


def test_callbacks_do_as_they_like(answering, caplog) -> None:
    blocked, released, called = threading.Event(), threading.Event(), threading.Event()
    threads = []

    def block(_: Any) -> None:
        blocked.set()
        released.wait(SOON_S)

    def leave(_: Any) -> None:
        threads.append(threading.current_thread().name)
        sys.exit(3)

    gate = answering.submit(time.sleep, 0.2)
    for callback in (block, leave, lambda _: called.set()):
        gate.add_done_callback(callback)
    assert blocked.wait(SOON_S)
    # The callback blocks; other tasks end, and those who wait for them go on.
    assert answering.submit(len, "abc").result(SOON_S) == 3
    assert not called.is_set()
    released.set()
    assert called.wait(SOON_S)
    assert threads == ["callbacks"]
    assert "SystemExit: 3" in caplog.text


def test_a_callback_of_an_ended_task_is_called_at_once(answering) -> None:
    task = answering.submit(len, "abc")
    task.result(SOON_S)
    called = []
    task.add_done_callback(lambda ended: called.append((ended, threading.current_thread())))

    assert called == [(task, threading.current_thread())]


def test_a_limit_has_two_names(answering) -> None:
    task = answering.submit(len, "abc")

    assert task.result(timeout_s=SOON_S) == 3
    assert task.exception(timeout_s=SOON_S) is None
    assert task.result(-1) == task.result(1e300) == 3
    with pytest.raises(DescriptionError, match="the same"):
        task.result(1, timeout_s=1)
    for bad in ("2", float("nan"), float("inf"), 2j, True, object()):
        with pytest.raises(DescriptionError, match="timeout must be a number of seconds"):
            task.result(bad)


def test_a_forked_client_owns_nothing(answering, session) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with session:  # closes it, as the end of the interpreter does
                pass
            answering.submit(len, "abc")
        except DescriptionError as error:
            code = 0 if "is a fork" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def forked(comm: Any, then: str) -> int:
    """The process id of a child that goes on as it is told."""
    child = os.fork()
    if child == 0 and then == "raises":
        raise ValueError(comm.rank)
    if child == 0 and then == "stays":
        time.sleep(600)
        os._exit(0)
    return child


@pytest.mark.no_mpi
def test_what_a_function_forks_is_no_rank(session) -> None:
    pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=2, communicator="tcp"))
    tasks = ev.TaskManager(session, pilots=[pilot]).options(ranks=2, returns="all")
    for then in ("returns", "raises"):
        for child in tasks.submit(forked, then=then).result(SOON_S):
            wait_for_end(child)
    children = [psutil.Process(pid) for pid in tasks.submit(forked, then="stays").result(SOON_S)]
    try:
        # The children hold whatever the rank had open; it is replaced at once all the same.
        with pytest.raises(ElevonError):
            tasks.submit(lambda comm: os.kill(os.getpid(), 9) if comm.rank else None).result(SOON_S)
        began = time.monotonic()
        assert tasks.submit(lambda comm: comm.allreduce(1)).result(SOON_S) == [2, 2]
        assert time.monotonic() - began < REPAIR_WITHIN_S / 2
    finally:
        for child in children:
            child.kill()
        pilot.cancel()


def wait_for_end(process: int) -> None:
    deadline = time.monotonic() + SOON_S
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_frame_that_the_agent_cannot_read_is_answered(answering, pilot) -> None:
    """As a client of another release would send it; what is in it ends, and nothing else."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pilot.link.subscribe(answers.put, answers.put)
    broken = {"task": "task.of.another.release", "description": 3, "submitted_s": 0.0}
    for content in (["Submit", [broken]], ["Explain", 77, 7]):
        pilot.link._outbox.append(msgspec.Raw(msgspec.msgpack.encode(content)))
    assert answering.submit(len, "abc").result(SOON_S) == 3

    told = []
    while len(told) < 2:
        answer = answers.get(timeout=SOON_S)
        if isinstance(answer, Explanation) or getattr(answer, "task", "") == broken["task"]:
            told.append(answer)
    ended, explanation = told
    assert ended.outcome.failure.kind is FailureKind.UNREADABLE
    assert "the same release" in ended.outcome.failure.message
    assert explanation.request == 77
    assert "Explain cannot be read" in explanation.text


SCRIPT = """
import os, sys
import elevon as ev
if __name__ == "__main__":
    with ev.Session(root=sys.argv[1]) as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=1, communicator="tcp"))
        tasks = ev.TaskManager(session, pilots=[pilot])
        assert tasks.submit(len, "abc").result(60) == 3
        child = os.fork()
        if child == 0:
            sys.exit(0)  # with all that an interpreter does at its end
        os.waitpid(child, 0)
        assert tasks.submit(len, "abcd").result(60) == 4
        print("the pilot lives")
"""


@pytest.mark.no_mpi
def test_the_end_of_a_forked_client_is_not_the_pilots(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.stdout == "the pilot lives\n", done.stderr
    assert done.returncode == 0
