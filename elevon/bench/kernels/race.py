"""The engines take turns: one runs, the others wait, and what they give must agree.

Every wait has a limit: a worker that dies or hangs ends the run with a message that names it.
"""

from __future__ import annotations

import selectors
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Final

import msgspec

from elevon.bench.kernels.engines import ONE_THREAD
from elevon.bench.kernels.roof import Roof, measure
from elevon.bench.kernels.worker import OPERATIONS, READY, Assignment, Lap
from elevon.bench.kernels.workload import Workload

#: For one run, or for loading the tables.
TURN_WITHIN_S: Final = 600.0
END_WITHIN_S: Final = 20.0


class RaceFailed(Exception):
    """An engine died, hung, or gave other rows than the first one."""


@dataclass(frozen=True, slots=True)
class Result:
    """One operation of one engine.

    Attributes:
        op: join or sort.
        engine: its name.
        threads: how many it was given.
        median_s: of the warm runs.
        min_s: the fastest of them.
        rows_out: rows of the result.
        checksum: of its rows in any order; the same for all engines.
        peak_rss_bytes: the largest of any run; of the engine's own process.
        in_bytes: of the input in Arrow's form.
        out_bytes: of the result in Arrow's form.
        limit_s: input once read and result once written, at the measured speed of copying.
    """

    op: str
    engine: str
    threads: int
    median_s: float
    min_s: float
    rows_out: int
    checksum: str
    peak_rss_bytes: int
    in_bytes: int
    out_bytes: int
    limit_s: float


@dataclass(frozen=True, slots=True)
class Race:
    """All results of one run, and the memory they ran on (all threads at once)."""

    rows: int
    keys: tuple[str, ...]
    distribution: str
    payload: int
    copy_gb_per_s: float
    read_gb_per_s: float
    results: tuple[Result, ...]


def race(work: Workload, engines: Sequence[str], threads: Sequence[int], repeats: int) -> Race:
    """Run both operations on every engine, ``repeats`` times after a warm-up, by turns.

    Raises:
        RaceFailed: see there.
    """
    roof = measure(max(threads))
    left, right = work.table("left").nbytes, work.table("right").nbytes
    in_bytes = {"join": left + right, "sort": left}
    entries = [
        Assignment(engine, count, work)
        for engine in engines
        for count in ([1] if engine in ONE_THREAD else sorted(set(threads)))
    ]
    with ExitStack() as stack:
        workers = [stack.enter_context(_started(entry)) for entry in entries]
        for worker in workers:
            worker.wait_ready()
        results = [
            result
            for op in OPERATIONS
            for result in _rounds(op, workers, repeats, in_bytes[op], roof)
        ]
    return Race(
        work.rows,
        work.keys,
        work.distribution,
        work.payload,
        roof.copy_gb_per_s,
        roof.read_gb_per_s,
        tuple(results),
    )


def _rounds(
    op: str, workers: Sequence[_Worker], repeats: int, in_bytes: int, roof: Roof
) -> Iterator[Result]:
    laps: dict[str, list[Lap]] = {worker.name: [] for worker in workers}
    for _ in range(repeats + 1):
        for worker in workers:
            laps[worker.name].append(worker.run(op))
    _check_agreement(op, laps)
    for worker in workers:
        yield _result(op, worker.assignment, laps[worker.name], in_bytes, roof)


def _result(op: str, entry: Assignment, laps: Sequence[Lap], in_bytes: int, roof: Roof) -> Result:
    warm = [lap.seconds for lap in laps[1:]]
    # Read and written bytes both pass: a copy of n bytes is n read and n written.
    moved = (in_bytes + laps[0].nbytes) / 2
    return Result(
        op=op,
        engine=entry.engine,
        threads=entry.threads,
        median_s=round(statistics.median(warm), 5),
        min_s=round(min(warm), 5),
        rows_out=laps[0].rows_out,
        checksum=laps[0].checksum,
        peak_rss_bytes=max(lap.peak_rss_bytes for lap in laps),
        in_bytes=in_bytes,
        out_bytes=laps[0].nbytes,
        limit_s=round(moved / roof.copy_gb_per_s / 1e9, 5),
    )


def _check_agreement(op: str, laps: dict[str, list[Lap]]) -> None:
    found = {
        name: {(lap.rows_out, lap.checksum) for lap in of_one} for name, of_one in laps.items()
    }
    if len(set.union(*found.values())) > 1:
        told = "; ".join(f"{name}: {sorted(each)}" for name, each in found.items())
        raise RaceFailed(f"{op}: the engines disagree in rows or checksum: {told}")


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self, assignment: Assignment, process: subprocess.Popen[bytes]) -> None:
        self.assignment = assignment
        self.name = f"{assignment.engine} with {assignment.threads} threads"
        self._process = process

    def wait_ready(self) -> None:
        """Until the tables are loaded."""
        if (said := self._line("loading its tables")) != READY:
            raise RaceFailed(f"{self.name} says {said!r} instead of {READY!r}")

    def run(self, op: str) -> Lap:
        """One run."""
        self._input.write(op.encode() + b"\n")
        self._input.flush()
        return msgspec.json.decode(self._line(op), type=Lap)

    def _line(self, doing: str) -> bytes:
        """The next line; a worker writes it at once, so its first byte means all of it."""
        output = self._process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            if not selector.select(TURN_WITHIN_S):
                raise RaceFailed(f"{self.name}: no answer within {TURN_WITHIN_S:g} s of {doing}")
        if line := output.readline():
            return line
        status = self._process.wait(END_WITHIN_S)
        why = "killed, perhaps for want of memory" if status == -9 else f"status {status}"
        raise RaceFailed(f"{self.name} ended while {doing} ({why}); its messages are above")

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin


@contextmanager
def _started(assignment: Assignment) -> Iterator[_Worker]:
    """A worker process that has ended when the block is left."""
    command = [sys.executable, "-m", "elevon.bench.kernels.worker"]
    process = subprocess.Popen(
        [*command, msgspec.json.encode(assignment).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            yield _Worker(assignment, process)
        finally:
            # It holds tables and nothing else: there is nothing to end in order.
            process.kill()
