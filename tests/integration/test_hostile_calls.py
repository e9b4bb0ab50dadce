"""Hostile calls on a real pilot: it answers the next task, and nothing that was accepted hangs.

That each of the values is refused, or comes through the wire, tests/property tries without a pilot.
"""

from __future__ import annotations

import pytest

import elevon as ev
from elevon.errors import DescriptionError, TaskFailed, UsageError
from elevon.tasks.task import Task
from tests.support.hostile import TABLE, VALUES, verbs

pytestmark = [pytest.mark.no_mpi, pytest.mark.timeout(240)]

WITHIN_S = 30.0


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with ev.Session(root=tmp_path_factory.mktemp("sessions")) as session:
        yield session


@pytest.fixture(scope="module")
def pilot(session):
    description = ev.PilotDescription(ranks=2, communicator="tcp")
    return ev.PilotManager(session).submit(description)


@pytest.fixture(scope="module")
def tasks(session, pilot):
    return ev.TaskManager(session, pilots=[pilot])


def test_a_pilot_outlives_hostile_calls(tasks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = tasks.from_arrow(TABLE)
    owners = {"tasks": tasks, "task": frame, "options": frame.options(retries=1)}
    accepted, refused = [], 0
    calls = [
        (verb, slot, make) for verb in verbs() for slot in verb.slots for make in VALUES.values()
    ]
    for verb, slot, make in calls:
        try:
            made = verb.call(owners[verb.owner], {slot: make()})
        except UsageError:
            refused += 1
            continue
        accepted += [made] if isinstance(made, Task) else []
    assert refused > len(accepted) > len(calls) / 50
    for task in accepted:
        task.exception(WITHIN_S)
    assert tasks.sort(frame, by="k", ascending=False).dataset(WITHIN_S).num_rows == 3


@pytest.mark.parametrize("priority", [-(2**31) + 1, 2**31 - 1])
def test_the_edges_of_what_is_allowed_run(tasks, priority):
    edges = tasks.options(
        priority=priority, timeout_s=1e9, memory_per_rank=2**63 - 1, retries=1_000_000, ranks=2
    )
    ones = edges.tail(edges.slice(TABLE, -(2**63) + 1, 2**63 - 1), 2**63 - 1)
    assert edges.head(ones, 2**63 - 1).dataset(WITHIN_S).num_rows == 3
    assert edges.rolling(TABLE, 2**63 - 1, n=("k", "sum"), min_periods=0).dataset(WITHIN_S)
    assert edges.join(TABLE, TABLE, on="k", cores_per_rank=1_024).dataset(WITHIN_S).num_rows == 3
    unbounded = edges.options(memory_per_rank=0)
    assert unbounded.submit(lambda comm: comm.allreduce(1)).result(WITHIN_S) == 2


def test_what_asks_for_too_much_fails_alone(tasks):
    for options in ({"ranks": 1_000_000}, {"name": "x" * 10_000, "ranks": 3}):
        assert isinstance(tasks.options(**options).submit(int).exception(WITHIN_S), UsageError)
    assert tasks.submit(int).result(WITHIN_S) == 0


def test_a_suffix_may_be_none(tasks):
    joined = tasks.join(TABLE, TABLE, on="k", suffixes=(None, "_right"), ranks=2)
    assert joined.dataset(WITHIN_S).column_names == ["k", "x", "x_right"]
    with pytest.raises(TaskFailed, match="suffixes"):
        tasks.join(TABLE, TABLE, on="k", suffixes=(None, None)).result(WITHIN_S)


def test_a_pilot_is_not_ended_for_a_reason_that_cannot_be_told(pilot, tasks):
    for reason in (3, None, "\udc80"):
        with pytest.raises(DescriptionError, match="reason"):
            pilot.cancel(reason)
    assert tasks.submit(int).result(WITHIN_S) == 0
