"""What the scheduler is told and what it decides: the two vocabularies between it and the shell.

Before it: ``model``. After it: ``scheduler.step(event) -> list[command]``; ``reactor`` makes events
out of messages and carries commands out; ``journal`` keeps the events.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from elevon.model.ids import RankId, TaskId
from elevon.model.outcomes import PartOutcome, TaskOutcome
from elevon.model.tasks import TaskSubmission

# ---------------------------------------------------------------- events (facts; upwards)


class RankJoined(msgspec.Struct, frozen=True, tag=True):
    """A rank is up and idle. ``address`` is where it serves partitions."""

    rank: RankId
    node: str
    address: str
    at: float


class RankGone(msgspec.Struct, frozen=True, tag=True):
    """A rank's process died or fell silent; what was resident there is lost."""

    rank: RankId
    reason: str
    at: float


class WorldGone(msgspec.Struct, frozen=True, tag=True):
    """All ranks are gone at once because ``culprit`` died and the MPI cannot live on without it.

    Only the culprit's task is to blame: the others that ran are started again.
    ``culprit`` is None where the agent ended the world itself, to rebuild it.
    """

    culprit: RankId | None
    reason: str
    at: float


class Submitted(msgspec.Struct, frozen=True, tag=True):
    """A client wants a task run."""

    submission: TaskSubmission
    at: float


class PartEnded(msgspec.Struct, frozen=True, tag=True):
    """One rank's part of one attempt has ended, well or not; the rank is free again."""

    task: TaskId
    attempt: int
    rank: RankId
    outcome: PartOutcome
    at: float


class CancelAsked(msgspec.Struct, frozen=True, tag=True):
    """A client no longer wants the task."""

    task: TaskId
    reason: str
    at: float


class TimedOut(msgspec.Struct, frozen=True, tag=True):
    """The time limit of a running attempt has passed."""

    task: TaskId
    attempt: int
    at: float


class Released(msgspec.Struct, frozen=True, tag=True):
    """The client will not ask for the output of this task again."""

    task: TaskId
    at: float


class RepairFailed(msgspec.Struct, frozen=True, tag=True):
    """Lost ranks will not come back: the pilot goes on with those that are left."""

    reason: str
    at: float


Event: TypeAlias = (
    RankJoined
    | RankGone
    | WorldGone
    | Submitted
    | PartEnded
    | CancelAsked
    | TimedOut
    | Released
    | RepairFailed
)

# ---------------------------------------------------------------- commands (wishes; downwards)


class InputSlice(msgspec.Struct, frozen=True):
    """Rows offset..offset+rows of one partition, for one member of a gang."""

    task: TaskId
    partition: int
    rank: RankId
    address: str
    offset: int
    rows: int


class StartGang(msgspec.Struct, frozen=True):
    """Run an attempt of a task on ``ranks`` (gang order).

    ``context`` numbers the private communicator: the same context means the same members and may
    be reused by them; contexts in ``evict`` are to be freed by these ranks first.
    ``inputs[m][i]`` are the slices that make input i of member m; for an input that is a value,
    the tuple is empty and ``values[i]`` is the pickled value.
    """

    submission: TaskSubmission
    attempt: int
    ranks: tuple[RankId, ...]
    context: int
    evict: tuple[int, ...]
    inputs: tuple[tuple[tuple[InputSlice, ...], ...], ...]
    values: tuple[bytes, ...]
    schemas: tuple[bytes, ...]


class AbortGang(msgspec.Struct, frozen=True):
    """Make these members leave the attempt, by force if they do not within the grace period."""

    task: TaskId
    attempt: int
    ranks: tuple[RankId, ...]
    reason: str


class EndTask(msgspec.Struct, frozen=True):
    """Tell the client (and the journal) how the task ended."""

    task: TaskId
    outcome: TaskOutcome


class DropData(msgspec.Struct, frozen=True):
    """The partitions of this task on these ranks are not needed any more."""

    task: TaskId
    ranks: tuple[RankId, ...]


class RepairWorld(msgspec.Struct, frozen=True):
    """Replace the lost ranks now: all living ranks are idle and none gets work meanwhile."""

    lost: tuple[RankId, ...]


Command: TypeAlias = StartGang | AbortGang | EndTask | DropData | RepairWorld
