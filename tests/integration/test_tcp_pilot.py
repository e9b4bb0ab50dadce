"""A local pilot whose ranks talk over TCP: the whole way, and what the loss of a rank costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

import elevon as ev
from elevon.errors import RankLost, TaskFailed
from tests.integration.conftest import processes_of

pytestmark = [pytest.mark.no_mpi, pytest.mark.timeout(120)]

RANKS = 4
ROOT = Path(__file__).parents[2]
NOTICED_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def pilot(session):
    description = ev.PilotDescription(ranks=RANKS, communicator="tcp")
    pilot = ev.PilotManager(session).submit(description)
    pilot.wait(60)
    return pilot


@pytest.fixture
def whole(tasks):
    """After the test, every rank still works."""
    yield
    assert tasks.options(ranks=RANKS).submit(total).result(30) == 6


def total(comm):
    return int(comm.allreduce(np.array(comm.rank)))


def error_of(task, kind):
    started = time.monotonic()
    error = task.exception(timeout=30)
    assert isinstance(error, kind), repr(error)
    assert time.monotonic() - started < NOTICED_WITHIN_S, f"too late: {error}"
    return error


def test_tables_are_joined_and_sorted(tasks):
    left = tasks.from_arrow(pa.table({"k": range(1000), "a": range(1000)}), ranks=4)
    right = tasks.from_arrow(pa.table({"k": range(0, 2000, 2), "b": range(1000)}), ranks=2)

    joined = tasks.sort(tasks.join(left, right, on="k", ranks=4), by="a", ranks=3)

    found = pa.table(joined.result(60))
    assert found["k"].to_pylist() == list(range(0, 1000, 2))


def test_gangs_of_every_size_follow_each_other(tasks):
    gangs = [tasks.options(ranks=1 + n % RANKS).submit(total) for n in range(40)]

    assert [gang.result(30) for gang in gangs] == [sum(range(1 + n % RANKS)) for n in range(40)]


@pytest.mark.usefixtures("whole")
def test_a_member_that_raises_ends_the_collective_of_the_others(tasks):
    def uneven(comm):
        if comm.rank == 2:
            raise KeyError("only here")
        comm.barrier()

    error = error_of(tasks.options(ranks=4).submit(uneven), TaskFailed)

    assert error.rank == 2
    assert isinstance(error.__cause__, KeyError)


def test_others_work_on_while_a_rank_is_replaced(tasks):
    def long(comm, moments):
        for _ in range(moments):
            comm.barrier()
        return comm.size

    bystanders = tasks.options(ranks=2).submit(long, 5000)
    victim = tasks.options(ranks=1).submit(os._exit, 1)

    assert isinstance(victim.exception(30), RankLost)
    assert bystanders.result(60) == 2
    assert tasks.options(ranks=RANKS).submit(total).result(30) == 6


def test_a_retried_task_gets_through(tasks, tmp_path):
    mark = tmp_path / "died"

    def once(comm):
        if comm.rank == 1 and not mark.exists():
            mark.touch()
            os._exit(1)
        return total(comm)

    assert tasks.options(ranks=RANKS, retries=1).submit(once).result(30) == 6


def test_nothing_is_left_behind(tmp_path):
    with ev.Session(root=tmp_path) as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=3, communicator="tcp"))
        tasks = ev.TaskManager(session, pilots=[pilot])
        assert tasks.options(ranks=3).submit(total).result(30) == 3
        family = processes_of(tmp_path)
        assert len(family) >= 4

    gone, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert len(gone) == len(family)


@pytest.fixture
def without_mpi(tmp_path):
    """An environment in which there is no mpi4py and no mpiexec."""
    (tmp_path / "mpi4py.py").write_text("raise ImportError('there is no MPI here')\n")
    return {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "PATH": "/nowhere",
    }


def test_the_demo_needs_no_mpi(without_mpi):
    done = subprocess.run(
        [sys.executable, "-m", "elevon", "demo", "--communicator", "tcp", "--rows", "1e4",
         "--ranks", "3", "--json"],
        env=without_mpi, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def thread_names():
    return [thread.name for thread in threading.enumerate()]


def test_a_pilot_with_tls_joins(tmp_path):
    description = ev.PilotDescription(ranks=2, communicator="tcp", tls=True)
    with ev.Session(root=tmp_path) as session:
        pilot = ev.PilotManager(session).submit(description)
        tasks = ev.TaskManager(session, pilots=[pilot])
        left = tasks.from_arrow(pa.table({"k": range(1000), "a": range(1000)}), ranks=2)
        right = tasks.from_arrow(pa.table({"k": range(0, 2000, 2), "b": range(1000)}), ranks=2)

        joined = pa.table(tasks.join(left, right, on="k", ranks=2).result(60))

        assert sorted(joined["k"].to_pylist()) == list(range(0, 1000, 2))
        assert "tls pump" in tasks.options(ranks=2).submit(thread_names).result(30)
