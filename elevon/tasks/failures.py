"""From a Failure on the wire to the exception on the future: one table."""

from __future__ import annotations

from collections.abc import Callable

from elevon.errors import (
    DataLost,
    DependencyFailed,
    ElevonError,
    PilotLost,
    RankLost,
    ResourceError,
    TaskError,
    TaskFailed,
    TaskTimeout,
    WireError,
)
from elevon.model.ids import TaskId
from elevon.model.outcomes import Failure, FailureKind

_CLASSES: dict[FailureKind, type[TaskError]] = {
    FailureKind.ERROR: TaskFailed,
    FailureKind.ABORTED: TaskFailed,
    FailureKind.RANK_LOST: RankLost,
    FailureKind.DATA_LOST: DataLost,
    FailureKind.TIMEOUT: TaskTimeout,
    FailureKind.DEPENDENCY: DependencyFailed,
}


def to_exception(
    task: TaskId, failure: Failure, error_of: Callable[[TaskId], BaseException | None]
) -> ElevonError:
    """The exception for the future of ``task``; nothing foreign is unpickled here.

    Args:
        task: the task that failed.
        failure: what the agent says.
        error_of: the exception of another task, for the chain behind a dependency.
    """
    if failure.kind is FailureKind.RESOURCES:
        return ResourceError(failure.message)
    if failure.kind is FailureKind.PILOT_LOST:
        return PilotLost(failure.message)
    if failure.kind is FailureKind.UNREADABLE:
        return WireError(failure.message)
    error = _CLASSES[failure.kind](
        failure.message,
        task=task,
        rank=failure.rank,
        host=failure.host,
        remote_traceback=failure.traceback,
    )
    error.pickled_cause = failure.exception
    if failure.cause is not None and not failure.exception:
        error.__cause__ = error_of(failure.cause) or _root(failure.cause, failure.message)
    return error


def _root(task: TaskId, message: str) -> TaskFailed:
    """The failure of a task whose own error nobody holds any more: its text comes first."""
    return TaskFailed(message.partition("\n")[0], task=task)
