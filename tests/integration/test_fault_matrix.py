"""Members that end in collectives: a few of the trials of ``elevon bench faults``.

The command draws from the whole matrix; here are every end and every kind of place, each collective
at least once.
"""

from __future__ import annotations

import json
import random

import pytest
from click.testing import CliRunner

import elevon as ev
from elevon.bench.fault_trials import CALLS, ENDS, RANKS, Trial, attempt
from elevon.bench.faults import command

pytestmark = [pytest.mark.no_mpi, pytest.mark.timeout(120)]

NOTICED_WITHIN_S = 2.0
# That a process is stopped is noticed by looking, twice, not by the kernel's word.
STOP_NOTICED_WITHIN_S = 4.0
SWIFT = [end for end in ENDS if end != "SIGSTOP"]


@pytest.fixture(scope="module")
def pilot(session):
    pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=RANKS, communicator="tcp"))
    pilot.wait(60)
    return pilot


def trials():
    calls = list(CALLS)
    yield from (
        Trial(SWIFT[number % len(SWIFT)], call, number % RANKS) for number, call in enumerate(calls)
    )
    yield Trial("SIGSTOP", "gather", 0)
    yield Trial("SIGSTOP", "large alltoallv", 2)


@pytest.mark.parametrize("trial", [*trials()], ids=str)
def test_the_client_is_told_and_the_pool_lives_on(tasks, trial):
    verdict = attempt(tasks, trial)

    assert not verdict.wrong
    assert verdict.seconds < (STOP_NOTICED_WITHIN_S if trial.end == "SIGSTOP" else NOTICED_WITHIN_S)


def test_every_trial_can_be_drawn():
    chance = random.Random(0)
    drawn = [Trial.draw(chance) for _ in range(3000)]

    assert {trial.end for trial in drawn} == set(ENDS)
    assert {trial.call for trial in drawn} == set(CALLS)
    assert {trial.victim for trial in drawn} == set(range(RANKS))


def test_the_command_counts():
    said = CliRunner().invoke(command, ["--trials", "3", "--json"], catch_exceptions=False)

    found = json.loads(said.output)
    assert found["trials"] == 3
    assert (found["hangs"], found["untyped"], found["leaks"]) == (0, 0, 0), found["findings"]
    assert 0 < found["median_s"] <= found["worst_s"] < STOP_NOTICED_WITHIN_S
