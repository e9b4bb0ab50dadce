"""One live pilot for the tests that only use it, and a check that nothing is left behind."""

from __future__ import annotations

import psutil
import pytest

import elevon as ev


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with ev.Session(root=tmp_path_factory.mktemp("sessions")) as session:
        yield session


@pytest.fixture(scope="module")
def pilot(session):
    pilot = ev.PilotManager(session).submit(ev.PilotDescription(resource="local", ranks=4))
    pilot.wait(60)
    return pilot


@pytest.fixture(scope="module")
def tasks(session, pilot):
    return ev.TaskManager(session, pilots=[pilot])


def processes_of(directory) -> list[psutil.Process]:
    """All processes with the directory's path in their command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in part for part in process.info["cmdline"] or ())
    ]
