"""A group whose members are threads of one process: fast, deterministic, without MPI.

It is stricter than a real group: every collective is a meeting of all members, and members that
call different collectives at once are told so instead of hanging or mixing up data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from elevon.comm.base import reductions
from elevon.comm.base.failure import Failure, FailureLatch
from elevon.comm.base.labels import as_payload, as_sequence
from elevon.comm.base.waiting import Deadline
from elevon.comm.protocol import Array, Communicator, ReduceOp
from elevon.errors import UsageError

SLEEP_S = 0.01

T = TypeVar("T")


class ThreadGroup:
    """Runs a function on every member of a group.

    Args:
        size: how many members.
        timeout_s: seconds that one collective may take.
    """

    def __init__(self, size: int, timeout_s: float | None = 60.0) -> None:
        self.size = size
        self.timeout_s = timeout_s

    def run(self, body: Callable[[Communicator], T]) -> list[T]:
        """Call ``body(communicator)`` in one thread per member.

        Args:
            body: the function; its communicator is closed when it returns.

        Returns:
            What each member returned, by rank.

        Raises:
            BaseException: what the first member that failed raised; the group was aborted then.
        """
        group = _SharedGroup("threads", self.size, self.timeout_s)
        results: list[Any] = [None] * self.size
        errors: list[BaseException] = []

        def member(rank: int) -> None:
            comm = ThreadCommunicator(group, rank)
            try:
                results[rank] = body(comm)
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)
                comm.abort(f"{type(error).__name__}: {error}")
            finally:
                comm.close()

        threads = [
            threading.Thread(target=member, args=(rank,), name=f"rank{rank}", daemon=True)
            for rank in range(self.size)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results


@dataclass
class _Collective:
    """One collective: what each member gave."""

    what: str
    given: dict[int, Any] = field(default_factory=dict)
    left: int = 0


class _SharedGroup:
    """What the members of one group share."""

    def __init__(
        self, name: str, size: int, timeout_s: float | None, parent: FailureLatch | None = None
    ):
        self.name = name
        self.size = size
        self.timeout_s = timeout_s
        self.latch = FailureLatch(parent)
        self._changed = threading.Condition()
        self._collectives: dict[int, _Collective] = {}
        self._children: dict[str, _SharedGroup] = {}

    def exchange(self, number: int, what: str, rank: int, gives: Any) -> list[Any]:
        """Give something to the collective ``number`` and take what all gave, by rank."""
        self.latch.check()
        with self._changed:
            collective = self._collectives.setdefault(number, _Collective(what))
            if collective.what != what:
                self._fail(f"rank {rank} called {what} while others called {collective.what}", rank)
            collective.given[rank] = gives
            self._changed.notify_all()
            self._await(collective)
            collective.left += 1
            if collective.left == self.size:
                del self._collectives[number]
            return [collective.given[member] for member in range(self.size)]

    def child(self, number: int, members: Sequence[int]) -> _SharedGroup:
        """The group that these members form after the collective ``number``."""
        name = f"{self.name}/{number}.{members[0]}"
        with self._changed:
            if name not in self._children:
                self._children[name] = _SharedGroup(name, len(members), self.timeout_s, self.latch)
            return self._children[name]

    def fail(self, failure: Failure) -> None:
        """End the group."""
        with self._changed:
            self.latch.trip(failure)
            self._changed.notify_all()

    def _await(self, collective: _Collective) -> None:
        def over() -> bool:
            return len(collective.given) == self.size or self.latch.failure is not None

        # Sleeps, because the latch of a parent group wakes nobody here.
        deadline = Deadline(self.timeout_s)
        while not self._changed.wait_for(over, SLEEP_S):
            if deadline.passed:
                self._time_out(collective)
        if len(collective.given) < self.size:
            self.latch.check()

    def _time_out(self, collective: _Collective) -> None:
        missing = sorted(set(range(self.size)) - set(collective.given))
        reason = f"{collective.what}: ranks {missing} did not come within {self.timeout_s} s"
        self.latch.trip(Failure("timeout", reason, missing[0]))
        self._changed.notify_all()

    def _fail(self, reason: str, rank: int) -> None:
        self.latch.trip(Failure("aborted", reason, rank))
        self._changed.notify_all()
        self.latch.check()


class ThreadCommunicator:
    """See Communicator; one member of a ThreadGroup."""

    def __init__(self, group: _SharedGroup, rank: int) -> None:
        self._group = group
        self._rank = rank
        self._calls = 0
        self._closed = False

    @property
    def rank(self) -> int:
        """The caller's number in the group."""
        return self._rank

    @property
    def size(self) -> int:
        """How many ranks the group has."""
        return self._group.size

    @property
    def timeout_s(self) -> float | None:
        """Seconds that one collective may take."""
        return self._group.timeout_s

    def barrier(self) -> None:
        """See Communicator."""
        self._meet("barrier", None)

    def bcast(self, array: Array, root: int = 0) -> Array:
        """See Communicator."""
        self._check_root(root)
        data = as_payload(array)
        sent = self._meet("bcast", data.copy() if self._rank == root else None)[root]
        if self._rank == root:
            return data
        if not (isinstance(array, np.ndarray) and array.flags.writeable):
            return np.array(sent)
        array[...] = sent
        return as_payload(array)

    def gather(self, array: Array, root: int = 0) -> Array | None:
        """See Communicator."""
        self._check_root(root)
        rows = self._meet("gather", as_payload(array).copy())
        return np.stack(rows) if self._rank == root else None

    def gatherv(self, array: Array, root: int = 0) -> list[Array] | None:
        """See Communicator."""
        self._check_root(root)
        rows = self._meet("gatherv", as_sequence(array).copy())
        return rows if self._rank == root else None

    def scatter(self, array: Array | None, root: int = 0) -> Array:
        """See Communicator."""
        self._check_root(root)
        rows = self._one_each(as_payload(array)) if self._rank == root else None
        sent = self._meet("scatter", None if rows is None else rows.copy())[root]
        return np.array(sent[self._rank])

    def scatterv(self, arrays: Sequence[Array] | None, root: int = 0) -> Array:
        """See Communicator."""
        self._check_root(root)
        parts = None
        if self._rank == root:
            parts = [as_sequence(part).copy() for part in self._one_each(arrays)]
        return np.array(self._meet("scatterv", parts)[root][self._rank])

    def allgather(self, array: Array) -> Array:
        """See Communicator."""
        return np.stack(self._meet("allgather", as_payload(array).copy()))

    def allgatherv(self, array: Array) -> list[Array]:
        """See Communicator."""
        return [np.array(row) for row in self._meet("allgatherv", as_sequence(array).copy())]

    def reduce(self, array: Array, op: ReduceOp = "sum", root: int = 0) -> Array | None:
        """See Communicator."""
        self._check_root(root)
        return reductions.reduce(self, array, op, root)

    def allreduce(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        return reductions.allreduce(self, array, op)

    def scan(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        return reductions.scan(self, array, op)

    def reduce_scatter(self, array: Array, op: ReduceOp = "sum") -> Array:
        """See Communicator."""
        return reductions.reduce_scatter(self, array, op)

    def alltoall(self, array: Array) -> Array:
        """See Communicator."""
        rows = self._meet("alltoall", self._one_each(as_payload(array)).copy())
        return np.stack([row[self._rank] for row in rows])

    def alltoallv(self, arrays: Sequence[Array]) -> list[Array]:
        """See Communicator."""
        parts = [as_sequence(part).copy() for part in self._one_each(arrays)]
        return [sent[self._rank] for sent in self._meet("alltoallv", parts)]

    def split(self, color: int | None, key: int = 0) -> Communicator | None:
        """See Communicator."""
        choices = self._meet("split", (color, key))
        if color is None:
            return None
        members = [rank for rank, (its, _) in enumerate(choices) if its == color]
        members.sort(key=lambda rank: (choices[rank][1], rank))
        group = self._group.child(self._calls, members)
        return ThreadCommunicator(group, members.index(self._rank))

    def abort(self, reason: str) -> None:
        """See Communicator."""
        text = f"rank {self._rank} aborted group {self._group.name}: {reason}"
        self._group.fail(Failure("aborted", text, self._rank))

    def interrupt(self, reason: str, rank: int | None = None, lost: bool = False) -> None:
        """End the group, as an agent does from another thread."""
        self._group.fail(Failure("lost" if lost else "aborted", reason, rank))

    def close(self) -> None:
        """See Communicator."""
        self._closed = True

    def _meet(self, what: str, gives: Any) -> list[Any]:
        if self._closed:
            raise UsageError(f"group {self._group.name} is closed")
        self._calls += 1
        return self._group.exchange(self._calls, what, self._rank, gives)

    def _one_each(self, rows: Any) -> Any:
        given = np.shape(rows)[:1] if isinstance(rows, np.ndarray) else (len(rows or ()),)
        if given != (self.size,):
            raise UsageError(f"one part for each of {self.size} ranks is needed, not {given}")
        return rows

    def _check_root(self, root: int) -> None:
        if not 0 <= root < self.size:
            raise UsageError(f"root {root} is no rank of a group of {self.size}")
