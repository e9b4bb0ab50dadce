"""The contract suite of the Communicator Protocol.

The tests of every implementation run each clause on groups of 1, 2, 3, 4 and 7::

    @pytest.mark.parametrize("clause", CONTRACT, ids=str)
    def test_contract(clause):
        ThreadGroup(4, clause.timeout_s).run(clause.check)

Every member of a fresh group calls ``clause.check(communicator)``, where ``timeout_s`` is the
group's. A member that raises has found a violation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from elevon.comm.protocol import Communicator
from elevon.errors import CollectiveTimeout, CommunicatorError, GroupAborted, UsageError
from elevon.testing import collective_clauses

# Generous, because it bounds a test that fails; the clauses about time have their own.
PATIENCE_S = 60.0
SHORT_S = 0.3
# How late the end of a wait may be noticed on a machine with more ranks than cores.
SLACK_S = 5.0

Check = Callable[[Communicator], None]


@dataclass(frozen=True, slots=True)
class Clause:
    """One promise.

    Attributes:
        name: says it in a few words.
        check: every member calls it; raises where the promise is broken.
        timeout_s: of the group.
    """

    name: str
    check: Check
    timeout_s: float = PATIENCE_S

    def __str__(self) -> str:
        return self.name


def _call(name: str) -> Callable[[Communicator], Any]:
    """A valid call of the collective ``name``."""

    def call(comm: Communicator) -> Any:
        one, each = np.ones(4), np.ones((comm.size, 4))
        at_root = comm.rank == 0
        arguments: dict[str, tuple[Any, ...]] = {
            "barrier": (),
            "scatter": (each if at_root else None,),
            "scatterv": (list(each) if at_root else None,),
            "reduce_scatter": (each,),
            "alltoall": (each,),
            "alltoallv": (list(each),),
            "split": (0,),
        }
        return getattr(comm, name)(*arguments.get(name, (one,)))

    return call


COLLECTIVES = {
    name: _call(name)
    for name in (
        "barrier",
        "bcast",
        "gather",
        "gatherv",
        "scatter",
        "scatterv",
        "allgather",
        "allgatherv",
        "reduce",
        "allreduce",
        "scan",
        "reduce_scatter",
        "alltoall",
        "alltoallv",
        "split",
    )
}


def raises(error: type[BaseException], call: Callable[[], object]) -> BaseException:
    """What ``call`` raised; it has to be exactly of this kind."""
    try:
        call()
    except error as caught:
        return caught
    raise AssertionError(f"{error.__name__} was expected, nothing was raised")


def check_rank_and_size(comm: Communicator) -> None:
    """Ranks are 0 to size - 1, each once."""
    assert isinstance(comm, Communicator)
    assert comm.allgather(np.array(comm.rank)).tolist() == list(range(comm.size))
    assert comm.timeout_s == PATIENCE_S


def check_split_by_color(comm: Communicator) -> None:
    """Each color is a group of its own, ordered by key, then by rank."""
    child = comm.split(comm.rank % 2, key=-comm.rank)
    assert child is not None
    expected = [rank for rank in reversed(range(comm.size)) if rank % 2 == comm.rank % 2]
    assert child.size == len(expected)
    assert child.allgather(np.array(comm.rank)).tolist() == expected
    assert expected[child.rank] == comm.rank
    # Both groups at once, in turns.
    assert comm.allreduce(np.array(1)) == comm.size
    assert child.allreduce(np.array(1)) == child.size
    child.close()
    comm.barrier()


def check_split_without_color(comm: Communicator) -> None:
    """Who passes None is in no group; also if nobody else is in one."""
    child = comm.split(0 if comm.rank == 0 else None)
    assert (child is not None) == (comm.rank == 0)
    if child is not None:
        assert (child.rank, child.size) == (0, 1)
    assert comm.split(None) is None
    comm.barrier()


def check_split_of_a_split(comm: Communicator) -> None:
    """Groups of groups, with equal keys in rank order, and the same color twice."""
    for _ in range(2):
        whole = comm.split(7)
        assert whole is not None
        assert (whole.rank, whole.size) == (comm.rank, comm.size)
        half = whole.split(whole.rank * 2 // whole.size)
        assert half is not None
        total = half.allreduce(np.array(half.rank, dtype=np.int64))
        assert total == half.size * (half.size - 1) // 2
        half.close()
        whole.close()


def check_abort_of_a_split(comm: Communicator) -> None:
    """Aborting a child leaves its parent and its siblings as they are."""
    child, other = comm.split(0), comm.split(0)
    assert child is not None
    assert other is not None
    if comm.rank == comm.size - 1:
        child.abort("only the child")
    _until_aborted(child, "only the child", comm.size - 1)
    other.barrier()
    comm.barrier()


def check_abort_of_a_parent(comm: Communicator) -> None:
    """Aborting a group ends those that were split from it."""
    child = comm.split(0)
    assert child is not None
    grandchild = child.split(0)
    assert grandchild is not None
    grandchild.gather(np.array(1))  # the root knows now that all have returned from split
    if comm.rank == 0:
        comm.abort("all of it")
    _until_aborted(grandchild, "all of it", 0)
    _until_aborted(child, "all of it", 0)


def check_wrong_arguments(comm: Communicator) -> None:
    """What no group could do is the caller's error, and the group lives on."""
    wrong: list[Callable[[], object]] = [
        lambda: comm.bcast(np.ones(1), root=comm.size),
        lambda: comm.gather(np.ones(1), root=-1),
        lambda: comm.reduce(np.ones(1), root=comm.size),
        lambda: comm.allreduce(np.ones(1), "median"),  # type: ignore[arg-type]
        lambda: comm.allgather(np.array([object()])),
        lambda: comm.allgather(np.zeros(1, dtype=[("a", "i4")])),
        lambda: comm.allgatherv(np.ones((2, 2))),
        lambda: comm.alltoall(np.ones(comm.size + 1)),
        lambda: comm.alltoallv([np.ones(1)] * (comm.size + 1)),
        lambda: comm.scatterv(None, root=comm.rank),
    ]
    for call in wrong:
        raises(UsageError, call)
    comm.barrier()


