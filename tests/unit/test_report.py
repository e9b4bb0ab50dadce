"""The report's arithmetic: phases are consecutive, so they add up."""

from __future__ import annotations

import csv
import io
import json

import pytest

from elevon.errors import DependencyFailed, ResourceError, TaskFailed, TaskTimeout
from elevon.model.ids import RankId, TaskId
from elevon.model.outcomes import (
    PHASES,
    Failure,
    FailureKind,
    Partition,
    RankProfile,
    Stamps,
    TaskOutcome,
    TaskProfile,
)
from elevon.tasks.failures import to_exception
from elevon.tasks.report import Report, task_row

STAMPS = Stamps(
    received=4.0,
    decoded=4.5,
    opened=5.5,
    fetched=6.0,
    computed=9.0,
    finished=9.25,
    in_collectives_s=1.0,
)
PROFILE = TaskProfile(
    submitted_s=1.0,
    received_s=1.5,
    ready_s=2.5,
    placed_s=3.5,
    ended_s=9.5,
    parts=(RankProfile(RankId(0), STAMPS),),
)


@pytest.fixture
def row():
    outcome = TaskOutcome(profile=PROFILE, partitions=(Partition(RankId(0), 7, 70),))
    return task_row(TaskId("t"), "join", 1, outcome, 1.0, 10.0)


def test_every_phase_has_its_span(row):
    (part,) = row.parts
    assert part.phases == {
        "submitted": 0.5,
        "queued": 1.0,
        "scheduled": 1.0,
        "dispatched": 0.5,
        "decoded": 0.5,
        "communicator": 1.0,
        "inputs": 0.5,
        "exchange": 1.0,
        "compute": 2.0,
        "output": 0.25,
        "collected": 0.75,
    }
    assert tuple(part.phases) == PHASES
    assert sum(part.phases.values()) == row.wall_s == 9.0


def test_overheads_are_decoding_and_the_communicator(row):
    assert row.overhead_s == 1.5
    assert row.execution_s == 5.25


def test_exports_say_the_same(row):
    report = Report([row])
    (from_json,) = json.loads(report.to_json())
    assert from_json["phases"]["compute"] == 2.0
    assert from_json["rows"] == 7
    (line,) = csv.DictReader(io.StringIO(report.to_csv()))
    assert float(line["communicator"]) == 1.0
    assert "join" in str(report)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FailureKind.ERROR, TaskFailed),
        (FailureKind.TIMEOUT, TaskTimeout),
        (FailureKind.RESOURCES, ResourceError),
    ],
)
def test_failures_become_typed_errors(kind, error):
    failure = Failure(kind=kind, message="why", rank=2, host="h")
    assert isinstance(to_exception(TaskId("t"), failure, lambda _: None), error)


def test_a_dependency_is_chained_to_the_error_of_its_cause():
    first = TaskFailed("first", task="a")
    failure = Failure(kind=FailureKind.DEPENDENCY, message="m", cause=TaskId("a"))
    error = to_exception(TaskId("b"), failure, {"a": first}.get)
    assert isinstance(error, DependencyFailed)
    assert error.__cause__ is first


def test_every_kind_of_failure_but_cancellation_has_an_error():
    for kind in FailureKind:
        if kind is not FailureKind.CANCELED:
            to_exception(TaskId("t"), Failure(kind=kind, message="m"), lambda _: None)
