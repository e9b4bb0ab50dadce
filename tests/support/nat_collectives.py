"""Each collective once, small and large: for groups that are too many for the whole contract."""

from __future__ import annotations

import numpy as np

from elevon.comm import Communicator
from elevon.testing.communicators import Clause

# Below and above what the engine sends in one piece, and by its algorithms for much.
LENGTHS = (8, 40_000)


def each_once(comm: Communicator) -> None:
    comm.barrier()
    for length in LENGTHS:
        spreading(comm, np.arange(length) * (comm.rank + 1))
        reducing(comm, np.arange(length) * (comm.rank + 1))
        exchanging(comm, length)
    evens = comm.split(comm.rank % 2)
    assert evens is not None
    assert evens.allgather(np.array([comm.rank]))[:, 0].tolist() == list(
        range(comm.rank % 2, comm.size, 2)
    )
    evens.close()


def spreading(comm: Communicator, mine: np.ndarray) -> None:
    base, last = np.arange(len(mine)), comm.size - 1
    every = [base * (rank + 1) for rank in range(comm.size)]
    assert np.array_equal(comm.bcast(mine.copy(), root=last), every[last])
    assert np.array_equal(comm.allgather(mine), every)
    lists = [comm.allgatherv(mine[: comm.rank])]
    gathered, gatheredv = comm.gather(mine, root=last), comm.gatherv(mine[: comm.rank], root=last)
    assert (gathered is None) is (gatheredv is None) is (comm.rank != last)
    if gathered is not None and gatheredv is not None:
        assert np.array_equal(gathered, every)
        lists.append(gatheredv)
    for parts in lists:
        assert all(np.array_equal(part, every[at][:at]) for at, part in enumerate(parts))
    root = comm.rank == last
    assert np.array_equal(comm.scatter(np.array(every) if root else None, root=last), mine)
    parts = [part[:at] for at, part in enumerate(every)] if root else None
    assert np.array_equal(comm.scatterv(parts, root=last), mine[: comm.rank])


def reducing(comm: Communicator, mine: np.ndarray) -> None:
    base, ranks = np.arange(len(mine)), comm.size
    total = base * (ranks * (ranks + 1) // 2)
    assert np.array_equal(comm.allreduce(mine), total)
    assert np.array_equal(comm.allreduce(mine, "max"), base * ranks)
    reduced = comm.reduce(mine, root=0)
    assert (reduced is None) is (comm.rank != 0)
    if reduced is not None:
        assert np.array_equal(reduced, total)
    below = (comm.rank + 1) * (comm.rank + 2) // 2
    assert np.array_equal(comm.scan(mine), base * below)
    blocks = np.array([mine] * ranks)
    assert np.array_equal(comm.reduce_scatter(blocks), total)


def exchanging(comm: Communicator, length: int) -> None:
    """What goes from one to another says who both are."""
    ranks = range(comm.size)
    sent = [np.full(length, comm.rank * 100 + to) for to in ranks]
    came = [np.full(length, at * 100 + comm.rank) for at in ranks]
    assert np.array_equal(comm.alltoall(np.array(sent)), came)
    cut = comm.alltoallv([part[:to] for to, part in enumerate(sent)])
    assert all(np.array_equal(part, came[at][: comm.rank]) for at, part in enumerate(cut))


EACH_ONCE = Clause("each collective once", each_once)
