"""``elevon bench faults``: members of gangs end in collectives, many times, by chance."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import psutil

import elevon as ev
from elevon.bench.fault_trials import (
    ENDS,
    PATIENCE_S,
    RANKS,
    TCP_ONLY,
    Trial,
    Verdict,
    attempt,
    total,
)
from elevon.cli.common import count, json_option

#: What was started for the trials has this long to be gone after them.
GONE_WITHIN_S: Final = 5.0


class Faults(msgspec.Struct, frozen=True):
    """What the command prints.

    Attributes:
        trials: how many were made.
        hangs: how many did not end, or left a pool that did not work.
        untyped: how many ended with another error than promised, or one that blames another rank.
        worst_s: the longest time from the fault to the error of a member.
        median_s: the middle one.
        worst_by_end_s: the longest of each way to end.
        leaks: descriptors of this process, processes and shared memory that are left.
        findings: what was wrong, trial by trial.
    """

    trials: int
    hangs: int
    untyped: int
    worst_s: float
    median_s: float
    worst_by_end_s: dict[str, float]
    leaks: int
    findings: list[str]

    def __str__(self) -> str:
        lines = [
            f"{self.trials} trials: {self.hangs} hangs, {self.untyped} untyped, {self.leaks} leaks",
            f"from fault to error {self.median_s:.3f} s (median), worst: "
            + ", ".join(f"{end} {each:.3f} s" for end, each in self.worst_by_end_s.items()),
        ]
        return "\n".join([*lines, *self.findings])


@click.command()
@click.option("--trials", type=count, default=1000, show_default=True, help="How many.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the chance.")
@click.option("--communicator", type=click.Choice(["tcp", "mpi"]), default="tcp", show_default=True)
@json_option
def command(trials: int, seed: int, communicator: str, as_json: bool) -> None:
    """End members of gangs of 4 in collectives: by an exception, an exit, a signal.

    Each time the client has to get one typed error that names the member, and the next task has
    to find all ranks at work.
    """
    found = run(trials, seed, communicator)
    click.echo(msgspec.json.encode(found).decode() if as_json else str(found))


def run(trials: int, seed: int, communicator: Any) -> Faults:
    """Make the trials on one pilot."""
    chance = random.Random(seed)
    before = _belongings()
    with ev.Session() as session:
        description = ev.PilotDescription(ranks=RANKS, communicator=communicator)
        pilot = ev.PilotManager(session).submit(description)
        tasks = ev.TaskManager(session, pilots=[pilot])
        # The first task waits for the ranks; that is no part of a trial.
        tasks.options(ranks=RANKS).submit(total).result(PATIENCE_S)
        ends = [end for end in ENDS if communicator == "tcp" or end not in TCP_ONLY]
        drawn = [Trial.draw(chance, ends) for _ in range(trials)]
        verdicts = [(trial, attempt(tasks, trial)) for trial in drawn]
    left = _left_since(before)
    times = sorted(verdict.seconds for _, verdict in verdicts)
    return Faults(
        trials=trials,
        hangs=sum(verdict.hang for _, verdict in verdicts),
        untyped=sum(bool(verdict.wrong) and not verdict.hang for _, verdict in verdicts),
        worst_s=round(times[-1], 4),
        median_s=round(times[len(times) // 2], 4),
        worst_by_end_s=_worst(verdicts),
        leaks=len(left),
        findings=[f"{trial}: {verdict.wrong}" for trial, verdict in verdicts if verdict.wrong]
        + [f"left behind: {each}" for each in left],
    )


def _worst(verdicts: list[tuple[Trial, Verdict]]) -> dict[str, float]:
    worst: dict[str, float] = {}
    for trial, verdict in verdicts:
        worst[trial.end] = max(worst.get(trial.end, 0.0), round(verdict.seconds, 4))
    return dict(sorted(worst.items()))


def _belongings() -> set[str]:
    """What this process has, and what it has started."""
    me = psutil.Process()
    descriptors = {f"descriptor {fd}" for fd in os.listdir("/proc/self/fd")}
    children = {f"process {child.pid}" for child in me.children(recursive=True)}
    segments = {
        str(path) for path in Path("/dev/shm").iterdir() if path.stat().st_uid == os.getuid()
    }
    return descriptors | children | segments


def _left_since(before: set[str]) -> list[str]:
    deadline = time.monotonic() + GONE_WITHIN_S
    family = psutil.Process().children(recursive=True)
    ours = [child for child in family if f"process {child.pid}" not in before]
    psutil.wait_procs(ours, timeout=GONE_WITHIN_S)
    left = _belongings() - before
    # Threads that are ending still close what they hold.
    while left and time.monotonic() < deadline:
        os.sched_yield()
        left = _belongings() - before
    return sorted(left)
