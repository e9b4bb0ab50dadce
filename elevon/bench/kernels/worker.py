"""One engine with its tables in a process of its own, told by lines on standard input.

A line is an operation, an answer is one line of JSON (a Lap). Memory is that of this process alone:
the kernel's high-water mark is set back before each run.
"""

from __future__ import annotations

import sys
import time
from typing import IO, Final

import msgspec
import pyarrow as pa

from elevon.bench.kernels.engines import ENGINES, Engine
from elevon.bench.kernels.memory import forget_peak, peak_bytes
from elevon.bench.kernels.workload import Workload, checksum, in_order

OPERATIONS: Final = ("join", "sort")
READY: Final = b"ready\n"


class Assignment(msgspec.Struct, frozen=True):
    """What one worker is: an engine, its threads, its workload."""

    engine: str
    threads: int
    work: Workload


class Lap(msgspec.Struct, frozen=True):
    """One run of one operation.

    Attributes:
        seconds: of the operation alone.
        rows_out: rows of the result.
        checksum: of the result's rows in any order.
        nbytes: of the result in Arrow's form.
        peak_rss_bytes: the largest resident memory of the process while it ran.
    """

    seconds: float
    rows_out: int
    checksum: str
    nbytes: int
    peak_rss_bytes: int


def main() -> None:
    """Load the tables, say so, and do what each line asks for until the input ends."""
    assignment = msgspec.json.decode(sys.argv[1], type=Assignment)
    engine = ENGINES[assignment.engine](assignment.work, assignment.threads)
    # The tables were made with more memory than they keep.
    pa.default_memory_pool().release_unused()
    answers = sys.stdout.buffer
    _say(answers, READY)
    for line in sys.stdin:
        lap = run(engine, line.strip(), assignment.work.key_names)
        _say(answers, msgspec.json.encode(lap) + b"\n")


def run(engine: Engine, operation: str, keys: list[str]) -> Lap:
    """One run and, outside the clock, its check.

    Raises:
        ValueError: a sorted result is not in order.
    """
    do = {"join": engine.join, "sort": engine.sort}[operation]
    forget_peak()
    started = time.perf_counter()
    result = do()
    seconds = time.perf_counter() - started
    peak = peak_bytes()
    table = engine.arrow(result)
    if operation == "sort" and not in_order(table, keys):
        raise ValueError("the sorted table is not in order")
    return Lap(seconds, table.num_rows, checksum(table), table.nbytes, peak)


def _say(answers: IO[bytes], line: bytes) -> None:
    answers.write(line)
    answers.flush()


if __name__ == "__main__":
    main()
