"""From a Failure on the wire to the exception on the future."""

from __future__ import annotations

from elevon.errors import DependencyFailed, TaskFailed, WireError
from elevon.model.ids import TaskId
from elevon.model.outcomes import Failure, FailureKind
from elevon.tasks.failures import to_exception

CHILD, ROOT = TaskId("task.2"), TaskId("task.1")
FAILURE = Failure(
    kind=FailureKind.DEPENDENCY,
    message="ValueError: no such file\ntask.2 cannot run because task.1 did not succeed",
    cause=ROOT,
)


def test_the_cause_of_a_dependency_is_the_roots_own_error() -> None:
    root = TaskFailed("ValueError: no such file", task=ROOT)
    error = to_exception(CHILD, FAILURE, {ROOT: root}.get)

    assert isinstance(error, DependencyFailed)
    assert error.__cause__ is root


def test_where_nobody_holds_the_roots_error_its_text_is_the_cause() -> None:
    error = to_exception(CHILD, FAILURE, lambda _: None)

    assert isinstance(error.__cause__, TaskFailed)
    assert error.__cause__.task == ROOT
    assert str(error.__cause__) == "ValueError: no such file"


def test_what_could_not_be_read_is_a_wire_error() -> None:
    failure = Failure(kind=FailureKind.UNREADABLE, message="sent in another form")

    assert isinstance(to_exception(CHILD, failure, lambda _: None), WireError)
