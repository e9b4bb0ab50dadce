"""What several commands share: their options, a local pilot, and the clock of the process."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

import elevon as ev
from elevon.model.pilots import CommunicatorKind

START_WITHIN_S = 60.0
_Command = TypeVar("_Command", bound=Callable[..., Any])


def count(text: Any) -> int:
    """A whole number of at least 1, also written as 1e6 or 9.1e6: a click type.

    Raises:
        click.BadParameter: it is none. What is not whole is refused rather than rounded.
    """
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        raise click.BadParameter(f"{text!r} is not a number") from None
    if not number.is_finite() or number != number.to_integral_value() or number < 1:
        raise click.BadParameter(f"{text!r} is not a whole number of at least 1")
    return int(number)


def counts(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    """A click callback: whole numbers of at least 1, divided by commas."""
    return tuple(count(number) for number in text.split(","))


def names_of(known: tuple[str, ...]) -> Any:
    """A click callback: a list of known names, divided by commas."""

    def parse(_: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        for name in names:
            if name not in known:
                raise click.BadParameter(f"{name!r} is none of {', '.join(known)}")
        if parameter.required and not names:
            raise click.BadParameter("at least one is needed")
        return names

    return parse


def pilot_options(command: _Command) -> _Command:
    """Add --ranks and --communicator."""
    ranks = click.option("--ranks", type=count, default=4, show_default=True, help="Ranks.")
    communicator = click.option(
        "--communicator",
        type=click.Choice(get_args(CommunicatorKind)),
        default="auto",
        show_default=True,
        help="How ranks talk to each other.",
    )
    return ranks(communicator(command))


def json_option(command: _Command) -> _Command:
    """Add --json, the form for programs: one object on standard output, nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def ends_within(pid: int, within_s: float) -> bool:
    """Whether a child ends in time. It is left to its owner to collect."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], within_s)[0])
    finally:
        os.close(descriptor)


@contextmanager
def local_pilot(description: ev.PilotDescription) -> Iterator[ev.TaskManager]:
    """A local pilot for one command; it has ended when the block is left.

    The block is entered before the ranks are up: what the client has to read can be read
    meanwhile. A pilot that cannot start fails the tasks that were given to it.
    """
    with ev.Session() as session:
        pilot = ev.PilotManager(session).submit(description)
        yield ev.TaskManager(session, pilots=[pilot])


def process_age_s() -> float:
    """Seconds since the kernel started this process.

    Both clocks count from boot. psutil's create_time is no use here: it goes through the boot
    time in /proc/stat, which is cut to whole seconds.
    """
    # The command's name stands in parentheses and may hold spaces; starttime is field 22.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


NOTED_WITHIN_S = 10.0


class FirstResult:
    """Notes how old the process was when the first of several tasks had its result."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted = threading.Event()
        self._age_s: float | None = None

    def watch(self, task: ev.Task) -> ev.Task:
        """Note the task's result; returns the task."""
        task.add_done_callback(self._note)
        return task

    @property
    def age_s(self) -> float:
        """The age of the process at the first result.

        A callback may run after those who wait for its task have gone on, so it is waited for.

        Raises:
            ValueError: no watched task has a result.
        """
        self._noted.wait(NOTED_WITHIN_S)
        if self._age_s is None:
            raise ValueError("no task has a result yet")
        return self._age_s

    def _note(self, task: Any) -> None:
        age_s = process_age_s()
        if task.cancelled() or task.exception() is not None:
            return
        with self._lock:
            self._age_s = age_s if self._age_s is None else min(self._age_s, age_s)
        self._noted.set()
