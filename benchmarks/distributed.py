"""The distributed join or sort over MPI, beside the local kernel with as many threads.

The papers' table: two int64 columns, uniform in [0, 0.9 * max), where max is all rows (strong
scaling: --rows is the total) or the rows of all ranks together (weak: --rows is per rank). The two
take turns, and both count rows and add up a checksum that does not depend on the order and has
to agree. ``phases`` says where rank 0's time goes: in each kernel and in the exchange (which
includes waiting for slower ranks); "other" is Python and Arrow's imports and exports.

    mpiexec -n 4 python benchmarks/distributed.py --op join --rows 9.1e6
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from elevon import _native
from elevon.comm.mpi import MpiWorld
from elevon.comm.protocol import Communicator
from elevon.comm.timed import TimedCommunicator
from elevon.frames.distributed import join, sort
from elevon.frames.ordering import plan_sort
from elevon.frames.planning import plan_join, run_join

UNIQUE = 0.9
KERNELS = (
    "partition",
    "partition_numbered",
    "pack_slices",
    "unpack",
    "hash_join",
    "sort",
    "merge",
    "take",
)
MIX = np.uint64(0x9E3779B97F4A7C15)


def table_of(rank: int, rows: int, largest: int, names: tuple[str, str]) -> pa.Table:
    """One rank's part; the two sides of a join differ by their seed."""
    rng = np.random.default_rng([rank, *names[1].encode()])
    high = max(1, int(UNIQUE * largest))
    return pa.table({name: rng.integers(0, high, rows, dtype=np.int64) for name in names})


def checksum(table: pa.Table) -> int:
    """A sum over the rows of a mix of their values: the same for the same rows in any order."""
    mixed = np.zeros(table.num_rows, dtype=np.uint64)
    for number, column in enumerate(table.columns):
        values = np.concatenate([c.to_numpy() for c in column.chunks] or [np.empty(0, np.int64)])
        mixed = (mixed ^ (values.view(np.uint64) + np.uint64(number))) * MIX
        mixed ^= mixed >> np.uint64(29)
    return int(mixed.sum(dtype=np.uint64))


class Phases:
    """Adds up the seconds that the kernels took, while they are called by somebody else."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Replace the kernels by timed ones."""
        originals = {name: getattr(_native, name) for name in KERNELS}
        try:
            for name, kernel in originals.items():
                setattr(_native, name, self._timed(name, kernel))
            yield
        finally:
            for name, kernel in originals.items():
                setattr(_native, name, kernel)

    def _timed(self, name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            started = time.perf_counter()
            try:
                return kernel(*args)
            finally:
                self.add(name, time.perf_counter() - started)

        return call

    def add(self, name: str, seconds: float) -> None:
        """More time in one phase."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


class Case:
    """One operation, distributed and local, on the same rows."""

    def __init__(self, comm: Communicator, op: str, per_rank: int, threads: int) -> None:
        self.comm, self.op, self.threads = comm, op, threads
        largest = per_rank * comm.size
        sides = [("k", "a"), ("k", "b")] if op == "join" else [("k", "a")]
        self.own = [table_of(comm.rank, per_rank, largest, names) for names in sides]
        self.whole = []
        if comm.rank == 0:
            ranks = range(comm.size)
            self.whole = [
                pa.concat_tables([table_of(r, per_rank, largest, names) for r in ranks])
                for names in sides
            ]

    def distributed(self, comm: Communicator) -> pa.Table:
        """Every rank's part of the result."""
        if self.op == "join":
            return join(comm, *self.own, ["k"], ["k"], threads=self.threads)
        return sort(comm, self.own[0], "k", threads=self.threads)

    def local(self, threads: int) -> pa.Table:
        """The whole result, on rank 0."""
        if self.op == "join":
            left, right = self.whole
            plan = plan_join(left.schema, right.schema, ["k"], ["k"])
            return run_join(plan, left, right, threads=threads)
        return plan_sort(self.whole[0].schema, "k").sort(self.whole[0], threads)


def timed_distributed(case: Case, comm: Communicator) -> tuple[float, dict[str, float], pa.Table]:
    """One run between two barriers: seconds of the slowest rank, phases of this one, its rows."""
    phases, clock = Phases(), TimedCommunicator(comm, time.perf_counter)
    comm.barrier()
    started = time.perf_counter()
    with phases.watching():
        result = case.distributed(clock)
    own = time.perf_counter() - started
    phases.add("exchange", clock.seconds)
    phases.add("other", own - sum(phases.seconds.values()))
    wall = comm.allreduce(np.array([own]), "max")
    return float(wall[0]), phases.seconds, result


def timed_local(case: Case, comm: Communicator) -> tuple[float, pa.Table | None]:
    """The local kernel on rank 0, while the others wait."""
    comm.barrier()
    started = time.perf_counter()
    result = case.local(min(comm.size, os.cpu_count() or 1)) if comm.rank == 0 else None
    seconds = time.perf_counter() - started
    comm.barrier()
    return seconds, result


def measure(comm: Communicator, op: str, per_rank: int, repeats: int, threads: int) -> Any:
    """All runs of one operation; the summary is rank 0's."""
    case = Case(comm, op, per_rank, threads)
    runs, locals_, sums, rows, expected = [], [], [], 0, (0, 0)
    for turn in range(repeats + 1):
        wall, phases, result = timed_distributed(case, comm)
        share = np.array([result.num_rows, checksum(result)], dtype=np.uint64)
        total = comm.allreduce(share, "sum")
        del result
        local_s, whole = timed_local(case, comm)
        if whole is not None:
            expected = (whole.num_rows, checksum(whole))
            if expected != (int(total[0]), int(total[1])):
                raise SystemExit(f"the results differ: {total.tolist()} and {expected}")
        del whole
        rows, sums = int(total[0]), [int(total[1])]
        if turn:  # the first one warms the buffers up
            runs.append((wall, phases))
            locals_.append(local_s)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peaks = comm.allgather(np.array([peak], dtype=np.int64))
    middle = sorted(runs, key=lambda run: run[0])[len(runs) // 2]
    return {
        "op": op,
        "ranks": comm.size,
        "threads_per_rank": threads,
        "rows": per_rank * comm.size,
        "median_s": round(statistics.median(wall for wall, _ in runs), 4),
        "min_s": round(min(wall for wall, _ in runs), 4),
        "local_threads": min(comm.size, os.cpu_count() or 1),
        "local_median_s": round(statistics.median(locals_), 4),
        "local_min_s": round(min(locals_), 4),
        "rows_out": rows,
        "checksum": sums[0],
        "phases": {name: round(seconds, 4) for name, seconds in sorted(middle[1].items())},
        "peak_rss_bytes": int(peaks.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", choices=["join", "sort"], action="append")
    parser.add_argument("--rows", type=float, default=9.1e6)
    parser.add_argument("--scaling", choices=["strong", "weak"], default="strong")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="for the kernels of each rank")
    options = parser.parse_args()
    comm = open_world()
    share = comm.size if options.scaling == "strong" else 1
    results = [
        measure(comm, op, int(options.rows) // share, options.repeats, options.threads)
        for op in options.op or ["join", "sort"]
    ]
    if comm.rank == 0:
        json.dump({"scaling": options.scaling, "results": results}, sys.stdout, indent=2)
        print()
    comm.close()


def open_world() -> Communicator:
    """One group of all ranks that mpiexec started."""
    world = MpiWorld.join()
    return world.open_group(world.slots, context=1, timeout_s=None)


if __name__ == "__main__":
    main()
