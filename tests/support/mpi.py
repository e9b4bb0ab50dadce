"""Worlds and groups of MPI for tests that run inside mpiexec."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elevon.comm.mpi import MpiWorld
    from elevon.comm.protocol import Communicator

# All ranks run the same tests in the same order, so they count alike.
contexts = itertools.count(1)


@contextmanager
def joined_world() -> Iterator[MpiWorld]:
    """This process in the world that mpiexec made."""
    from elevon.comm.mpi import MpiWorld

    world = MpiWorld.join()
    yield world
    world.leave()


@contextmanager
def group_of_all(world: MpiWorld, timeout_s: float = 60.0) -> Iterator[Communicator]:
    """A group of all ranks; what the one before it has left behind is removed."""
    context = next(contexts)
    world.evict([context - 1])
    group = world.open_group(world.slots, context, timeout_s)
    yield group
    group.close()
