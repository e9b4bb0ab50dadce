"""How many decisions per second the pure scheduler makes, and whether that stays so.

A decision is a command: this gang starts there, this task has ended so. A task of one rank is two
events and two decisions. Making the events (which the wire does) and reading the commands (which
the reactor does) is not counted. Rates are per second of processor time, which on an idle machine
is wall time; that of events is given for every tenth of the tasks, to show that it does not fall
with the number of tasks done. One JSON object; the checksum is over every placement.

    python benchmarks/scheduler.py --tasks 1e6 --ranks 40000 --ranks-per-node 40 --sizes 1
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import zlib
from collections import deque
from collections.abc import Iterator

from elevon.agent.scheduling.events import (
    Command,
    EndTask,
    Event,
    PartEnded,
    RankJoined,
    Released,
    StartGang,
    Submitted,
)
from elevon.agent.scheduling.scheduler import Scheduler
from elevon.model.ids import RankId, TaskId
from elevon.model.operations import Call
from elevon.model.outcomes import PartOutcome
from elevon.model.tasks import TaskDescription, TaskOptions, TaskSubmission

CHUNK = 1_000
FUNCTION = Call(function="0" * 64, arguments=b"")
OUTCOME = PartOutcome(value=b"\x80\x04N.")


class World:
    """Ranks that end their parts in the order in which they got them, and a patient client."""

    def __init__(self, tasks: int, sizes: list[int], release: bool) -> None:
        self._to_submit = iter(range(tasks))
        descriptions = {
            size: TaskDescription(operation=FUNCTION, options=TaskOptions(ranks=size))
            for size in sizes
        }
        self._descriptions = [descriptions[size] for size in sizes]
        self._release = release
        self._parts: deque[PartEnded] = deque()
        self._released: list[Event] = []
        self.ended = self.checksum = 0

    def submissions(self, count: int) -> Iterator[Event]:
        """At most so many tasks more."""
        for _, number in zip(range(count), self._to_submit, strict=False):
            description = self._descriptions[number % len(self._descriptions)]
            task = TaskId(f"task.bench.{number:07d}")
            yield Submitted(TaskSubmission(task, description, 0.0), 0.0)

    def news(self, count: int) -> list[Event]:
        """Ends of at most so many parts, and releases."""
        parts = [self._parts.popleft() for _ in range(min(count, len(self._parts)))]
        released, self._released = self._released, []
        return [*parts, *released]

    def carry_out(self, commands: list[Command]) -> None:
        """Read what the scheduler has decided."""
        for command in commands:
            if isinstance(command, StartGang):
                self._start(command)
            elif isinstance(command, EndTask):
                self.ended += 1
                if self._release:
                    self._released.append(Released(command.task, 0.0))

    def _start(self, command: StartGang) -> None:
        task, attempt = command.submission.task, command.attempt
        self.checksum = zlib.crc32(f"{task} {command.ranks}".encode(), self.checksum)
        for rank in command.ranks:
            self._parts.append(PartEnded(task, attempt, rank, OUTCOME, 0.0))


class Meter:
    """Times the scheduler alone."""

    def __init__(self, scheduler: Scheduler, world: World) -> None:
        self._step = scheduler.step
        self._world = world
        self.events = 0
        self.commands = 0
        self.seconds = 0.0
        self.wall_s = 0.0

    def feed(self, events: list[Event]) -> None:
        """Work on these events, then let the world carry out what follows."""
        step = self._step
        answers = []
        start, wall = time.process_time(), time.perf_counter()
        for event in events:
            answers.append(step(event))  # noqa: PERF401 - the loop is what is timed
        self.seconds += time.process_time() - start
        self.wall_s += time.perf_counter() - wall
        self.events += len(events)
        for commands in answers:
            self.commands += len(commands)
            self._world.carry_out(commands)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """The whole run."""
    tasks, ranks = int(arguments.tasks), int(arguments.ranks)
    world = World(tasks, [int(size) for size in arguments.sizes.split(",")], arguments.release)
    scheduler = Scheduler(ranks=ranks, communicator_cache=arguments.communicator_cache)
    for rank in range(ranks):
        node = f"node{rank // arguments.ranks_per_node}"
        scheduler.step(RankJoined(RankId(rank), node, f"{node}:{rank}", 0.0))
    gc.collect()
    meter, tenths = Meter(scheduler, world), []
    # The backlog keeps all ranks busy, so that most tasks wait in the queue before they start.
    meter.feed(list(world.submissions(2 * ranks)))
    done, events, seconds = world.ended, meter.events, meter.seconds
    while world.ended < tasks:
        meter.feed([*world.news(CHUNK), *world.submissions(CHUNK)])
        if world.ended - done >= tasks / 10 or world.ended == tasks:
            tenths.append(round((meter.events - events) / (meter.seconds - seconds)))
            done, events, seconds = world.ended, meter.events, meter.seconds
    return {
        "tasks": tasks,
        "ranks": ranks,
        "ranks_per_node": arguments.ranks_per_node,
        "sizes": arguments.sizes,
        "release": arguments.release,
        "decisions_per_s": round(meter.commands / meter.seconds),
        "tasks_per_s": round(world.ended / meter.seconds),
        "events_per_s": round(meter.events / meter.seconds),
        "events_per_s_by_tenth": tenths,
        "cpu_s": round(meter.seconds, 3),
        "wall_s": round(meter.wall_s, 3),
        "known_at_end": scheduler.statistics().known,
        "python": sys.version.split()[0],
        "checksum": f"{world.checksum:08x}",
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=float, default=1e6)
    parser.add_argument("--ranks", type=float, default=40_000)
    parser.add_argument("--ranks-per-node", type=int, default=40)
    parser.add_argument("--sizes", default="1", help="gang sizes in turn, such as 1,1,4,16")
    parser.add_argument("--communicator-cache", type=int, default=256)
    parser.add_argument("--release", action="store_true", help="the client lets go of each result")
    print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
    main()
