"""What the ranks of ``elevon bench comm`` run: one collective after another, timed and checked.

Ranks that no pilot has are started with ``main``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from elevon import Communicator
from elevon.bench import worlds

#: (operation, bytes, median seconds of the slowest rank).
Timed: TypeAlias = tuple[str, int, float]

#: How often a call is repeated, by its bytes: enough for a median, few enough for seconds.
REPEATS: Final = ((4096, 400), (2 << 20, 60), (32 << 20, 12))
LEAST_REPEATS: Final = 6
WARM_UP: Final = 3
#: A rank that has just come loads libraries beside its first task, on a thread of its own.
SETTLED_AFTER_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """One collective at one size.

    Attributes:
        op: its name.
        size: bytes of its array; for alltoallv to each peer.
    """

    op: str
    size: int

    def crossing(self, ranks: int) -> int:
        """Bytes that have to go from rank to rank, all together; nothing where it is latency."""
        pairs = ranks * (ranks - 1)
        return {
            "barrier": 0,
            "bcast": (ranks - 1) * self.size,
            # Every rank's share is collected once and handed out once.
            "allreduce": 2 * (ranks - 1) * self.size,
            "alltoallv": pairs * self.size,
        }[self.op]


CALLS: Final = (
    Call("barrier", 0),
    Call("allreduce", 8),
    Call("bcast", 16 << 20),
    Call("allreduce", 16 << 20),
    Call("alltoallv", 1 << 10),
    Call("alltoallv", 1 << 20),
    Call("alltoallv", 64 << 20),
)


def measure(comm: Communicator) -> list[Timed]:
    """All calls.

    Raises:
        ValueError: a result is wrong.
    """
    _settle(comm)
    return [(call.op, call.size, _median(comm, call)) for call in CALLS]


def _settle(comm: Communicator) -> None:
    """Keep the ranks busy, all for equally many turns, until none of them is new any more."""
    started = time.monotonic()
    while comm.allreduce(np.array(time.monotonic() - started), "min") < SETTLED_AFTER_S:
        comm.barrier()


def _median(comm: Communicator, call: Call) -> float:
    run, check = _prepared(comm, call)
    for _ in range(WARM_UP):
        check(run())
    repeats = next((count for limit, count in REPEATS if call.size <= limit), LEAST_REPEATS)
    seconds = np.empty(repeats)
    for turn in range(repeats):
        comm.barrier()
        started = time.perf_counter()
        result = run()
        seconds[turn] = time.perf_counter() - started
        del result
    return float(np.median(comm.allreduce(seconds, "max")))


def _prepared(comm: Communicator, call: Call) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """The call on this rank, and what its result has to be."""
    rank, size = comm.rank, comm.size
    if call.op == "barrier":
        return comm.barrier, lambda _: None
    count = max(1, call.size // 8)
    own = np.arange(count, dtype=np.int64) + rank
    if call.op == "bcast":
        buffer = own.copy()

        def check_bcast(got: Any) -> None:
            _expect(got[[0, -1]], [0, count - 1])
            buffer[:] = own  # what was there before must not pass for what arrives

        return lambda: comm.bcast(buffer), check_bcast
    if call.op == "allreduce":
        total = size * (size - 1) // 2
        last = size * (count - 1) + total
        return lambda: comm.allreduce(own), lambda got: _expect(got[[0, -1]], [total, last])
    parts = [np.full(count, rank * size + peer, dtype=np.int64) for peer in range(size)]

    def check(got: Any) -> None:
        for peer, part in enumerate(got):
            _expect(part[[0, -1]], [peer * size + rank] * 2)
            _expect([len(part)], [count])

    return lambda: comm.alltoallv(parts), check


def _expect(got: Any, expected: list[int]) -> None:
    if list(got) != expected:
        raise ValueError(f"a collective gave {list(got)}, expected {expected}")


def main() -> None:
    """Measure in a world of ``worlds.run``."""
    with worlds.place() as place:
        told = measure(place.comm)
        if place.comm.rank == 0:
            place.answer(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
