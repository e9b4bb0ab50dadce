"""One trial of ``elevon bench faults``: a member of a gang ends in the middle of a collective.

Before it: the public API and the contract's collectives. After it: ``faults`` makes many, the tests
a few. What is promised: the client gets one typed error that names the member, soon; and the pool
runs the next task on all its ranks.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

import elevon as ev
from elevon.errors import RankLost, TaskError, TaskFailed
from elevon.testing.communicators import COLLECTIVES

RANKS: Final = 4
# A trial that has not ended by then counts as a hang.
PATIENCE_S: Final = 30.0
LARGE: Final = 200_000


class Deliberate(Exception):
    """What a member raises that is to raise."""


def _raise() -> None:
    raise Deliberate("on purpose")


#: How a member ends, and the error that the client gets.
ENDS: Final[dict[str, tuple[Callable[[], object], type[TaskError]]]] = {
    "raise": (_raise, TaskFailed),
    "sys.exit": (lambda: sys.exit(3), TaskFailed),
    "os._exit": (lambda: os._exit(3), RankLost),
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), RankLost),
    "SIGSTOP": (lambda: os.kill(os.getpid(), signal.SIGSTOP), RankLost),
}


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
    def draw(cls, chance: random.Random) -> Trial:
        """One of all, by chance."""
        return cls(chance.choice(list(ENDS)), chance.choice(list(CALLS)), chance.randrange(RANKS))


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trial went.

    Attributes:
        seconds: from the call of ``submit`` to the error.
        hang: whether the error, or the task after it, did not come.
        wrong: what was promised and not kept, or "".
    """

    seconds: float
    hang: bool
    wrong: str


def doomed(comm: ev.Communicator, end: str, call: str, victim: int) -> None:
    """What each member runs; it ends by an error or not at all."""
    comm.barrier()
    if comm.rank == victim:
        ENDS[end][0]()
    while True:  # the root of a gather, say, may be through before the others
        CALLS[call](comm)
        comm.barrier()


def total(comm: ev.Communicator) -> int:
    """A task that needs every rank."""
    return int(comm.allreduce(np.array(1)))


def attempt(tasks: ev.TaskManager, trial: Trial) -> Verdict:
    """Carry a trial out, and one healthy task after it."""
    gang = tasks.options(ranks=RANKS)
    started = time.monotonic()
    try:
        error = gang.submit(doomed, trial.end, trial.call, trial.victim).exception(PATIENCE_S)
        seconds = time.monotonic() - started
        healthy = gang.submit(total).result(PATIENCE_S)
    except NotInTime:
        return Verdict(time.monotonic() - started, True, "no answer")
    wrong = _wrong(trial, error)
    return Verdict(seconds, False, wrong if healthy == RANKS else f"{healthy} ranks after it")


def _wrong(trial: Trial, error: BaseException | None) -> str:
    expected = ENDS[trial.end][1]
    if not isinstance(error, expected):
        return f"{type(error).__name__} instead of {expected.__name__}: {error}"
    if error.rank != trial.victim:
        return f"rank {error.rank} is blamed: {error}"
    return ""
