"""All members are here: the bounded part of opening a group.

MPI's own call to create a group cannot be interrupted. So the members wait for each other first, by
small nonblocking messages that can time out, be interrupted and see a peer's death; what remains is
a window of some 100 us in which a member could still die.

Tokens go up a flat tree to member 0 and down again. They also carry whether a member knows of a
dead rank anywhere in the world: all members must then create their group in the other way, so all
have to agree on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from mpi4py import MPI

from elevon.comm.base.failure import Failure, Kind
from elevon.comm.mpi.deferred_release import DeferredRelease
from elevon.errors import CollectiveTimeout, CommunicatorError, MemberLost

# With 64 ranks on 2 cores a fan-out of 16 is the best on MPICH and close to a star on Open MPI.
FANOUT = 16
FIRST_TAG = 16
TAGS = 1 << 14  # MPI promises 32,767; two calls that share a tag differ in the token's number

_HEALTHY, _DAMAGED, _ABORTED, _TIMEOUT, _LOST = range(5)
_KINDS: dict[int, Kind] = {_ABORTED: "aborted", _TIMEOUT: "timeout", _LOST: "lost"}
_REASONS: dict[int, str] = {
    _ABORTED: "rank {} was interrupted while the members met",
    _TIMEOUT: "rank {} did not come in time",
    _LOST: "the process of rank {} is dead",
}

# A member that waits for the release waits longer than one that gathers: the gatherer knows which
# is missing, and its finding should be the one that all report.
RELEASE_GRACE_S = 0.1


class Wait(Protocol):
    """Waits for a condition."""

    def __call__(self, done: Callable[[], bool], grace_s: float = 0.0) -> None:
        """Return when it holds.

        Args:
            done: the condition.
            grace_s: how long after the group's deadline to give up.

        Raises:
            CommunicatorError: the deadline passed or the group was interrupted.
        """


class Finding(NamedTuple):
    """What a member knows so far; the greater one counts."""

    code: int
    culprit: int = -1


@dataclass(frozen=True, slots=True)
class ArrivalGroup:
    """The members of a group that is being opened.

    Attributes:
        control: the world's control communicator.
        ranks: the members' ranks in it, in group order.
        group_rank: the caller's.
        context: the group's number; a token with another one is left over from a failed call.
        deferred: takes tokens that could not leave at once.
    """

    control: MPI.Intracomm
    ranks: Sequence[int]
    group_rank: int
    context: int
    deferred: DeferredRelease

    @property
    def tag(self) -> int:
        """Of this group's tokens."""
        return FIRST_TAG + self.context % TAGS

    def send(self, peer: int, finding: Finding) -> None:
        """Send a token; it is small enough to leave at once."""
        token = np.array([self.context, *finding], dtype=np.int64)
        request = self.control.Isend(token, self.ranks[peer], self.tag)
        self.deferred.hold([request], [token])


def arrival_barrier(group: ArrivalGroup, damaged: bool, wait: Wait) -> bool:
    """Return once every member has called this.

    Args:
        group: the members.
        damaged: whether the caller knows of a dead rank in the world.
        wait: returns when a condition holds; ends with an error at a deadline or an interrupt.

    Returns:
        Whether any member knows of a dead rank in the world.

    Raises:
        MemberLost: a member is dead; the error's rank is the group's.
        CollectiveTimeout: a member did not come in time.
        GroupAborted: a member was interrupted while it waited.
    """
    return _ArrivalBarrier(group, wait).run(Finding(_DAMAGED if damaged else _HEALTHY))


class _ArrivalBarrier:
    """One member's part. Whatever happens to it, it answers its neighbours before it raises."""

    def __init__(self, group: ArrivalGroup, wait: Wait) -> None:
        self._group = group
        self._wait = wait
        self._error: Exception | None = None
        first = FANOUT * group.group_rank + 1
        self._children = range(first, min(first + FANOUT, len(group.ranks)))
        self._parents = [(group.group_rank - 1) // FANOUT] if group.group_rank else []

    def run(self, finding: Finding) -> bool:
        arrivals = [_Token(self._group, child) for child in self._children]
        releases = [_Token(self._group, parent) for parent in self._parents]
        for arrival in arrivals:
            finding = max(finding, self._receive(arrival))
        for parent in self._parents:
            finding = max(finding, self._send(parent, finding))
        for release in releases:
            finding = max(finding, self._receive(release, RELEASE_GRACE_S))
        for child in self._children:
            finding = max(finding, self._send(child, finding))
        return self._result(finding)

    def _receive(self, token: _Token, grace_s: float = 0.0) -> Finding:
        if self._error is not None:
            token.give_up()
            return Finding(_HEALTHY)
        try:
            self._wait(token.is_here, grace_s)
        except CommunicatorError as error:
            token.give_up()
            return self._record(error, token.peer)
        except MPI.Exception as error:
            return self._record(error, token.peer)
        return token.finding

    def _send(self, peer: int, finding: Finding) -> Finding:
        try:
            self._group.send(peer, finding)
        except MPI.Exception as error:
            return self._record(error, peer)
        return Finding(_HEALTHY)

    def _record(self, error: Exception, peer: int) -> Finding:
        """This member's own error, as the others are told of it."""
        if self._error is None:
            self._error = error
        if isinstance(error, CollectiveTimeout):
            return Finding(_TIMEOUT, peer)
        if isinstance(error, MPI.Exception):
            return Finding(_LOST, peer)
        culprit = getattr(error, "rank", None)
        code = _LOST if isinstance(error, MemberLost) else _ABORTED
        return Finding(code, self._group.group_rank if culprit is None else culprit)

    def _result(self, finding: Finding) -> bool:
        if finding.code not in _KINDS:
            return finding.code == _DAMAGED
        if isinstance(self._error, CommunicatorError) and finding.code != _TIMEOUT:
            raise self._error  # this member was interrupted, and knows best why
        reason = _REASONS[finding.code].format(finding.culprit)
        where = f"opening group {self._group.context}: "
        failure = Failure(_KINDS[finding.code], where + reason, finding.culprit)
        raise failure.error() from self._error


class _Token:
    """One expected token of a neighbour."""

    def __init__(self, group: ArrivalGroup, peer: int) -> None:
        self.peer = peer
        self._group = group
        self._fields = np.empty(3, dtype=np.int64)
        self._request: MPI.Request | None = None

    @property
    def finding(self) -> Finding:
        """What it says, once it is here."""
        return Finding(int(self._fields[1]), int(self._fields[2]))

    def is_here(self) -> bool:
        """Whether it has come; one that is left over from another call is passed over."""
        if self._request is None:
            self._request = self._post()
        if not self._request.Test():
            return False
        self._request = None
        return bool(self._fields[0] == self._group.context)

    def give_up(self) -> None:
        """Take the receive back. One that is matched already ends at once: tokens are small."""
        if self._request is not None:
            self._request.Cancel()
            self._request.Wait()

    def _post(self) -> MPI.Request:
        group = self._group
        return group.control.Irecv(self._fields, group.ranks[self.peer], group.tag)
