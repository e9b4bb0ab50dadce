"""One rank of test_communicator_tcp.py: python tcp_member.py SLOT DESCRIPTORS [clauses|SCENARIO].

DESCRIPTORS is a JSON list with a connected socket for each slot, null for the own one. Each clause
that holds is printed as "ok NAME", each that does not with its traceback.
"""

from __future__ import annotations

import json
import sys
import traceback

from elevon._native import Mesh
from elevon.comm.tcp import TcpWorld
from elevon.testing.communicators import CONTRACT, Clause

PATIENCE_S = 60.0
MEETINGS = 1_000_000  # contexts above those of the clauses


def enter(slot: int, descriptors: list[int | None]) -> TcpWorld:
    mesh = Mesh(slot, len(descriptors))
    for place, descriptor in enumerate(descriptors):
        if descriptor is not None:
            mesh.attach(place, descriptor, f"slot {place}")
    return TcpWorld(mesh)


def holds(world: TcpWorld, clause: Clause, context: int) -> bool:
    comm = world.open_group(world.slots, context, clause.timeout_s)
    # A clause starts when all have left the one before, and have opened this one.
    meet(world, context)
    try:
        clause.check(comm)
    except Exception as error:  # noqa: BLE001 - told to the test
        comm.abort(f"{type(error).__name__}: {error}")
        print(f"slot {world.slot}, {clause}:", file=sys.stderr)
        traceback.print_exc()
        return False
    finally:
        comm.close()
    return True


def meet(world: TcpWorld, number: int) -> None:
    world.open_group(world.slots, MEETINGS + number, PATIENCE_S).barrier()


def main() -> None:
    world = enter(int(sys.argv[1]), json.loads(sys.argv[2]))
    for context, clause in enumerate(CONTRACT, start=1):
        if holds(world, clause, context):
            print(f"ok {clause}", flush=True)
    meet(world, 0)
    world.leave()


if __name__ == "__main__":
    main()
