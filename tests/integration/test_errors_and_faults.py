"""What goes wrong becomes a typed error in bounded time, and the next task runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import CancelledError

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import elevon as ev
from elevon.errors import (
    DependencyFailed,
    DescriptionError,
    PilotLost,
    RankLost,
    ResourceError,
    SchemaError,
    TaskFailed,
    TaskTimeout,
)
from tests.integration.conftest import processes_of

pytestmark = pytest.mark.timeout(120)
WITHIN_S = 5.0


@pytest.fixture
def sound(tasks):
    """After the test, every rank still works."""
    yield
    assert tasks.options(ranks=4).submit(lambda comm: int(comm.allreduce(1))).result(30) == 4


def error_of(task, kind, within_s=WITHIN_S):
    started = time.monotonic()
    error = task.exception(timeout=within_s + 10)
    took = time.monotonic() - started
    assert isinstance(error, kind), repr(error)
    assert took < within_s, f"{took:.1f} s: {error}"
    return error


@pytest.mark.usefixtures("sound")
class TestErrors:
    def test_a_wrong_column_name(self, tasks):
        data = tasks.from_arrow(pa.table({"origin": [1], "x": [2]}), ranks=2)
        task = tasks.sort(data, by="orgin", ranks=3)
        error = error_of(task, TaskFailed)
        assert isinstance(error.__cause__, SchemaError)
        assert "origin" in str(error.__cause__)
        assert task.id in str(error)
        assert error.rank is not None

    def test_key_types_that_do_not_fit(self, tasks):
        left = tasks.from_arrow(pa.table({"k": [1, 2]}), ranks=2)
        right = tasks.from_arrow(pa.table({"k": ["a", "b"]}), ranks=2)
        error = error_of(tasks.join(left, right, on="k", ranks=2), TaskFailed)
        assert isinstance(error.__cause__, SchemaError)

    def test_more_ranks_than_there_are(self, tasks):
        error = error_of(tasks.options(ranks=5).submit(lambda comm: 1), ResourceError)
        assert "5" in str(error)
        assert "4" in str(error)

    def test_one_rank_raises_while_the_others_sit_in_a_collective(self, tasks):
        def uneven(comm):
            if comm.rank == 2:
                raise KeyError("only here")
            comm.barrier()
            comm.allreduce(1.0)

        error = error_of(tasks.options(ranks=4).submit(uneven), TaskFailed)
        assert error.rank == 2
        assert isinstance(error.__cause__, KeyError)
        assert "only here" in error.remote_traceback

    def test_sys_exit_is_a_failure_of_the_task(self, tasks):
        error = error_of(tasks.submit(sys.exit, 3), TaskFailed)
        assert "SystemExit" in str(error)

    def test_a_failed_parent_fails_its_children_with_a_chain(self, tasks):
        parent = tasks.submit(lambda: 1 / 0)
        child = tasks.submit(lambda x: x, parent)
        grandchild = tasks.submit(lambda x: x, child)
        error = error_of(grandchild, DependencyFailed)
        chain = []
        while error is not None:
            chain.append(type(error))
            error = error.__cause__
        assert chain[0] is DependencyFailed
        assert chain[-2:] == [TaskFailed, ZeroDivisionError]

    def test_a_value_that_cannot_be_pickled(self, tasks):
        error = error_of(tasks.submit(lambda: (i for i in range(3))), TaskFailed)
        assert "pickle" in str(error)

    def test_a_file_that_is_not_there(self, tasks, tmp_path):
        error = error_of(tasks.read(tmp_path / "no.parquet", ranks=2), TaskFailed)
        assert "no.parquet" in str(error)

    def test_a_task_that_takes_too_long(self, tasks):
        task = tasks.options(timeout_s=0.3, ranks=2).submit(_wait_in_barrier)
        error_of(task, TaskTimeout)

    def test_a_running_task_is_cancelled(self, tasks):
        task = tasks.options(ranks=2).submit(_wait_in_barrier)
        waiting = tasks.options(ranks=4).submit(lambda comm: 1)
        assert waiting.cancel()
        assert task.cancel()
        for one in (task, waiting):
            with pytest.raises(CancelledError):
                one.result(WITHIN_S)

    def test_a_task_in_a_container_is_refused_at_once(self, tasks):
        task = tasks.submit(lambda: 1)
        with pytest.raises(TypeError, match="argument of its own"):
            tasks.submit(sum, [task])

    def test_an_unknown_option_is_refused_at_once(self, tasks):
        with pytest.raises(DescriptionError, match="did you mean 'ranks'"):
            tasks.options(rank=3)


def _wait_in_barrier(comm):
    """Rank 0 comes to the barrier when it is too late."""
    if comm.rank == 0:
        time.sleep(30)
    comm.barrier()


@pytest.mark.usefixtures("sound")
class TestFaults:
    """Each on the same pilot as the one before: a fault must not wear the pilot out."""

    def die(self, how):
        def victim(comm):
            comm.barrier()
            if comm.rank == 1:
                how()
            comm.barrier()
            return comm.rank

        return victim

    @pytest.mark.parametrize(
        "how",
        [
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            lambda: os._exit(7),
            lambda: os.kill(os.getpid(), signal.SIGSEGV),
            lambda: os.kill(os.getpid(), signal.SIGSTOP),
        ],
        ids=["SIGKILL", "os._exit", "SIGSEGV", "SIGSTOP"],
    )
    def test_a_rank_dies_in_the_middle_of_a_task(self, tasks, how):
        task = tasks.options(ranks=4, name="victim").submit(self.die(how))
        error = error_of(task, RankLost)
        assert error.rank == 1
        assert task.id in str(error)
        assert error.host

    def test_tasks_of_other_ranks_are_not_lost(self, tasks):
        bystander = tasks.options(ranks=2, name="bystander").submit(_slow_sum, 1.5)
        victim = tasks.options(ranks=2, name="victim").submit(
            self.die(lambda: os.kill(os.getpid(), signal.SIGKILL))
        )
        error_of(victim, RankLost)
        assert bystander.result(30) == 2

    def test_a_lost_rank_is_retried_where_the_user_allows_it(self, tasks, tmp_path):
        marker = tmp_path / "was here"

        def once(comm):
            if comm.rank == 0 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            comm.barrier()
            return "second time"

        assert tasks.options(ranks=2, retries=1).submit(once).result(30) == "second time"

    def test_lost_partitions_are_made_again(self, tasks, tmp_path):
        pq.write_table(pa.table({"x": range(1000)}), tmp_path / "x.parquet")
        data = tasks.read(tmp_path / "x.parquet", ranks=4)
        data.result(30)
        victim = tasks.options(ranks=4).submit(
            self.die(lambda: os.kill(os.getpid(), signal.SIGKILL))
        )
        error_of(victim, RankLost)
        ordered = tasks.sort(data, by="x", ascending=False, ranks=4).result(30)
        assert ordered.head(1)["x"].to_pylist() == [999]
        assert data.result().to_arrow().num_rows == 1000


def _slow_sum(comm, seconds):
    time.sleep(seconds)
    return int(comm.allreduce(1))


def test_a_killed_agent_fails_its_tasks_and_takes_its_ranks_along(tmp_path):
    with ev.Session(root=tmp_path) as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=2))
        tasks = ev.TaskManager(session, pilots=[pilot])
        pilot.wait(60)
        task = tasks.options(ranks=2).submit(_slow_sum, 60)
        agents = [p for p in processes_of(pilot.directory) if "elevon.agent" in p.cmdline()]
        assert len(agents) == 1
        agents[0].kill()
        error_of(task, PilotLost)
        error_of(tasks.submit(lambda: 1), PilotLost)
        assert pilot.state is ev.PilotState.FAILED
    deadline = time.monotonic() + 20
    while processes_of(pilot.directory) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(pilot.directory) == []
