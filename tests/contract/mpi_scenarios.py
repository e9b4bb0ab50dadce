"""What test_communicator_faults.py runs under mpiexec: python mpi_scenarios.py NAME.

Each rank that comes to the end of a scenario as it should prints "NAME: slot N as expected".
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from elevon.comm.mpi import MpiCommunicator, MpiWorld
from elevon.errors import (
    CollectiveTimeout,
    ElevonError,
    GroupAborted,
    MemberLost,
    PilotStartFailed,
)

E = TypeVar("E", bound=ElevonError)

PATIENCE_S = 30.0
NOTICED_WITHIN_S = 2.0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def total(comm: MpiCommunicator) -> int:
    return int(comm.allreduce(np.array(1)))


def fails(error: type[E], call: Callable[[], object]) -> E:
    started = time.monotonic()
    try:
        call()
    except error as caught:
        assert time.monotonic() - started < NOTICED_WITHIN_S, "noticed too late"
        return caught
    raise AssertionError(f"{error.__name__} was expected")


def member_is_killed(world: MpiWorld) -> None:
    """Others are told, other groups do not care, and the survivors go on without it."""
    victim = world.size - 1
    everybody = world.open_group(world.slots, 1, PATIENCE_S)
    bystanders = (0, 1)
    if world.slot in bystanders:
        assert total(world.open_group(bystanders, 2, PATIENCE_S)) == 2
    everybody.gather(np.array(0), root=victim)  # it is the last to know that all are here
    if world.slot == victim:
        die()
    error = fails(MemberLost, everybody.barrier)
    assert error.rank == victim, error
    assert str(victim) in str(error)
    fails(MemberLost, everybody.barrier)
    if world.slot in bystanders:
        assert total(world.open_group(bystanders, 2, PATIENCE_S)) == 2
    fails(MemberLost, lambda: world.open_group(world.slots, 3, PATIENCE_S))
    survivors = tuple(range(victim))
    for context in (4, 5, 6):
        group = world.open_group(survivors, context, PATIENCE_S)
        assert total(group) == victim
        half = group.split(group.rank % 2)
        assert half is not None
        assert total(half) == half.size
        group.close()


def member_is_killed_while_opening(world: MpiWorld) -> None:
    """It dies before it comes: the others are told, not left waiting in MPI."""
    victim = world.size - 1
    if world.slot == victim:
        threading.Timer(0.1, die).start()
        threading.Event().wait()
    error = fails(MemberLost, lambda: world.open_group(world.slots, 1, PATIENCE_S))
    assert error.rank == victim, error


def member_never_comes(world: MpiWorld) -> None:
    """It is alive but elsewhere: the others name it when the deadline has passed."""
    victim = world.size - 1
    if world.slot != victim:
        error = fails(CollectiveTimeout, lambda: world.open_group(world.slots, 1, 0.3))
        assert error.rank == victim, error
    assert total(world.open_group(world.slots, 2, PATIENCE_S)) == world.size
    if world.slot == victim:
        # Its call comes too late; the answer to it was left behind by the others.
        fails(CollectiveTimeout, lambda: world.open_group(world.slots, 1, 0.3))


def interrupted_by_another_thread(world: MpiWorld) -> None:
    """No deadline, no MPI call: a blocked rank gets out, while opening and in a collective."""
    reason = "the agent says so"
    comm = world.open_group(world.slots, 1, None)
    if world.slot == 0:
        threading.Timer(0.1, comm.interrupt, (reason, 1, True)).start()
        lost = fails(MemberLost, comm.barrier)
        assert (str(lost), lost.rank) == (reason, 1)
        threading.Timer(0.1, world.interrupt, (2, reason)).start()
        aborted = fails(GroupAborted, lambda: world.open_group(world.slots, 2, None))
        assert str(aborted) == reason
    elif world.slot != world.size - 1:  # who does not come, so that there is something to wait for
        aborted = fails(GroupAborted, lambda: world.open_group(world.slots, 2, None))
        assert aborted.rank == 0
    assert total(world.open_group(world.slots, 3, PATIENCE_S)) == world.size


def abort_in_a_large_exchange(world: MpiWorld) -> None:
    """Megabytes are on their way when a member gives up; nothing is written afterwards."""
    comm = world.open_group(world.slots, 1, PATIENCE_S)
    culprit = comm.size - 1
    comm.gather(np.array(0), root=culprit)  # it is the last to know that all are here
    if comm.rank == culprit:
        comm.abort("enough")
    parcels = [np.full(4_000_000, comm.rank, dtype=np.int64) for _ in range(comm.size)]
    fails(GroupAborted, lambda: comm.alltoallv(parcels))
    world.evict([1])
    again = world.open_group(world.slots, 2, PATIENCE_S)
    for rank, received in enumerate(again.alltoallv(parcels)):
        assert (received == rank).all()


def world_is_repaired(world: MpiWorld) -> None:
    """Replacements get the slot of the dead, also when a replacement is killed."""
    repairs = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    use(world, repairs)
    while repairs < 2:
        if world.slot == 1:
            die()
        fails(MemberLost, partial(world.open_group, world.slots, 50 + repairs, PATIENCE_S))
        repairs += 1
        started = time.monotonic()
        world.repair([1], (sys.executable, __file__, "world_is_repaired", str(repairs)))
        print(f"repaired in {time.monotonic() - started:.3f} s", flush=True)
        use(world, repairs)


def use(world: MpiWorld, repairs: int) -> None:
    """All slots in one group; slot 1 is the last to know that all are through."""
    slots = tuple(sorted(world.slots))
    assert slots == (0, 1, 2)
    comm = world.open_group(slots, 100 + repairs, PATIENCE_S)
    parcels = [np.full(100_000, comm.rank) for _ in range(comm.size)]
    assert [part[0] for part in comm.alltoallv(parcels)] == [0, 1, 2]
    assert comm.allgather(np.array(world.slot)).tolist() == [0, 1, 2]
    comm.gather(np.array(0), root=1)


def world_has_another_size(_: MpiWorld) -> None:
    """What a mixture of two MPIs looks like: as many worlds of one as there are processes."""
    error = fails(PilotStartFailed, partial(MpiWorld.join, expected_size=5))
    assert "5 ranks were started" in str(error)


def main() -> None:
    name = sys.argv[1]
    world = MpiWorld.join()
    globals()[name](world)
    print(f"{name}: slot {world.slot} as expected", flush=True)
    # MPI_Finalize of a world that has lost members may hang, which is no concern of the ranks of a
    # pilot: they leave without it. The test ends all processes when all have told.
    threading.Event().wait()


if __name__ == "__main__":
    main()
