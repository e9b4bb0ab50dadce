"""The Communicator contract on MPI: run by run_mpi.py inside mpiexec at several sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from elevon.errors import UsageError
from elevon.testing.communicators import CONTRACT, Clause
from tests.support.mpi import contexts

if TYPE_CHECKING:
    from elevon.comm.mpi import MpiWorld

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("clause", CONTRACT, ids=str)
def test_contract(clause: Clause, world: MpiWorld) -> None:
    context = next(contexts)
    world.evict([context - 1])
    # Opening is not what a clause about time is about: a member may still be in the last one.
    world.open_group(world.slots, context, 60).close()
    comm = world.open_group(world.slots, context, clause.timeout_s)
    try:
        clause.check(comm)
    except BaseException as error:
        comm.abort(f"{type(error).__name__}: {error}")
        raise
    finally:
        comm.close()


def test_slots_in_any_order(world: MpiWorld) -> None:
    members = tuple(reversed(world.slots))

    comm = world.open_group(members, next(contexts), 60)

    assert comm.rank == members.index(world.slot)
    comm.barrier()


def test_a_context_is_reused(world: MpiWorld) -> None:
    context = next(contexts)
    first = world.open_group(world.slots, context, 60)
    first.close()

    again = world.open_group(world.slots, context, 30)

    assert again.timeout_s == 30
    again.barrier()
    if world.size > 1:
        assert again.mpi == first_mpi(world, context)


def first_mpi(world: MpiWorld, context: int) -> object:
    return world.open_group(world.slots, context, 1).mpi


def test_a_context_belongs_to_its_members(world: MpiWorld) -> None:
    context = next(contexts)
    world.open_group(world.slots, context, 60)

    if world.size > 1:
        with pytest.raises(UsageError, match=f"context {context} is the group of slots"):
            world.open_group(tuple(reversed(world.slots)), context, 60)


def test_wrong_members(world: MpiWorld) -> None:
    stranger = world.size

    with pytest.raises(UsageError, match="no slots"):
        world.open_group((*world.slots, stranger), 10_000, 1)
    with pytest.raises(UsageError, match="named twice"):
        world.open_group((world.slot, world.slot), 10_000, 1)
    with pytest.raises(UsageError, match="no member"):
        world.open_group((stranger,), 10_000, 1)
