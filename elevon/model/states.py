"""Life cycles as tables: an event that a state does not know raises and changes nothing."""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeVar

from elevon.errors import ElevonError


class IllegalTransition(ElevonError):
    """An event arrived in a state that has no transition for it: a defect, not a user's error."""


class TaskState(str, Enum):
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


class TaskEvent(str, Enum):
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


class PilotState(str, Enum):
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


class PilotEvent(str, Enum):
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
    (_T.STOPPING, _TE.CANCEL): _T.STOPPING,
    (_T.STOPPING, _TE.TIME_OVER): _T.STOPPING,
    (_T.STOPPING, _TE.PART_FAILED): _T.STOPPING,
    (_T.STOPPING, _TE.RETRY): _T.WAITING,
    (_T.DONE, _TE.OUTPUT_LOST): _T.WAITING,
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

_State = TypeVar("_State", TaskState, PilotState)
_Event = TypeVar("_Event", TaskEvent, PilotEvent)


def advance(life: dict[tuple[_State, _Event], _State], state: _State, event: _Event) -> _State:
    """The state after ``event``.

    Raises:
        IllegalTransition: the table has no such transition; nothing has changed.
    """
    try:
        return life[state, event]
    except KeyError:
        raise IllegalTransition(f"no way from {state.value!r} by {event.value!r}") from None


def diagram(life: dict[tuple[_State, _Event], _State]) -> str:
    """The table as a Mermaid state diagram."""
    rows: list[str] = [f"    {s.value} --> {t.value}: {e.value}" for (s, e), t in life.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *rows, "```"])


def document() -> str:
    """The text of ``docs/states.md``."""
    return (
        "# States\n\nGenerated from `elevon/model/states.py`; do not edit.\n\n"
        f"## Task\n\n{diagram(TASK_LIFE)}\n\n## Pilot\n\n{diagram(PILOT_LIFE)}\n"
    )


if __name__ == "__main__":
    print(document(), end="")
