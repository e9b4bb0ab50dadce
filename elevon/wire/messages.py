"""All messages, by direction. Frozen, tagged, carried as msgpack; no dict crosses a border.

Bulk data never travels here: messages carry references and counts.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from elevon.model.ids import RankId, TaskId
from elevon.model.operations import Operation
from elevon.model.outcomes import PartOutcome, TaskOutcome
from elevon.model.slices import Slice
from elevon.model.states import PilotState
from elevon.model.tasks import TaskSubmission

PROTOCOL = 1


class _Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base of all messages: small on the wire (fields by position)."""


# ------------------------------------------------------------------ client -> agent


class ClientHello(_Message, frozen=True):
    """First message of a client. ``protocol`` must be the agent's own."""

    client: str
    protocol: int = PROTOCOL


class PutFunction(_Message, frozen=True):
    """A function, once per content hash, before the first task that calls it."""

    digest: str
    blob: bytes


class Submit(_Message, frozen=True):
    """Tasks in an order in which every input comes before its consumer."""

    tasks: tuple[TaskSubmission, ...]


class Cancel(_Message, frozen=True):
    """The client no longer wants these tasks."""

    tasks: tuple[TaskId, ...]


class Release(_Message, frozen=True):
    """The client holds no handle to the outputs of these tasks any more."""

    tasks: tuple[TaskId, ...]


class Explain(_Message, frozen=True):
    """Why is this task where it is? Answered by Explanation with the same request number."""

    request: int
    task: TaskId


class ClientAlive(_Message, frozen=True):
    """Heartbeat of a client."""


class Goodbye(_Message, frozen=True):
    """The client leaves on purpose; with ``keep`` the pilot works on without it."""

    keep: bool


class Shutdown(_Message, frozen=True):
    """End the pilot now; what runs is cancelled."""

    reason: str


ClientMessage: TypeAlias = (
    ClientHello
    | PutFunction
    | Submit
    | Cancel
    | Release
    | Explain
    | ClientAlive
    | Goodbye
    | Shutdown
)

# ------------------------------------------------------------------ agent -> client


class PilotChanged(_Message, frozen=True):
    """The pilot's state and how many ranks live; sent after ClientHello and at every change."""

    state: PilotState
    ranks_alive: int
    reason: str = ""


class TaskEnded(_Message, frozen=True):
    """A task has ended (or its output has moved: then with new partitions)."""

    task: TaskId
    outcome: TaskOutcome


class Explanation(_Message, frozen=True):
    """The answer to Explain."""

    request: int
    text: str


class AgentAlive(_Message, frozen=True):
    """Heartbeat of the agent, to clients and ranks."""


AgentMessage: TypeAlias = PilotChanged | TaskEnded | Explanation | AgentAlive

# ------------------------------------------------------------------ rank -> agent


class RankHello(_Message, frozen=True):
    """First message of a rank, on its work channel, once its world stands."""

    rank: RankId
    world: int
    pid: int
    host: str
    world_size: int
    data_address: str


class PartDone(_Message, frozen=True):
    """A part has ended; the rank is free."""

    task: TaskId
    attempt: int
    outcome: PartOutcome


class RankAlive(_Message, frozen=True):
    """Heartbeat of a rank, on its control channel."""


class Repaired(_Message, frozen=True):
    """The rank's answer to Repair: ``error`` is empty where the world stands again."""

    error: str


RankMessage: TypeAlias = RankHello | PartDone | RankAlive | Repaired

# ------------------------------------------------------------------ agent -> rank, work channel


class RunTask(_Message, frozen=True):
    """One member's part of an attempt.

    ``members`` are the gang's ranks in order, ``group_rank`` is the receiver's place among them.
    ``inputs[i]`` are the slices of input i; a value input has none and its pickled value stands in
    ``values[i]``. ``function`` is the pickled function where the rank has not had it yet.
    ``memory_bytes`` is the rank's budget for working memory, 0 where there is none.
    """

    task: TaskId
    name: str
    attempt: int
    operation: Operation
    members: tuple[RankId, ...]
    group_rank: int
    communicator_id: int
    evict: tuple[int, ...]
    inputs: tuple[tuple[Slice, ...], ...]
    values: tuple[bytes, ...]
    schemas: tuple[bytes, ...]
    function: bytes
    threads: int
    timeout_s: float | None
    memory_bytes: int = 0


class Repair(_Message, frozen=True):
    """Collective over all living ranks: rebuild the world with replacements for ``lost``."""

    lost: tuple[RankId, ...]
    command: tuple[str, ...]


class Exit(_Message, frozen=True):
    """End the process in good order."""


WorkMessage: TypeAlias = RunTask | Repair | Exit

# ------------------------------------------------------------------ agent -> rank, control channel


class Interrupt(_Message, frozen=True):
    """Leave this attempt: every collective of it ends with an error at once.

    ``group_rank`` is the member to blame, or -1; ``lost``, whether it is gone.
    """

    task: TaskId
    attempt: int
    reason: str
    group_rank: int
    lost: bool = False


class Drop(_Message, frozen=True):
    """Forget the partitions of these tasks."""

    tasks: tuple[TaskId, ...]


ControlMessage: TypeAlias = Interrupt | Drop | AgentAlive | Exit
