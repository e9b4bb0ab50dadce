"""Groups of MPI ranks when processes die, stay away or are told to stop.

Each test starts a world of its own with the real launcher; the scenarios lie in mpi_scenarios.py.
"""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from elevon.agent.launchers.mpi import MpiLauncher

SCENARIOS = Path(__file__).with_name("mpi_scenarios.py")
ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def launcher() -> MpiLauncher:
    return MpiLauncher()


def play(launcher: MpiLauncher, name: str, ranks: int, log: Path) -> tuple[int | None, str]:
    """Run a scenario to its end; mpiexec's status and what all ranks said."""
    env = {"PYTHONPATH": str(ROOT)}
    handle = launcher.start(ranks, [sys.executable, str(SCENARIOS), name], env, log)
    descriptor = os.pidfd_open(handle.pid)
    try:
        select.select([descriptor], [], [], LIMIT_S)
        return handle.poll(), log.read_text(errors="replace")
    finally:
        os.close(descriptor)
        handle.stop(0.0)


def assert_as_expected(said: str, name: str, slots: Iterable[int]) -> None:
    told = sorted(int(slot) for slot in re.findall(rf"{name}: slot (\d+) as expected", said))
    assert told == list(slots), said


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
    _, said = play(launcher, name, 4, tmp_path / "log")

    assert_as_expected(said, name, range(4))


@pytest.mark.parametrize("name", ["member_is_killed", "member_is_killed_while_opening"])
def test_survivors_are_told(launcher: MpiLauncher, name: str, tmp_path: Path) -> None:
    needs_survivors(launcher)

    _, said = play(launcher, name, 4, tmp_path / "log")

    assert_as_expected(said, name, range(3))


def test_a_world_is_repaired(launcher: MpiLauncher, tmp_path: Path) -> None:
    needs_survivors(launcher)

    _, said = play(launcher, "world_is_repaired", 3, tmp_path / "log")

    assert_as_expected(said, "world_is_repaired", range(3))
