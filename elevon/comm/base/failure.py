"""Why a group can do nothing more, and the switch that every member looks at.

A group fails once and for good: the first reason that reaches a member is the one that all its
later calls report.
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
        """A new exception; a shared one would collect the tracebacks of all who raise it."""
        return _ERRORS[self.kind](self.reason, rank=self.rank)


class Fuse:
    """A switch that goes one way: whole, then blown with a Failure. Any thread may blow it.

    Args:
        parent: the fuse of the group that this one was split from: when it blows, this one counts
            as blown too, but not the other way round.
    """

    __slots__ = ("_blown", "_failure", "_lock", "parent")

    def __init__(self, parent: Fuse | None = None) -> None:
        self.parent = parent
        self._failure: Failure | None = None
        self._blown = threading.Event()
        self._lock = threading.Lock()

    @property
    def failure(self) -> Failure | None:
        """What blew it, or None while it is whole."""
        if self._failure is None and self.parent is not None:
            return self.parent.failure
        return self._failure

    def blow(self, failure: Failure) -> bool:
        """Blow it.

        Args:
            failure: the reason; it counts only where no other came before.

        Returns:
            Whether this call did it.
        """
        with self._lock:
            if self._failure is not None:
                return False
            self._failure = failure
        self._blown.set()
        return True

    def check(self) -> None:
        """Do nothing while it is whole.

        Raises:
            CommunicatorError: the failure that blew it.
        """
        failure = self.failure
        if failure is not None:
            raise failure.error()

    def nap(self, longest_s: float) -> None:
        """Give the core away for ``longest_s``, or until somebody blows it."""
        self._blown.wait(longest_s)


class FuseBox:
    """The fuses of one process by group name.

    A notice may come before the group is opened here, so asking for an unknown name makes its
    fuse. Names that nobody takes out again (a notice for a group that closed long ago) leave
    oldest first beyond ``limit``.
    """

    def __init__(self, limit: int = 65_536) -> None:
        self._fuses: OrderedDict[str, Fuse] = OrderedDict()
        self._limit = limit
        self._lock = threading.Lock()

    def fuse(self, name: str, parent: Fuse | None = None) -> Fuse:
        """The fuse of the group ``name``, made whole where there is none."""
        with self._lock:
            found = self._fuses.get(name)
            if found is None:
                found = self._fuses[name] = Fuse()
                if len(self._fuses) > self._limit:
                    self._fuses.popitem(last=False)
            found.parent = found.parent or parent
            return found

    def drop(self, names: Iterable[str]) -> None:
        """Forget these fuses; a group that still holds one keeps it."""
        with self._lock:
            for name in names:
                self._fuses.pop(name, None)
