"""What each rank of ``elevon bench distributed`` runs: the operator, then the local kernel.

Rank 0 holds the whole tables for the local kernel, but only after the memory of the operator has
been measured.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from elevon.bench import worlds
from elevon.bench.kernels.memory import forget_peak, peak_bytes, resident_bytes
from elevon.bench.kernels.workload import Side, Workload, checksum
from elevon.comm.base.timed import TimedCommunicator
from elevon.comm.protocol import Communicator
from elevon.frames import kernels
from elevon.frames.join_sort import distributed

SIDES: Final[tuple[Side, ...]] = ("left", "right")
#: Loads every library and opens every connection before memory is measured.
WARM_UP_ROWS: Final = 1000


class Order(msgspec.Struct, frozen=True):
    """What to measure: an operation on ``rows`` rows a rank, ``repeats`` times after a warm-up."""

    op: str
    rows: int
    repeats: int


class Measured(msgspec.Struct, frozen=True):
    """One world.

    Attributes:
        op: join or sort.
        communicator: mpi, tcp, or tcp-sockets, where nothing goes around the sockets.
        ranks: of the world, each with one thread.
        rows: of each table, of all ranks together.
        median_s: of the warm runs, from a barrier to the end of the slowest rank.
        min_s: the fastest of them.
        exchange_s: of it in the communicator, waiting for slower ranks included; median, rank 0.
        rows_out: rows of the result.
        checksum: of the result's rows in any order; the local kernel's is the same.
        local_threads: of the local kernel.
        local_median_s: of the local kernel on the same rows, warm, taking turns.
        local_min_s: the fastest of these.
        in_bytes: of the tables in Arrow's form, all ranks together.
        peak_rss_bytes: the sum over the ranks of their largest resident memory in the operator.
        base_rss_bytes: the same before there were tables: interpreter, libraries,
            connections.
    """

    op: str
    communicator: str
    ranks: int
    rows: int
    median_s: float
    min_s: float
    exchange_s: float
    rows_out: int
    checksum: str
    local_threads: int
    local_median_s: float
    local_min_s: float
    in_bytes: int
    peak_rss_bytes: int
    base_rss_bytes: int

    @property
    def peak_by_input(self) -> float:
        """How many times its input the operator held."""
        return (self.peak_rss_bytes - self.base_rss_bytes) / self.in_bytes


class Case:
    """One operation on this rank's share, and on rank 0 locally on all."""

    def __init__(self, comm: Communicator, order: Order) -> None:
        self.op = order.op
        sides = SIDES if order.op == "join" else SIDES[:1]
        self._works = [Workload(order.rows, part=r, parts=comm.size) for r in range(comm.size)]
        self._sides = sides
        self.own = [self._works[comm.rank].table(side) for side in sides]
        self._whole: list[pa.Table] = []

    def run(self, comm: Communicator) -> pa.Table:
        """This rank's part of the result."""
        if self.op == "join":
            left, right = self.own
            return distributed.join(comm, left, right, left_on=["k"], right_on=["k"])
        return distributed.sort(comm, self.own[0], "k")

    def gather(self) -> None:
        """Make the whole tables."""
        self._whole = [
            pa.concat_tables([work.table(side) for work in self._works]).combine_chunks()
            for side in self._sides
        ]

    def run_local(self, threads: int) -> pa.Table:
        """The whole result."""
        if self.op == "join":
            left, right = self._whole
            return kernels.join(left, right, on="k", threads=threads)
        return kernels.sort(self._whole[0], by="k", threads=threads)


def measure(place: worlds.Place, order: Order) -> Measured | None:
    """All runs; the figures on rank 0, None on the others.

    Raises:
        ValueError: the operator and the local kernel gave different rows.
    """
    comm = place.comm
    Case(comm, msgspec.structs.replace(order, rows=WARM_UP_ROWS)).run(comm)
    base = resident_bytes()
    case = Case(comm, order)
    forget_peak()
    _, _, result = _timed(case, comm)
    peak = peak_bytes()
    nbytes = sum(table.nbytes for table in case.own)
    memory = comm.allreduce(np.array([nbytes, peak, base], np.int64))
    agreed = _summary(comm, result)
    del result
    if comm.rank == 0:
        case.gather()
    threads = min(comm.size, len(os.sched_getaffinity(0)))
    laps = [_turn(case, comm, threads, agreed, warm > 0) for warm in range(order.repeats + 1)][1:]
    if comm.rank != 0:
        return None
    walls, exchanges, locals_ = (list(column) for column in zip(*laps, strict=True))
    return Measured(
        op=order.op,
        communicator=place.kind,
        ranks=comm.size,
        rows=order.rows * comm.size,
        median_s=round(statistics.median(walls), 5),
        min_s=round(min(walls), 5),
        exchange_s=round(statistics.median(exchanges), 5),
        rows_out=agreed[0],
        checksum=agreed[1],
        local_threads=threads,
        local_median_s=round(statistics.median(locals_), 5),
        local_min_s=round(min(locals_), 5),
        in_bytes=int(memory[0]),
        peak_rss_bytes=int(memory[1]),
        base_rss_bytes=int(memory[2]),
    )


def _turn(
    case: Case, comm: Communicator, threads: int, agreed: tuple[int, str], checked: bool
) -> tuple[float, float, float]:
    """Operator and local kernel once each: seconds, of these in the exchange, local seconds."""
    wall, exchange, result = _timed(case, comm)
    del result
    local_s = 0.0
    if comm.rank == 0:
        started = time.perf_counter()
        whole = case.run_local(threads)
        local_s = time.perf_counter() - started
        if not checked and (found := (whole.num_rows, checksum(whole))) != agreed:
            raise ValueError(f"the ranks gave (rows, checksum) {agreed}, the local kernel {found}")
    comm.barrier()
    return wall, exchange, local_s


def _timed(case: Case, comm: Communicator) -> tuple[float, float, pa.Table]:
    """One run between two barriers: seconds of the slowest rank, this one's exchange, its rows."""
    clock = TimedCommunicator(comm, time.perf_counter)
    comm.barrier()
    started = time.perf_counter()
    result = case.run(clock)
    own = time.perf_counter() - started
    wall = comm.allreduce(np.array([own]), "max")
    return float(wall[0]), clock.seconds, result


def _summary(comm: Communicator, result: pa.Table) -> tuple[int, str]:
    """(rows, checksum) of all ranks together; unsigned sums are modulo 2**64, as it wants."""
    own: Any = np.array([result.num_rows, int(checksum(result), 16)], dtype=np.uint64)
    rows, total = (int(number) for number in comm.allreduce(own))
    return rows, f"{total:016x}"


def main() -> None:
    """Take the place in the world, measure, and let rank 0 answer."""
    with worlds.place() as place:
        found = measure(place, msgspec.json.decode(place.order, type=Order))
        if found is not None:
            place.answer(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
