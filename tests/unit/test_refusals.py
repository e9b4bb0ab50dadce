"""What was in a message that cannot be read ends with that reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from elevon.model.algebra import SliceRows
from elevon.model.ids import TaskId
from elevon.model.outcomes import FailureKind
from elevon.model.tasks import TaskDescription, TaskSubmission
from elevon.wire import refusals
from elevon.wire.channels import Unreadable
from elevon.wire.messages import Explanation, PartDone, TaskEnded


def plain(task: str, **changes: Any) -> dict[str, Any]:
    """A submission as it travels."""
    description = TaskDescription(operation=SliceRows(0, 5), inputs=(TaskId("a"),))
    sent = msgspec.msgpack.encode(TaskSubmission(TaskId(task), description, 1.0))
    return {**msgspec.msgpack.decode(sent), **changes}


def unreadable(*content: Any) -> Unreadable:
    return Unreadable(list(content), "Expected `int`, got `str`")


def test_innocent_tasks_of_an_unreadable_submit_are_submitted() -> None:
    broken = plain("b", description={"operation": {"type": "slice", "start": "two"}})
    first, second, third = refusals.submissions(
        unreadable("Submit", [plain("a"), broken, plain("c")])
    )

    assert isinstance(first, TaskSubmission)
    assert isinstance(third, TaskSubmission)
    assert [first.task, third.task] == ["a", "c"]
    assert isinstance(second, TaskEnded)
    assert second.task == "b"
    assert second.outcome.failure is not None
    assert second.outcome.failure.kind is FailureKind.UNREADABLE
    assert "task b" in second.outcome.failure.message


@pytest.mark.parametrize("given", [None, 3, [3], [{"task": 7}], [None]])
def test_where_no_task_can_be_told_there_is_none(given: Any) -> None:
    assert list(refusals.submissions(unreadable("Submit", given))) == []


def test_a_part_that_cannot_be_read_has_ended() -> None:
    for content in (("PartDone", "t", 2, "?"), ("RunTask", "t", "name", 2, "?")):
        done = refusals.part_done(unreadable(*content))
        assert isinstance(done, PartDone)
        assert (done.task, done.attempt) == ("t", 2)
        assert done.outcome.failure is not None
        assert done.outcome.failure.kind is FailureKind.UNREADABLE


@pytest.mark.parametrize(
    "content", [(), ("PartDone",), ("PartDone", "t"), ("PartDone", 1, 1), ("RankAlive", "t", 1)]
)
def test_what_is_about_no_part_ends_none(content: tuple[Any, ...]) -> None:
    assert refusals.part_done(unreadable(*content)) is None


def test_questions_and_ends_are_answered() -> None:
    answer = refusals.explanation(unreadable("Explain", 7, 8))
    assert isinstance(answer, Explanation)
    assert answer.request == 7
    assert refusals.explanation(unreadable("Explain", "x")) is None
    ended = refusals.task_ended(unreadable("TaskEnded", "t", "?"))
    assert ended is not None
    assert ended.task == "t"
    assert refusals.task_ended(unreadable("TaskEnded")) is None
    assert refusals.task_ended(Unreadable(None, "no msgpack")) is None
