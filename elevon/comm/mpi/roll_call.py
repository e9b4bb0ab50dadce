"""All members are here: the bounded part of opening a group.

So the members meet first, by small nonblocking messages that can time out, be interrupted and see a
peer's death; what remains is a window of some 100 us in which a member could still die.

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
from elevon.comm.mpi.limbo import Limbo
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

# The one who waits for the release is patient for longer than the one who gathers: the gatherer
# knows who is missing, and its verdict should be the one that everybody reports.
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


class Verdict(NamedTuple):
    """What a member knows so far; the greater one counts."""

    code: int
    culprit: int = -1


@dataclass(frozen=True, slots=True)
class Meeting:
    """Who meets, and where.

    Attributes:
        control: the world's control communicator.
        ranks: the members' ranks in it, in group order.
        position: the caller's place among them.
        context: the group's number; a token with another one is left over from a failed call.
        limbo: takes tokens that could not leave at once.
    """

    control: MPI.Intracomm
    ranks: Sequence[int]
    position: int
    context: int
    limbo: Limbo

    @property
    def tag(self) -> int:
        """Of this meeting's tokens."""
        return FIRST_TAG + self.context % TAGS

    def send(self, peer: int, verdict: Verdict) -> None:
        """Send a token; it is small enough to leave at once."""
        token = np.array([self.context, *verdict], dtype=np.int64)
        request = self.control.Isend(token, self.ranks[peer], self.tag)
        self.limbo.park([request], [token])


def roll_call(meeting: Meeting, damaged: bool, wait: Wait) -> bool:
    """Return once every member has called this.

    Args:
        meeting: who meets.
        damaged: whether the caller knows of a dead rank in the world.
        wait: returns when a condition holds; ends with an error at a deadline or an interrupt.

    Returns:
        Whether any member knows of a dead rank in the world.

    Raises:
        MemberLost: a member is dead; the error's rank is the group's.
        CollectiveTimeout: a member did not come in time.
        GroupAborted: a member was interrupted while it waited.
    """
    return _RollCall(meeting, wait).run(Verdict(_DAMAGED if damaged else _HEALTHY))


class _RollCall:
    """One member's part. Whatever happens to it, it answers its neighbours before it raises."""

    def __init__(self, meeting: Meeting, wait: Wait) -> None:
        self._meeting = meeting
        self._wait = wait
        self._error: Exception | None = None
        first = FANOUT * meeting.position + 1
        self._children = range(first, min(first + FANOUT, len(meeting.ranks)))
        self._parents = [(meeting.position - 1) // FANOUT] if meeting.position else []

    def run(self, verdict: Verdict) -> bool:
        arrivals = [_Token(self._meeting, child) for child in self._children]
        releases = [_Token(self._meeting, parent) for parent in self._parents]
        for arrival in arrivals:
            verdict = max(verdict, self._hear(arrival))
        for parent in self._parents:
            verdict = max(verdict, self._tell(parent, verdict))
        for release in releases:
            verdict = max(verdict, self._hear(release, RELEASE_GRACE_S))
        for child in self._children:
            verdict = max(verdict, self._tell(child, verdict))
        return self._conclude(verdict)

    def _hear(self, token: _Token, grace_s: float = 0.0) -> Verdict:
        if self._error is not None:
            token.give_up()
            return Verdict(_HEALTHY)
        try:
            self._wait(token.is_here, grace_s)
        except CommunicatorError as error:
            token.give_up()
            return self._note(error, token.peer)
        except MPI.Exception as error:
            return self._note(error, token.peer)
        return token.verdict

    def _tell(self, peer: int, verdict: Verdict) -> Verdict:
        try:
            self._meeting.send(peer, verdict)
        except MPI.Exception as error:
            return self._note(error, peer)
        return Verdict(_HEALTHY)

    def _note(self, error: Exception, peer: int) -> Verdict:
        """Our own error, as the others are told of it."""
        if self._error is None:
            self._error = error
        if isinstance(error, CollectiveTimeout):
            return Verdict(_TIMEOUT, peer)
        if isinstance(error, MPI.Exception):
            return Verdict(_LOST, peer)
        culprit = getattr(error, "rank", None)
        code = _LOST if isinstance(error, MemberLost) else _ABORTED
        return Verdict(code, self._meeting.position if culprit is None else culprit)

    def _conclude(self, verdict: Verdict) -> bool:
        if verdict.code not in _KINDS:
            return verdict.code == _DAMAGED
        if isinstance(self._error, CommunicatorError) and verdict.code != _TIMEOUT:
            raise self._error  # we were interrupted, and know better why than the others
        reason = _REASONS[verdict.code].format(verdict.culprit)
        where = f"opening group {self._meeting.context}: "
        failure = Failure(_KINDS[verdict.code], where + reason, verdict.culprit)
        raise failure.error() from self._error


class _Token:
    """One expected token of a neighbour."""

    def __init__(self, meeting: Meeting, peer: int) -> None:
        self.peer = peer
        self._meeting = meeting
        self._fields = np.empty(3, dtype=np.int64)
        self._request: MPI.Request | None = None

    @property
    def verdict(self) -> Verdict:
        """What it says, once it is here."""
        return Verdict(int(self._fields[1]), int(self._fields[2]))

    def is_here(self) -> bool:
        """Whether it has come; one that is left over from another call is passed over."""
        if self._request is None:
            self._request = self._post()
        if not self._request.Test():
            return False
        self._request = None
        return bool(self._fields[0] == self._meeting.context)

    def give_up(self) -> None:
        """Take the receive back. One that is matched already ends at once: tokens are small."""
        if self._request is not None:
            self._request.Cancel()
            self._request.Wait()

    def _post(self) -> MPI.Request:
        meeting = self._meeting
        return meeting.control.Irecv(self._fields, meeting.ranks[self.peer], meeting.tag)