def check_use_after_close(comm: Communicator) -> None:
    """A closed group says that it is closed; closing twice is no error."""
    comm.barrier()
    comm.close()
    comm.close()
    for call in COLLECTIVES.values():
        raises(UsageError, partial(call, comm))


def check_abort(name: str, comm: Communicator) -> None:
    """The last rank aborts while the others sit in a collective: all of them get out."""
    culprit = comm.size - 1
    if comm.rank == culprit:
        comm.abort("something broke")
    _until_aborted(comm, "something broke", culprit, name)
    for call in COLLECTIVES.values():  # and from now on at once
        raises(GroupAborted, partial(call, comm))


def check_timeout(name: str, comm: Communicator) -> None:
    """The last rank never comes: the others are told in time, and the group is over for all."""
    if comm.size == 1:
        COLLECTIVES[name](comm)
        return
    if comm.rank == comm.size - 1:
        return
    started = time.monotonic()
    _until(CollectiveTimeout, comm, name)
    waited = time.monotonic() - started
    # Not shorter than what? The first whose deadline passes tells the others, and any of them may
    # have begun to wait just now. A deadline that comes too soon fails the clauses about data.
    assert waited <= SHORT_S + SLACK_S, waited
    raises(CollectiveTimeout, comm.barrier)


def _until(error: type[CommunicatorError], comm: Communicator, name: str) -> CommunicatorError:
    """Call the collective until it fails: a root of bcast, say, may be through before the rest."""
    try:
        while True:
            COLLECTIVES[name](comm)
            comm.barrier()
    except error as caught:
        return caught


def _until_aborted(comm: Communicator, reason: str, culprit: int, name: str = "barrier") -> None:
    error = _until(GroupAborted, comm, name)
    assert reason in str(error)
    assert error.rank == culprit


def _data_clauses() -> tuple[Clause, ...]:
    checks = {
        name.removeprefix("check_").replace("_", " "): check
        for name, check in vars(collective_clauses).items()
        if name.startswith("check_")
    }
    return tuple(Clause(name, check) for name, check in checks.items())


CONTRACT: tuple[Clause, ...] = (
    Clause("rank and size", check_rank_and_size),
    *_data_clauses(),
    Clause("split by color", check_split_by_color),
    Clause("split without color", check_split_without_color),
    Clause("split of a split", check_split_of_a_split),
    Clause("abort of a split", check_abort_of_a_split),
    Clause("abort of a parent", check_abort_of_a_parent),
    Clause("wrong arguments", check_wrong_arguments),
    Clause("use after close", check_use_after_close),
    *(Clause(f"abort in {name}", partial(check_abort, name)) for name in COLLECTIVES),
    *(Clause(f"timeout in {name}", partial(check_timeout, name), SHORT_S) for name in COLLECTIVES),
)
