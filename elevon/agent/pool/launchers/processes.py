"""Ranks as plain processes of this host, which find each other without any MPI.

No secret is handed over: a rank reads it from the connection file that it is started with. The
rendezvous runs in the agent, on loopback, and has the joining keys only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from elevon.comm.connect.rendezvous import RendezvousServer
from elevon.errors import PilotStartFailed
from elevon.model.ids import RankId

TERMINATED_WITHIN_S = 1.0
KILLED_WITHIN_S = 5.0
# In its place among a rank's arguments.
NO_RENDEZVOUS = "-"


class ProcessLauncher:
    """Starts ranks one by one.

    Args:
        rendezvous: where they are to find each other, or None where they only share a store.
    """

    survives_rank_loss = True
    replaces_ranks = True

    def __init__(self, rendezvous: RendezvousServer | None) -> None:
        self._rendezvous = rendezvous
        self._address = NO_RENDEZVOUS if rendezvous is None else rendezvous.address

    def start(
        self, ranks: int, command: Sequence[str], env: Mapping[str, str], log: Path
    ) -> ProcessesHandle:
        """Start ``ranks`` processes that form one world; see Launcher."""
        recipe = _Recipe(self._address, ranks, tuple(command), dict(env), log)
        handle = ProcessesHandle(recipe)
        try:
            for rank in range(ranks):
                handle.replace(RankId(rank))
        except PilotStartFailed:
            handle.stop(0.0)
            raise
        return handle


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a rank of this world is started."""

    rendezvous: str
    ranks: int
    command: tuple[str, ...]
    env: Mapping[str, str]
    log: Path

    def start(self, rank: RankId) -> subprocess.Popen[bytes]:
        command = [*self.command, self.rendezvous, str(rank), str(self.ranks)]
        with self.log.open("ab") as out:
            try:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**os.environ, **self.env},
                    start_new_session=True,
                )
            except OSError as error:
                raise PilotStartFailed(f"rank {rank} could not be started: {error}") from error


class ProcessesHandle:
    """The ranks of one world."""

    def __init__(self, recipe: _Recipe) -> None:
        self._recipe = recipe
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def pids(self) -> tuple[int, ...]:
        """All processes that were started and not collected."""
        return tuple(self._processes)

    def exit_code(self, pid: int) -> int | None:
        """How a process ended, or None while it runs; once it has, it is collected."""
        code = self._processes[pid].poll()
        if code is not None:
            del self._processes[pid]
        return code

    def replace(self, rank: RankId) -> int:
        """Start a process for a rank that has none."""
        process = self._recipe.start(rank)
        self._processes[process.pid] = process
        return process.pid

    def stop(self, grace_s: float) -> None:
        """End all ranks and what they started: wait, then SIGTERM, then SIGKILL."""
        family = self._family()
        self._wait(grace_s)
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        self._wait(TERMINATED_WITHIN_S if grace_s else 0.0)
        for member in {*family, *self._family()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self._wait(KILLED_WITHIN_S)

    def _family(self) -> set[psutil.Process]:
        found: set[psutil.Process] = set()
        for pid in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                rank = psutil.Process(pid)
                found |= {rank, *rank.children(recursive=True)}
        return found

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for pid, process in list(self._processes.items()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.0))
                del self._processes[pid]
