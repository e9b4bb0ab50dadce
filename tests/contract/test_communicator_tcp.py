"""The Communicator contract on TCP: real processes, connected on loopback."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from elevon.testing.communicators import CONTRACT
from tests.tcp_support import ranks

pytestmark = pytest.mark.no_mpi

MEMBER = Path(__file__).with_name("tcp_member.py")
SIZES = (1, 2, 3, 4, 7)
LIMIT_S = 100.0

Said = list[tuple[str, str]]


@pytest.fixture(scope="module")
def told() -> dict[int, Said]:
    """What the ranks of each size printed. All at once: much of it is waiting for deadlines."""
    with ExitStack() as running:
        groups = {size: running.enter_context(ranks(size, MEMBER)) for size in SIZES}
        return {
            size: [process.communicate(timeout=LIMIT_S) for process in processes]
            for size, processes in groups.items()
        }


@pytest.mark.parametrize("size", SIZES)
def test_contract(size: int, told: dict[int, Said]) -> None:
    expected = [f"ok {clause}" for clause in CONTRACT]

    assert [said.splitlines() for said, _ in told[size]] == [expected] * size, told[size]
