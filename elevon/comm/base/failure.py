"""How a group fails: once and for good.

The first reason that reaches a member is the one that all its later calls report. A latch keeps it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from elevon.errors import CollectiveTimeout, CommunicatorError, GroupAborted, MemberLost

Kind = Literal["aborted", "lost", "timeout"]

_ERRORS: dict[Kind, type[CommunicatorError]] = {
    "aborted": GroupAborted,
    "lost": MemberLost,
    "timeout": CollectiveTimeout,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended a group.

    Attributes:
        kind: which of the three communicator errors it is.
        reason: the sentence that the user reads.
        rank: the group rank to blame, or None where it is not known.
    """

    kind: Kind
    reason: str
    rank: int | None = None

    def error(self) -> CommunicatorError:
        """A new exception; a shared one would collect the tracebacks of all callers."""
        return _ERRORS[self.kind](self.reason, rank=self.rank)


class FailureLatch:
    """Set once, with the first Failure of a group, and never reset. Any thread may trip it.

    Args:
        parent: the latch of the group that this one was split from: when it trips, this one
            counts as tripped too, but not the other way round.
    """

    __slots__ = ("_failure", "_lock", "_tripped", "parent")

    def __init__(self, parent: FailureLatch | None = None) -> None:
        self.parent = parent
        self._failure: Failure | None = None
        self._tripped = threading.Event()
        self._lock = threading.Lock()

    @property
    def failure(self) -> Failure | None:
        """The first failure, or None while there was none."""
        if self._failure is None and self.parent is not None:
            return self.parent.failure
        return self._failure

    def trip(self, failure: Failure) -> bool:
        """Set it.

        Args:
            failure: the reason; it counts only where no other came before.

        Returns:
            Whether this call did it.
        """
        with self._lock:
            if self._failure is not None:
                return False
            self._failure = failure
        self._tripped.set()
        return True

    def check(self) -> None:
        """Do nothing while there was no failure.

        Raises:
            CommunicatorError: the failure that tripped it.
        """
        failure = self.failure
        if failure is not None:
            raise failure.error()

    def wait(self, longest_s: float) -> None:
        """Give the core away for ``longest_s``, or until the latch trips."""
        self._tripped.wait(longest_s)


class FailureLatches:
    """The latches of one process by group name.

    An abort message may come before the group is opened here, so asking for an unknown name makes
    its latch. Names that nobody drops (an abort message for a group that closed long ago) leave
    oldest first beyond ``limit``.
    """

    def __init__(self, limit: int = 65_536) -> None:
        self._latches: OrderedDict[str, FailureLatch] = OrderedDict()
        self._limit = limit
        self._lock = threading.Lock()

    def latch(self, name: str, parent: FailureLatch | None = None) -> FailureLatch:
        """The latch of the group ``name``, made where there is none."""
        with self._lock:
            found = self._latches.get(name)
            if found is None:
                found = self._latches[name] = FailureLatch()
                if len(self._latches) > self._limit:
                    self._latches.popitem(last=False)
            found.parent = found.parent or parent
            return found

    def drop(self, names: Iterable[str]) -> None:
        """Forget these latches; a group that still holds one keeps it."""
        with self._lock:
            for name in names:
                self._latches.pop(name, None)
