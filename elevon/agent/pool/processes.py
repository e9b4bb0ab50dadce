"""What the agent knows of its ranks' processes: which live, which are stopped or silent.

Death is told by the kernel (pidfd) within a millisecond, whatever killed the process; a stopped
process (SIGSTOP) is seen in its state; silence on the control channel is the last sign, and the
only one that reaches a rank on another host.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import psutil

from elevon.model.ids import RankId
from elevon.wire.messages import RankHello

# A function that holds the GIL inside C code silences its rank's heartbeat without any harm, so
# silence alone is believed late; death and stop are seen long before.
SILENT_AFTER_S = 60.0
STOPPED_AFTER_S = 1.0


@dataclass(slots=True)
class RankProcess:
    """One living rank process."""

    hello: RankHello
    work: bytes
    control: bytes
    pidfd: int
    heard: float
    stopped_since: float | None = None
    functions: set[str] = field(default_factory=set)


class ProcessTable:
    """The living ranks, by number and by pidfd."""

    def __init__(self) -> None:
        self._ranks: dict[RankId, RankProcess] = {}
        self._by_pidfd: dict[int, RankId] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def __iter__(self) -> Iterator[RankProcess]:
        return iter(self._ranks.values())

    def __contains__(self, rank: RankId) -> bool:
        return rank in self._ranks

    def __getitem__(self, rank: RankId) -> RankProcess:
        return self._ranks[rank]

    def add(self, hello: RankHello, work: bytes, now: float) -> RankProcess:
        """A rank has said hello on its work channel.

        Raises:
            ProcessLookupError: it has died since.
        """
        control = work.replace(b"work:", b"control:", 1)
        process = RankProcess(hello, work, control, os.pidfd_open(hello.pid), now)
        self._ranks[hello.rank] = process
        self._by_pidfd[process.pidfd] = hello.rank
        return process

    def remove(self, rank: RankId) -> RankProcess:
        """Forget a rank; its pidfd is closed."""
        process = self._ranks.pop(rank)
        del self._by_pidfd[process.pidfd]
        os.close(process.pidfd)
        return process

    def dead(self, ready: Iterable[object]) -> list[RankId]:
        """The ranks among these readable descriptors: their processes have ended."""
        return [self._by_pidfd[fd] for fd in ready if isinstance(fd, int) and fd in self._by_pidfd]

    def heard(self, control: bytes, now: float) -> None:
        """A heartbeat has come."""
        for process in self._ranks.values():
            if process.control == control:
                process.heard = now

    def unwell(self, now: float) -> list[tuple[RankId, str]]:
        """The ranks that live but will not answer, with the reason."""
        found = []
        for rank, process in self._ranks.items():
            if self._stopped_for(process, now) >= STOPPED_AFTER_S:
                found.append((rank, "its process is stopped (SIGSTOP)"))
            elif now - process.heard > SILENT_AFTER_S:
                found.append((rank, f"no heartbeat for {now - process.heard:.0f} s"))
        return found

    def kill(self, rank: RankId) -> None:
        """SIGKILL; that it has died is told by its pidfd."""
        with contextlib.suppress(ProcessLookupError, KeyError):
            signal.pidfd_send_signal(self._ranks[rank].pidfd, signal.SIGKILL)

    def _stopped_for(self, process: RankProcess, now: float) -> float:
        try:
            stopped = psutil.Process(process.hello.pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return 0.0  # its pidfd tells
        if not stopped:
            process.stopped_since = None
            return 0.0
        if process.stopped_since is None:
            process.stopped_since = now
        return now - process.stopped_since
