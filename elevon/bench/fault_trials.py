"""One trial of ``elevon bench faults``: a member of a gang ends in the middle of a collective.

What is promised: the client gets one typed error that names the member, and so does every other
member, soon; and the pool runs the next task on all its ranks. Members leave notes of what they saw
in a directory, because a failed task tells of its culprit only.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import psutil

import elevon as ev
from elevon.errors import CommunicatorError, ElevonError, RankLost, TaskError, TaskFailed
from elevon.testing.communicators import COLLECTIVES

RANKS: Final = 4
# A trial that has not ended by then counts as a hang.
PATIENCE_S: Final = 30.0
LARGE: Final = 200_000


class Deliberate(Exception):
    """What a member raises that is to raise."""


def _raise() -> None:
    raise Deliberate("on purpose")


def _cut(most: int) -> None:
    """Cut connections of this rank to others, as a network that fails would."""
    rank = psutil.Process()
    others = {
        connection.laddr
        for process in _ranks_beside(rank)
        for connection in process.net_connections("tcp")
    }
    links = [link for link in rank.net_connections("tcp") if link.raddr in others]
    for link in links[:most]:
        with socket.socket(fileno=os.dup(link.fd)) as connection:
            connection.shutdown(socket.SHUT_RDWR)


def _ranks_beside(rank: psutil.Process) -> list[psutil.Process]:
    parent = rank.parent()
    return [] if parent is None else [each for each in parent.children() if each.pid != rank.pid]


#: How a member ends, and the error that the client gets.
ENDS: Final[dict[str, tuple[Callable[[], object], type[TaskError]]]] = {
    "raise": (_raise, TaskFailed),
    "sys.exit": (lambda: sys.exit(3), TaskFailed),
    "os._exit": (lambda: os._exit(3), RankLost),
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), RankLost),
    "SIGSTOP": (lambda: os.kill(os.getpid(), signal.SIGSTOP), RankLost),
    "link cut": (lambda: _cut(1), RankLost),
    "partition": (lambda: _cut(RANKS), RankLost),
}
#: Where two ends of a link are equally to blame.
MUTUAL: Final = ("link cut",)
#: MPI's connections are its own business (and shared memory on one host).
TCP_ONLY: Final = ("link cut", "partition")


def _large(comm: Any) -> None:
    comm.alltoallv([np.ones(LARGE)] * comm.size)


CALLS: Final[dict[str, Callable[[Any], Any]]] = {**COLLECTIVES, "large alltoallv": _large}


@dataclass(frozen=True, slots=True)
class Trial:
    """Who ends how, and where.

    Attributes:
        end: how.
        call: the collective that the others are in.
        victim: the member, 0 <= victim < RANKS; 0 is the root.
    """

    end: str
    call: str
    victim: int

    def __str__(self) -> str:
        return f"{self.end} of {self.victim} in {self.call}"

    @classmethod
    def draw(cls, chance: random.Random, ends: Sequence[str] = tuple(ENDS)) -> Trial:
        """One of all with these ends, by chance."""
        return cls(chance.choice(ends), chance.choice(list(CALLS)), chance.randrange(RANKS))


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trial went.

    Attributes:
        seconds: from the fault to the error of the slowest member, at most as long as the client
            has waited; where a member told nothing, from ``submit`` to the client's error.
        hang: whether the error, or the task after it, did not come.
        wrong: what was promised and not kept, or "".
    """

    seconds: float
    hang: bool
    wrong: str


class Note(msgspec.Struct, frozen=True):
    """What one member tells of a trial.

    Attributes:
        at: when its fault was, or its error came, by the host's monotonic clock.
        error: the error, or "" for the fault.
        typed: whether it is a CommunicatorError.
        blamed: the group's rank that the error names.
    """

    at: float
    error: str = ""
    typed: bool = False
    blamed: int | None = None

    def leave(self, directory: str, name: str) -> None:
        """Write it, whole or not at all: it is read while ranks are still at work."""
        path = Path(directory) / name
        draft = path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(self))
        draft.rename(path)


def doomed(comm: ev.Communicator, trial: Trial, notes: str) -> None:
    """What each member runs; it ends by an error or not at all."""
    try:
        comm.barrier()
        if comm.rank == trial.victim:
            Note(time.monotonic()).leave(notes, "fault")
            ENDS[trial.end][0]()
        while True:  # the root of a gather, say, may be through before the others
            CALLS[trial.call](comm)
            comm.barrier()
    except Exception as error:
        blamed = error.rank if isinstance(error, CommunicatorError) else None
        typed = isinstance(error, CommunicatorError)
        said = f"{type(error).__name__}: {error}"
        Note(time.monotonic(), said, typed, blamed).leave(notes, str(comm.rank))
        raise


def total(comm: ev.Communicator) -> int:
    """A task that needs every rank."""
    return int(comm.allreduce(np.array(1)))


def attempt(tasks: ev.TaskManager, trial: Trial) -> Verdict:
    """Carry a trial out, and one healthy task after it."""
    gang = tasks.options(ranks=RANKS)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as notes:
        try:
            error = gang.submit(doomed, trial, notes).exception(PATIENCE_S)
            seconds = time.monotonic() - started
            # All members are at work again: what they had to tell of the trial is told.
            healthy = gang.submit(total).result(PATIENCE_S)
        except (NotInTime, ElevonError) as hang:
            return Verdict(time.monotonic() - started, True, f"{type(hang).__name__}: {hang}")
        told = _read(Path(notes))
    if healthy != RANKS:
        return Verdict(seconds, False, f"{healthy} ranks after it")
    fault = told.pop("fault", None)
    if fault is not None and told:
        seconds = max(note.at for note in told.values()) - fault.at
    return Verdict(seconds, False, _wrong(trial, error) or _wrong_note(trial, told))


def _read(notes: Path) -> dict[str, Note]:
    return {
        path.name: msgspec.json.decode(path.read_bytes(), type=Note)
        for path in notes.iterdir()
        if path.suffix != ".draft"
    }


def _wrong(trial: Trial, error: BaseException | None) -> str:
    expected = ENDS[trial.end][1]
    if not isinstance(error, expected):
        return f"{type(error).__name__} instead of {expected.__name__}: {error}"
    if error.rank != trial.victim and trial.end not in MUTUAL:
        return f"rank {error.rank} is blamed: {error}"
    return ""


def _wrong_note(trial: Trial, told: dict[str, Note]) -> str:
    """What a member besides the victim got that was not promised."""
    for rank in (str(rank) for rank in range(RANKS) if rank != trial.victim):
        if (note := told.get(rank)) is None:
            return f"rank {rank} tells nothing"
        if not note.typed or note.blamed is None:
            return f"rank {rank} got {note.error}"
        if note.blamed != trial.victim and trial.end not in MUTUAL:
            return f"rank {rank} blames {note.blamed}: {note.error}"
    return ""
