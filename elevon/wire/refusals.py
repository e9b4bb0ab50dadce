"""What becomes of messages that cannot be read: what was in them ends with that reason.

Pure: from an unreadable message to what its receiver does in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from elevon.model.ids import TaskId
from elevon.model.outcomes import Failure, FailureKind, PartOutcome, TaskOutcome
from elevon.model.tasks import TaskSubmission
from elevon.wire.channels import Unreadable
from elevon.wire.messages import Explanation, PartDone, TaskEnded


def submissions(message: Unreadable) -> Iterator[TaskSubmission | TaskEnded]:
    """What an unreadable Submit holds: each task by itself, or its end with the reason.

    A task whose id cannot be read either is left out; where that happens nothing can be told.
    """
    given = message.field(0) if message.tag == "Submit" else None
    for content in given if isinstance(given, list) else ():
        answer = _submission(content)
        if answer is not None:
            yield answer


def _submission(content: Any) -> TaskSubmission | TaskEnded | None:
    try:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(content), type=TaskSubmission)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        task = content.get("task") if isinstance(content, dict) else None
        if not isinstance(task, str):
            return None
        failure = unreadable(f"task {task}", f"the agent: {error}")
        return TaskEnded(TaskId(task), TaskOutcome(failure=failure))


def explanation(message: Unreadable) -> Explanation | None:
    """The answer to an unreadable question, if it is one."""
    number = message.field(0)
    if message.tag != "Explain" or not _is_number(number):
        return None
    return Explanation(number, str(message))


def task_ended(message: Unreadable) -> TaskEnded | None:
    """The end of the task that an unreadable TaskEnded is about, if it says which."""
    task = message.field(0)
    if message.tag != "TaskEnded" or not isinstance(task, str):
        return None
    failure = unreadable(f"the end of task {task}", message.reason)
    return TaskEnded(TaskId(task), TaskOutcome(failure=failure))


def part_done(message: Unreadable) -> PartDone | None:
    """The end of the part that an unreadable PartDone or RunTask is about, if it says which."""
    task = message.field(0)
    attempt = message.field({"PartDone": 1, "RunTask": 2}.get(message.tag, -1))
    if message.tag not in ("PartDone", "RunTask") or not isinstance(task, str):
        return None
    if not _is_number(attempt):
        return None
    return PartDone(
        TaskId(task), attempt, PartOutcome(failure=unreadable(f"a part of {task}", message.reason))
    )


def unreadable(what: str, reason: str) -> Failure:
    """The failure of something that one program has sent and another cannot read."""
    return Failure(
        kind=FailureKind.UNREADABLE,
        message=(
            f"{what} was sent in a form that its receiver cannot read ({reason}): do the client, "
            "the agent and the ranks run the same release?"
        ),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
