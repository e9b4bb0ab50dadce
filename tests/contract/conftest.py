"""The world of MPI that a contract test's process is a rank of; see run_mpi.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.mpi import group_of_all, joined_world

if TYPE_CHECKING:
    from elevon.comm.mpi import MpiWorld
    from elevon.comm.protocol import Communicator


@pytest.fixture(scope="module")
def world() -> Iterator[MpiWorld]:
    with joined_world() as world:
        yield world


@pytest.fixture
def comm(world: MpiWorld) -> Iterator[Communicator]:
    with group_of_all(world) as comm:
        yield comm
