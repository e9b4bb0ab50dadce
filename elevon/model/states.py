"""Life cycles as tables, and which states of two machines go together.

A task has three machines: its own, that of the attempt that runs (there is at most one), and that
of its output. A fourth says what its client knows and wants. They advance together, by three rules
that are tables, too:

- ``STOPS``: what makes an attempt leave WORKING makes its task STOPPING.
- ``ENDS``: the state in which an attempt has ended gives the event that ends its task. A FAILED
  attempt may be tried again instead (retries, false starts); a VOID one always is.
- ``TOGETHER``: the states of attempt and output in each state of the task, between two events.

A rank is BUSY exactly while a part of some attempt runs on it. When a rank is gone, first every
output that it held loses a partition, then the attempt that it worked for loses a member, then
what is needed is recomputed: so nothing is started with data that is no longer there.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypeAlias

Life: TypeAlias = Mapping[tuple[Any, Any], Enum]


class Named(str, Enum):
    """A state or an event: a text that is the only one of its kind."""

    # Enum's own is a function of Python's, and half the cost of a look into a table.
    __hash__ = str.__hash__


class TaskState(Named):
    """Where a task is on its way."""

    WAITING = "waiting"  # for its inputs
    READY = "ready"  # inputs are there; waits for ranks
    RUNNING = "running"
    STOPPING = "stopping"  # one part failed or it was cancelled; other parts are still leaving
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        """Whether the task has ended for good."""
        return self in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELED)


class TaskEvent(Named):
    """What can happen to a task."""

    INPUTS_READY = "inputs ready"
    STARTED = "started"
    ALL_PARTS_DONE = "all parts done"
    PART_FAILED = "part failed"
    CANCEL = "cancel"
    RETRY = "retry"
    GIVE_UP = "give up"
    ALL_PARTS_LEFT = "all parts left"
    CANCELED_PARTS_LEFT = "canceled parts left"
    TIME_OVER = "time over"
    INPUT_LOST = "input lost"
    OUTPUT_LOST = "output lost"


class AttemptState(Named):
    """Where one run of a task on one gang is on its way."""

    WORKING = "working"
    LEAVING = "leaving"  # members left a collective; what failed first is not known yet
    FAILING = "failing"  # the cause is known, and the members that still run are told to leave
    CANCELING = "canceling"  # not wanted any more; all members are told to leave
    SUCCEEDED = "succeeded"
    FAILED = "attempt failed"
    CANCELED = "attempt canceled"
    VOID = "void"  # all ranks went at once, through no fault of this task


class AttemptEvent(Named):
    """What can happen to an attempt."""

    MEMBER_LEFT = "a member left a collective"
    MEMBER_FAILED = "a member failed"
    TIME_OVER = "time over"
    CANCEL = "cancel"
    ALL_ENDED = "all members ended"
    WORLD_GONE = "world gone"


class OutputState(Named):
    """Where the output of a task is; values are kept by the agent, datasets by ranks."""

    ABSENT = "absent"  # not made yet
    WHOLE = "whole"
    DAMAGED = "damaged"  # ranks took partitions with them
    DROPPED = "dropped"  # neither its client nor an unfinished task needed it


class OutputEvent(Named):
    """What can happen to the output of a task."""

    MADE = "made"
    PARTITION_LOST = "partition lost"
    UNNEEDED = "unneeded"
    RECOMPUTE = "recompute"


class HandleState(Named):
    """What the client knows of its task, and whether it still has a handle to it."""

    AWAITED = "awaited"  # it has a handle and was told no end
    TOLD = "told"  # it has a handle and was told an end
    RELEASED = "released"  # it has no handle; the end will be told all the same
    CLOSED = "closed"  # it has no handle and was told an end


class HandleEvent(Named):
    """What passes between a client and the agent about a task."""

    TELL = "tell"
    RELEASE = "release"


class RankState(Named):
    """What a rank does."""

    ABSENT = "absent"  # its process is on its way
    IDLE = "idle"
    BUSY = "busy"  # runs a part of an attempt
    LOST = "lost"  # its process is gone or of no use, and is to be replaced
    AWAITED = "awaited"  # its replacement was asked for


class RankEvent(Named):
    """What can happen to a rank."""

    JOINED = "joined"
    STARTED = "part started"
    PART_ENDED = "part ended"
    GONE = "gone"
    REPAIR_ASKED = "repair asked"
    WORLD_GONE = "world gone"


class WorldState(Named):
    """Whether the ranks of a pilot can work together."""

    INTACT = "intact"  # no rank is to be replaced
    DAMAGED = "damaged"  # ranks are lost; what fits the others starts
    UNFIT = "unfit"  # and communicators do not open: nothing starts until all ranks are idle
    REPAIRING = "repairing"  # the lost ranks are being replaced: nothing starts


class WorldEvent(Named):
    """What can happen to the world of ranks."""

    RANK_LOST = "rank lost"
    NOT_OPENED = "communicator not opened"
    REPAIR_ASKED = "repair asked"
    ALL_REPLACED = "all replaced"
    WORLD_GONE = "world gone"


class PilotState(Named):
    """Where a pilot is on its way."""

    NEW = "new"
    STARTING = "starting"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        """Whether the pilot has ended for good."""
        return self in (PilotState.DONE, PilotState.FAILED, PilotState.CANCELED)


class PilotEvent(Named):
    """What can happen to a pilot."""

    SUBMITTED = "submitted"
    RANKS_UP = "ranks up"
    START_FAILED = "start failed"
    CANCEL = "cancel"
    ENDED = "ended"
    WALLTIME = "walltime over"  # ending by walltime is a way to be done, not a failure
    LOST = "lost"


_T, _TE = TaskState, TaskEvent
TASK_LIFE: Final[dict[tuple[TaskState, TaskEvent], TaskState]] = {
    (_T.WAITING, _TE.INPUTS_READY): _T.READY,
    (_T.WAITING, _TE.CANCEL): _T.CANCELED,
    (_T.WAITING, _TE.GIVE_UP): _T.FAILED,
    (_T.READY, _TE.STARTED): _T.RUNNING,
    (_T.READY, _TE.CANCEL): _T.CANCELED,
    (_T.READY, _TE.INPUT_LOST): _T.WAITING,
    (_T.RUNNING, _TE.ALL_PARTS_DONE): _T.DONE,
    (_T.RUNNING, _TE.PART_FAILED): _T.STOPPING,
    (_T.RUNNING, _TE.CANCEL): _T.STOPPING,
    (_T.RUNNING, _TE.TIME_OVER): _T.STOPPING,
    (_T.STOPPING, _TE.ALL_PARTS_LEFT): _T.FAILED,
    (_T.STOPPING, _TE.CANCELED_PARTS_LEFT): _T.CANCELED,
    (_T.STOPPING, _TE.RETRY): _T.WAITING,
    (_T.DONE, _TE.OUTPUT_LOST): _T.WAITING,
}

_A, _AE = AttemptState, AttemptEvent
ATTEMPT_LIFE: Final[dict[tuple[AttemptState, AttemptEvent], AttemptState]] = {
    (_A.WORKING, _AE.MEMBER_LEFT): _A.LEAVING,
    (_A.WORKING, _AE.MEMBER_FAILED): _A.FAILING,
    (_A.WORKING, _AE.TIME_OVER): _A.FAILING,
    (_A.WORKING, _AE.CANCEL): _A.CANCELING,
    (_A.WORKING, _AE.ALL_ENDED): _A.SUCCEEDED,
    (_A.WORKING, _AE.WORLD_GONE): _A.VOID,
    (_A.LEAVING, _AE.MEMBER_LEFT): _A.LEAVING,
    (_A.LEAVING, _AE.MEMBER_FAILED): _A.FAILING,
    (_A.LEAVING, _AE.TIME_OVER): _A.FAILING,
    (_A.LEAVING, _AE.CANCEL): _A.CANCELING,
    (_A.LEAVING, _AE.ALL_ENDED): _A.FAILED,
    (_A.LEAVING, _AE.WORLD_GONE): _A.VOID,
    (_A.FAILING, _AE.MEMBER_LEFT): _A.FAILING,
    (_A.FAILING, _AE.MEMBER_FAILED): _A.FAILING,
    (_A.FAILING, _AE.TIME_OVER): _A.FAILING,
    (_A.FAILING, _AE.CANCEL): _A.CANCELING,
    (_A.FAILING, _AE.ALL_ENDED): _A.FAILED,
    (_A.FAILING, _AE.WORLD_GONE): _A.FAILED,
    (_A.CANCELING, _AE.MEMBER_LEFT): _A.CANCELING,
    (_A.CANCELING, _AE.MEMBER_FAILED): _A.CANCELING,
    (_A.CANCELING, _AE.TIME_OVER): _A.CANCELING,
    (_A.CANCELING, _AE.CANCEL): _A.CANCELING,
    (_A.CANCELING, _AE.ALL_ENDED): _A.CANCELED,
    (_A.CANCELING, _AE.WORLD_GONE): _A.CANCELED,
}

_O, _OE = OutputState, OutputEvent
OUTPUT_LIFE: Final[dict[tuple[OutputState, OutputEvent], OutputState]] = {
    (_O.ABSENT, _OE.MADE): _O.WHOLE,
    (_O.WHOLE, _OE.PARTITION_LOST): _O.DAMAGED,
    (_O.WHOLE, _OE.UNNEEDED): _O.DROPPED,
    (_O.DAMAGED, _OE.PARTITION_LOST): _O.DAMAGED,
    (_O.DAMAGED, _OE.UNNEEDED): _O.DROPPED,
    (_O.DAMAGED, _OE.RECOMPUTE): _O.ABSENT,
    (_O.DROPPED, _OE.RECOMPUTE): _O.ABSENT,
}

_H, _HE = HandleState, HandleEvent
HANDLE_LIFE: Final[dict[tuple[HandleState, HandleEvent], HandleState]] = {
    (_H.AWAITED, _HE.TELL): _H.TOLD,
    (_H.AWAITED, _HE.RELEASE): _H.RELEASED,
    (_H.TOLD, _HE.TELL): _H.TOLD,  # of a dataset that was lost and recomputed
    (_H.TOLD, _HE.RELEASE): _H.CLOSED,
    (_H.RELEASED, _HE.TELL): _H.CLOSED,
    (_H.RELEASED, _HE.RELEASE): _H.RELEASED,
    (_H.CLOSED, _HE.RELEASE): _H.CLOSED,
}

_R, _RE = RankState, RankEvent
RANK_LIFE: Final[dict[tuple[RankState, RankEvent], RankState]] = {
    (_R.ABSENT, _RE.JOINED): _R.IDLE,
    (_R.ABSENT, _RE.GONE): _R.LOST,
    (_R.IDLE, _RE.STARTED): _R.BUSY,
    (_R.IDLE, _RE.GONE): _R.LOST,
    (_R.IDLE, _RE.WORLD_GONE): _R.ABSENT,
    (_R.BUSY, _RE.PART_ENDED): _R.IDLE,
    (_R.BUSY, _RE.GONE): _R.LOST,
    (_R.BUSY, _RE.WORLD_GONE): _R.ABSENT,
    (_R.LOST, _RE.GONE): _R.LOST,  # evicted first, dead then
    (_R.LOST, _RE.JOINED): _R.IDLE,
    (_R.LOST, _RE.REPAIR_ASKED): _R.AWAITED,
    (_R.LOST, _RE.WORLD_GONE): _R.ABSENT,
    (_R.AWAITED, _RE.GONE): _R.AWAITED,
    (_R.AWAITED, _RE.JOINED): _R.IDLE,
    (_R.AWAITED, _RE.REPAIR_ASKED): _R.AWAITED,
    (_R.AWAITED, _RE.WORLD_GONE): _R.ABSENT,
}

_W, _WE = WorldState, WorldEvent
WORLD_LIFE: Final[dict[tuple[WorldState, WorldEvent], WorldState]] = {
    (_W.INTACT, _WE.RANK_LOST): _W.DAMAGED,
    (_W.INTACT, _WE.WORLD_GONE): _W.INTACT,
    (_W.DAMAGED, _WE.RANK_LOST): _W.DAMAGED,
    (_W.DAMAGED, _WE.NOT_OPENED): _W.UNFIT,
    (_W.DAMAGED, _WE.REPAIR_ASKED): _W.REPAIRING,
    (_W.DAMAGED, _WE.ALL_REPLACED): _W.INTACT,
    (_W.DAMAGED, _WE.WORLD_GONE): _W.INTACT,
    (_W.UNFIT, _WE.RANK_LOST): _W.UNFIT,
    (_W.UNFIT, _WE.NOT_OPENED): _W.UNFIT,
    (_W.UNFIT, _WE.REPAIR_ASKED): _W.REPAIRING,
    (_W.UNFIT, _WE.ALL_REPLACED): _W.INTACT,
    (_W.UNFIT, _WE.WORLD_GONE): _W.INTACT,
    (_W.REPAIRING, _WE.RANK_LOST): _W.REPAIRING,
    (_W.REPAIRING, _WE.REPAIR_ASKED): _W.REPAIRING,
    (_W.REPAIRING, _WE.ALL_REPLACED): _W.INTACT,
    (_W.REPAIRING, _WE.WORLD_GONE): _W.INTACT,
}

_P, _PE = PilotState, PilotEvent
PILOT_LIFE: Final[dict[tuple[PilotState, PilotEvent], PilotState]] = {
    (_P.NEW, _PE.SUBMITTED): _P.STARTING,
    (_P.STARTING, _PE.RANKS_UP): _P.ACTIVE,
    (_P.STARTING, _PE.START_FAILED): _P.FAILED,
    (_P.STARTING, _PE.CANCEL): _P.CANCELED,
    # A pilot whose time is over before it could do anything was of no use: its client is told so.
    (_P.STARTING, _PE.WALLTIME): _P.FAILED,
    (_P.ACTIVE, _PE.CANCEL): _P.CANCELED,
    (_P.ACTIVE, _PE.ENDED): _P.DONE,
    (_P.ACTIVE, _PE.WALLTIME): _P.DONE,
    (_P.ACTIVE, _PE.LOST): _P.FAILED,
}

# What becomes of the task when its attempt leaves WORKING before all members have ended.
STOPS: Final[dict[AttemptEvent, TaskEvent]] = {
    _AE.MEMBER_LEFT: _TE.PART_FAILED,
    _AE.MEMBER_FAILED: _TE.PART_FAILED,
    _AE.WORLD_GONE: _TE.PART_FAILED,
    _AE.TIME_OVER: _TE.TIME_OVER,
    _AE.CANCEL: _TE.CANCEL,
}

# What becomes of the task when its attempt has ended; a FAILED one may be a RETRY, too.
ENDS: Final[dict[AttemptState, TaskEvent]] = {
    _A.SUCCEEDED: _TE.ALL_PARTS_DONE,
    _A.FAILED: _TE.ALL_PARTS_LEFT,
    _A.CANCELED: _TE.CANCELED_PARTS_LEFT,
    _A.VOID: _TE.RETRY,
}

# By the task's state: the states of its attempt (none: there is no attempt) and of its output.
_MADE = (_O.WHOLE, _O.DAMAGED, _O.DROPPED)
TOGETHER: Final[dict[TaskState, tuple[tuple[AttemptState, ...], tuple[OutputState, ...]]]] = {
    _T.WAITING: ((), (_O.ABSENT,)),
    _T.READY: ((), (_O.ABSENT,)),
    _T.RUNNING: ((_A.WORKING,), (_O.ABSENT,)),
    _T.STOPPING: ((_A.LEAVING, _A.FAILING, _A.CANCELING), (_O.ABSENT,)),
    _T.DONE: ((), _MADE),
    _T.FAILED: ((), (_O.ABSENT,)),
    _T.CANCELED: ((), (_O.ABSENT,)),
}

# Every table with the state in which it begins.
LIVES: Final[dict[str, tuple[Life, Enum]]] = {
    "Task": (TASK_LIFE, _T.WAITING),
    "Attempt": (ATTEMPT_LIFE, _A.WORKING),
    "Output": (OUTPUT_LIFE, _O.ABSENT),
    "Handle": (HANDLE_LIFE, _H.AWAITED),
    "Rank": (RANK_LIFE, _R.ABSENT),
    "World": (WORLD_LIFE, _W.INTACT),
    "Pilot": (PILOT_LIFE, _P.NEW),
}
