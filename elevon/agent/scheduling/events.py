"""What the scheduler is told and what it decides: the two vocabularies between it and the shell."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from elevon.model.ids import RankId, TaskId
from elevon.model.outcomes import PartOutcome, TaskOutcome
from elevon.model.slices import Slice
from elevon.model.tasks import TaskSubmission

# ---------------------------------------------------------------- events (facts; upwards)


class RankJoined(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A rank is up and idle. ``address`` is where it serves partitions."""

    rank: RankId
    node: str
    address: str
    at: float


class RankGone(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A rank's process died or fell silent; what was resident there is lost."""

    rank: RankId
    reason: str
    at: float


class WorldGone(msgspec.Struct, frozen=True, tag=True, gc=False):
    """All ranks are gone at once because ``culprit`` died and the MPI cannot live on without it.

    Only the culprit's task is to blame: the others that ran are started again, at no cost to
    their retries. The shell starts a new world by itself; its ranks join one by one.
    ``culprit`` is None where the agent ended the world itself, to rebuild it.
    """

    culprit: RankId | None
    reason: str
    at: float


class Submitted(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A client wants a task run."""

    submission: TaskSubmission
    at: float


class PartEnded(msgspec.Struct, frozen=True, tag=True, gc=False):
    """One rank's part of one attempt has ended, well or not; the rank is free again."""

    task: TaskId
    attempt: int
    rank: RankId
    outcome: PartOutcome
    at: float


class CancelAsked(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A client no longer wants the task."""

    task: TaskId
    reason: str
    at: float


class TimedOut(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The time limit of a running attempt has passed."""

    task: TaskId
    attempt: int
    at: float


class Released(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The client will not ask for the output of this task again.

    Sent for every task once its handle is gone, also where the output is a value or the task has
    not ended: what is never released is never forgotten.
    """

    task: TaskId
    at: float


Event: TypeAlias = (
    RankJoined | RankGone | WorldGone | Submitted | PartEnded | CancelAsked | TimedOut | Released
)

# ---------------------------------------------------------------- commands (wishes; downwards)


class StartGang(msgspec.Struct, frozen=True, gc=False):
    """Run an attempt of a task on ``ranks`` (gang order). All of them are idle.

    Attributes:
        submission: what the client sent.
        attempt: 1, 2, ...; goes back in PartEnded.
        ranks: the members, by their number in the gang.
        communicator_id: the number of the private communicator; the same number means the same
            members in the same order, so that they may use it again. 0 for a gang of one, which
            needs none.
        evict: communicators that these ranks are to free first; a rank ignores those that it does
            not hold, because the list is for the whole gang.
        inputs: ``inputs[m][i]`` are the slices that make input i of member m, in order. There are
            none for an input without rows, or one that is a value.
        values: ``values[i]`` is b"" for an input that is a dataset, else one pickle: of rank 0's
            value, or, where every rank returned one (``returns="all"``, written files), of the
            list by rank (see ``pickle_values``).
        schemas: ``schemas[i]`` is the serialised Arrow schema of an input that is a dataset.
    """

    submission: TaskSubmission
    attempt: int
    ranks: tuple[RankId, ...]
    communicator_id: int
    evict: tuple[int, ...]
    inputs: tuple[tuple[tuple[Slice, ...], ...], ...]
    values: tuple[bytes, ...]
    schemas: tuple[bytes, ...]


class AbortGang(msgspec.Struct, frozen=True, gc=False):
    """Make these members leave the attempt, by force if they do not within the grace period.

    ``group_rank`` is the number in the gang of the member to blame, or -1; ``lost``, whether that
    member is gone.
    """

    task: TaskId
    attempt: int
    ranks: tuple[RankId, ...]
    reason: str
    group_rank: int = -1
    lost: bool = False


class EndRank(msgspec.Struct, frozen=True, gc=False):
    """End this rank's process, which may live: others of its gang cannot reach it any more."""

    rank: RankId
    reason: str


class EndTask(msgspec.Struct, frozen=True, gc=False):
    """Tell the client how the task ended.

    Once for every task, with one exception: a dataset that was lost and run again is told again,
    with its new partitions, or with the failure for which it could not be recomputed.
    """

    task: TaskId
    outcome: TaskOutcome


class DropData(msgspec.Struct, frozen=True, gc=False):
    """The partitions of this task on these ranks are not needed any more."""

    task: TaskId
    ranks: tuple[RankId, ...]


class RepairWorld(msgspec.Struct, frozen=True, gc=False):
    """Replace the lost ranks now: all living ranks are idle and none gets work meanwhile.

    ``lost`` are all ranks that are to be replaced. Comes again, with all that are still missing,
    when another rank is lost during the repair. It ends with a RankJoined for
    each, or with WorldGone.
    """

    lost: tuple[RankId, ...]


Command: TypeAlias = StartGang | AbortGang | EndRank | EndTask | DropData | RepairWorld


# ---------------------------------------------------------------- values on their way


class _ByRank:
    """Pickles as a call of ``unpickle_values``."""

    def __init__(self, pickles: Sequence[bytes]) -> None:
        self._pickles = tuple(pickles)

    def __reduce__(self) -> tuple[Any, ...]:
        return unpickle_values, (self._pickles,)


def pickle_values(pickles: Sequence[bytes]) -> bytes:
    """One pickle of the list of what ``pickles`` hold.

    None of them is unpickled here: the agent never runs what a pickle may contain, and need not
    have its modules. A rank unpickles the result as it does any other value.
    """
    return pickle.dumps(_ByRank(pickles))


def unpickle_values(pickles: Sequence[bytes]) -> list[Any]:
    """The values in these pickles, in order."""
    return [pickle.loads(data) for data in pickles]
