"""How a task, or one rank's part of it, ended, and where its time went."""

from __future__ import annotations

from enum import Enum

import msgspec

from elevon.model.ids import RankId, TaskId

PHASES = (
    "submitted",  # client's call -> agent has it
    "queued",  # -> the tasks it needs have ended
    "scheduled",  # -> its gang of ranks is chosen
    "dispatched",  # -> the rank has the message
    "decoded",  # -> function and arguments (or operator) are ready
    "communicator",  # -> the private communicator is open
    "inputs",  # -> input partitions that were elsewhere are here
    "exchange",  # time inside collectives
    "compute",  # the rest of the operator or function
    "output",  # -> result kept or encoded
    "collected",  # -> the client knows
)


class FailureKind(str, Enum):
    """Who is to blame, which decides the error class and whether a retry makes sense."""

    ERROR = "error"  # the function or operator raised
    ABORTED = "aborted"  # left a collective because another member failed: never the first cause
    RANK_LOST = "rank lost"
    DATA_LOST = "data lost"
    TIMEOUT = "timeout"
    CANCELED = "canceled"
    DEPENDENCY = "dependency"
    RESOURCES = "resources"  # can never be placed
    PILOT_LOST = "pilot lost"
    UNREADABLE = "unreadable"  # a message about it could not be read by its receiver


class Failure(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a part or a task did not succeed.

    Attributes:
        kind: who is to blame.
        message: what, where, why and what to do, for a person; of a consequence, the first line is
            the text of the failure that was first.
        rank: the rank that failed first (its number within the task's gang), or None.
        host: that rank's host.
        traceback: the remote traceback's text, or "".
        exception: the pickled exception, or b"" where it could not be pickled.
        cause: for the consequence of another task's failure, the task that failed first.
        distance: tasks on the way from that one to this one, 0 where there is no ``cause``.
        unreachable: for ABORTED, the member of the gang whose connection this member has lost.
    """

    kind: FailureKind
    message: str
    rank: int | None = None
    host: str = ""
    traceback: str = ""
    exception: bytes = b""
    cause: TaskId | None = None
    distance: int = 0
    unreachable: int | None = None


class Partition(msgspec.Struct, frozen=True, gc=False):
    """One resident piece of a dataset. ``address`` is where its rank serves it."""

    rank: RankId
    rows: int
    nbytes: int
    address: str = ""


class Stamps(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Moments of one rank's part, in seconds of the host's monotonic clock; 0.0 = not reached."""

    received: float = 0.0
    decoded: float = 0.0
    opened: float = 0.0
    fetched: float = 0.0
    computed: float = 0.0
    finished: float = 0.0
    in_collectives_s: float = 0.0


class PartOutcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One rank's part has ended.

    ``rows``, ``nbytes`` and ``schema`` (serialised Arrow schema, from part 0 only) are of its
    output partition; ``value`` is the pickled return value where the task's result is a value.
    ``entered_s`` is the moment when the communicator was open and the work began; 0.0 where it did
    not come to that, so that starting the part again cannot do anything twice.
    """

    stamps: Stamps = Stamps()
    failure: Failure | None = None
    rows: int = 0
    nbytes: int = 0
    schema: bytes = b""
    value: bytes = b""
    entered_s: float = 0.0


class RankProfile(msgspec.Struct, frozen=True, gc=False):
    """The stamps of one member of the gang."""

    rank: RankId
    stamps: Stamps


class TaskProfile(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The agent's moments of a task, on its monotonic clock, and those of every member."""

    submitted_s: float = 0.0
    received_s: float = 0.0
    ready_s: float = 0.0
    placed_s: float = 0.0
    ended_s: float = 0.0
    attempts: int = 1
    parts: tuple[RankProfile, ...] = ()


class TaskOutcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A task has ended: with partitions, or values (by gang rank), or a failure."""

    failure: Failure | None = None
    partitions: tuple[Partition, ...] = ()
    schema: bytes = b""
    values: tuple[bytes, ...] = ()
    profile: TaskProfile = TaskProfile()
