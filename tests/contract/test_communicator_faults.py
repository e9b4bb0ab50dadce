"""Groups of MPI ranks when processes die, stay away or are told to stop.

Each test starts a world of its own with the real launcher; the scenarios lie in mpi_scenarios.py.
"""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from elevon.agent.pool.launchers.mpi import MpiLauncher

SCENARIOS = Path(__file__).with_name("mpi_scenarios.py")
ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0
LOOK_EVERY_S = 0.05

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def launcher() -> MpiLauncher:
    return MpiLauncher()


def play(launcher: MpiLauncher, name: str, ranks: int, log: Path, slots: Iterable[int]) -> None:
    """Run a scenario until these slots have told that all was as expected, and no others."""
    expected = list(slots)
    env = {"PYTHONPATH": str(ROOT)}
    handle = launcher.start(ranks, [sys.executable, str(SCENARIOS), name], env, log)
    descriptor = os.pidfd_open(handle.pid)
    try:
        deadline = time.monotonic() + LIMIT_S
        ended: list[int] = []
        while told_in(log, name) != expected and not ended and time.monotonic() < deadline:
            ended, _, _ = select.select([descriptor], [], [], LOOK_EVERY_S)
    finally:
        os.close(descriptor)
        handle.stop(0.0)
    assert told_in(log, name) == expected, log.read_text(errors="replace")


def told_in(log: Path, name: str) -> list[int]:
    said = log.read_text(errors="replace")
    return sorted(int(slot) for slot in re.findall(rf"{name}: slot (\d+) as expected", said))


def needs_survivors(launcher: MpiLauncher) -> None:
    if not launcher.survives_rank_loss:
        pytest.skip("does not apply: a dead rank ends this MPI's world")


@pytest.mark.parametrize(
    "name",
    [
        "member_never_comes",
        "interrupted_by_another_thread",
        "abort_in_a_large_exchange",
        "world_has_another_size",
    ],
)
def test_with_all_alive(launcher: MpiLauncher, name: str, tmp_path: Path) -> None:
    play(launcher, name, 4, tmp_path / "log", range(4))


@pytest.mark.parametrize("name", ["member_is_killed", "member_is_killed_while_opening"])
def test_survivors_are_told(launcher: MpiLauncher, name: str, tmp_path: Path) -> None:
    needs_survivors(launcher)

    play(launcher, name, 4, tmp_path / "log", range(3))


def test_a_world_is_repaired(launcher: MpiLauncher, tmp_path: Path) -> None:
    needs_survivors(launcher)

    play(launcher, "world_is_repaired", 3, tmp_path / "log", range(3))
