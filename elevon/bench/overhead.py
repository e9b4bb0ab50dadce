"""``elevon bench overhead``: what the runtime costs a task that does nothing.

Tasks are submitted one after the other, so that a figure is a latency and not a queue. Two pilots
run in turn: one that builds a communicator for every task, one that keeps them. All moments are of
one host's monotonic clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import asdict, dataclass
from typing import Any, Final

import click
import msgspec

import elevon as ev
from elevon.cli.common import count, json_option, local_pilot, pilot_options, process_age_s

#: The first tasks of each gang size import modules and fill caches; they are not counted.
WARM_UP: Final = 10
THROUGHPUT_TASKS: Final = 2000
#: Enough that every rank has had the function.
FLOOD_WARM_UP: Final = 100
TASK_WITHIN_S: Final = 60.0
BATCH_WITHIN_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Median and 99th percentile, in seconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Latencies:
    """Gangs of one size on one pilot.

    Attributes:
        communicator_s: the communicator phase, of the slowest member of each task.
        entry_s: from the call of ``submit`` to the entry into the function on all ranks.
        result_s: from the call of ``submit`` to the result at the client.
    """

    communicator_s: Quantiles
    entry_s: Quantiles
    result_s: Quantiles


@dataclass(frozen=True, slots=True)
class Gang:
    """One gang size: every communicator built, and communicators kept."""

    ranks: int
    tasks: int
    built: Latencies
    cached: Latencies

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        cached = {
            f"{name.removesuffix('_s')}_cached_s": quantiles
            for name, quantiles in asdict(self.cached).items()
        }
        return {"ranks": self.ranks, "tasks": self.tasks, **asdict(self.built), **cached}


@dataclass(frozen=True, slots=True)
class Throughput:
    """No-op functions on gangs of one rank, submitted at once."""

    tasks: int
    seconds: float

    @property
    def tasks_per_s(self) -> float:
        """Tasks by seconds, from the first call of ``submit`` to the last result."""
        return self.tasks / self.seconds


@dataclass(frozen=True, slots=True)
class Overhead:
    """All figures of one run; ``start_s`` is from the process's start to its first result."""

    start_s: float
    gangs: tuple[Gang, ...]
    throughput: Throughput

    def to_json(self) -> str:
        """One JSON object."""
        throughput = {**asdict(self.throughput), "tasks_per_s": self.throughput.tasks_per_s}
        return json.dumps(
            {
                "start_s": self.start_s,
                "gangs": [gang.as_dict() for gang in self.gangs],
                "warm_up_tasks": WARM_UP,
                "throughput": throughput,
            }
        )

    def __str__(self) -> str:
        lines = [
            f"process start to first result: {self.start_s:.3f} s",
            f"latencies in ms (p50 / p99), tasks one after the other, {WARM_UP} not counted:",
        ]
        for gang in self.gangs:
            for kind, figures in (("built", gang.built), ("cached", gang.cached)):
                columns = "  ".join(
                    f"{name} {q['p50'] * 1e3:6.2f} /{q['p99'] * 1e3:6.2f}"
                    for name, q in asdict(figures).items()
                )
                lines.append(f"  {gang.ranks} ranks, {gang.tasks} tasks, {kind:>6}: {columns}")
        done = self.throughput
        lines.append(f"{done.tasks} no-op tasks of 1 rank at once: {done.tasks_per_s:,.0f} per s")
        return "\n".join(lines)


@click.command()
@pilot_options
@click.option("--tasks", type=count, default=200, show_default=True, help="Per gang size.")
@json_option
def command(ranks: int, communicator: str, tasks: int, as_json: bool) -> None:
    """Measure private communicators, the way of an empty task, and tasks per second.

    Gangs have 2 ranks and --ranks ranks. JSON: communicator_s and entry_s are of tasks whose
    communicator is really built; those with "cached" of tasks that find theirs kept.
    """
    description = ev.PilotDescription(
        ranks=ranks,
        communicator=communicator,
    )
    found = measure(description, tasks)
    click.echo(found.to_json() if as_json else str(found))


def measure(description: ev.PilotDescription, tasks: int) -> Overhead:
    """Run the tasks on both pilots, the one without a cache first."""
    sizes = sorted({min(2, description.ranks), description.ranks})
    with local_pilot(msgspec.structs.replace(description, communicator_cache=0)) as manager:
        manager.submit(nothing).result(TASK_WITHIN_S)
        start_s = process_age_s()
        built = [latencies(manager, size, tasks) for size in sizes]
    with local_pilot(description) as manager:
        cached = [latencies(manager, size, tasks) for size in sizes]
        throughput = flood(manager, THROUGHPUT_TASKS)
    gangs = (Gang(size, tasks, *pair) for size, *pair in zip(sizes, built, cached, strict=True))
    return Overhead(start_s, tuple(gangs), throughput)


def latencies(manager: ev.TaskManager, ranks: int, tasks: int) -> Latencies:
    """Submit ``WARM_UP + tasks`` empty functions, each after the result of the one before."""
    gang = manager.options(ranks=ranks, returns="all")
    entries, results, ids = [], [], set()
    for _ in range(WARM_UP + tasks):
        submitted = time.monotonic()
        task = gang.submit(entered)
        moments = task.result(TASK_WITHIN_S)
        results.append(time.monotonic() - submitted)
        entries.append(max(moments) - submitted)
        ids.add(task.id)
    communicator = [
        max(part.phases["communicator"] for part in row.parts)
        for row in manager.report().tasks
        if row.task in ids
    ]
    return Latencies(*(_quantiles(times[WARM_UP:]) for times in (communicator, entries, results)))


def flood(manager: ev.TaskManager, tasks: int) -> Throughput:
    """Submit all at once, wait for all."""
    wait([manager.submit(nothing) for _ in range(FLOOD_WARM_UP)], BATCH_WITHIN_S)
    started = time.monotonic()
    for future in [manager.submit(nothing) for _ in range(tasks)]:
        future.result(BATCH_WITHIN_S)
    return Throughput(tasks, time.monotonic() - started)


def entered(comm: ev.Communicator) -> float:
    """The empty function: tells when it was entered."""
    return time.monotonic()


def nothing() -> None:
    """The no-op function."""


def _quantiles(seconds: Sequence[float]) -> Quantiles:
    import numpy as np  # here: the first pilot is started before it is needed

    p50, p99 = np.percentile(seconds, [50, 99])
    return Quantiles(round(float(p50), 7), round(float(p99), 7))
