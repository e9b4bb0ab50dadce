"""One rank of test_communicator_tcp.py: python tcp_member.py SLOT DESCRIPTORS WAY [ADDRESS SECRET].

DESCRIPTORS is a JSON list with a connected socket for each slot, null for the own one. WAY is how
messages go: "memory" (large ones straight from rank to rank), "sockets" (all), or "tls": then the
ranks meet at the rendezvous at ADDRESS and connect themselves. Each clause that holds is printed as
"ok NAME", each that does not with its traceback.
"""

from __future__ import annotations

import json
import sys
import traceback

from elevon._native import Mesh
from elevon.comm.connect.rendezvous import GroupName
from elevon.comm.tcp import JoinConfig, TcpWorld, join_world
from elevon.testing.communicators import CONTRACT, Clause

PATIENCE_S = 60.0
MEETINGS = 1_000_000  # contexts above those of the clauses
#: In larger groups each rank makes up what all others have sent for minutes, where a clause goes
#: through all types, shapes and operations; every kind of exchange is in the others.
LARGE_GROUP = 8
EXHAUSTIVE = (
    "bcast",
    "gather",
    "scatter",
    "allgather",
    "alltoall",
    "reduce",
    "allreduce",
    "scan",
    "reduce scatter",
    "a function as reduction",
)
#: Of the deadlines, which cost their time, these in larger groups: all, one root, one to one.
DEADLINES = tuple(f"timeout in {name}" for name in ("barrier", "bcast", "alltoallv"))


def clauses_for(size: int) -> list[Clause]:
    """What a group of this size is asked."""
    if size <= LARGE_GROUP:
        return list(CONTRACT)
    names = [str(clause) for clause in CONTRACT]
    left_out = {name for name in names if name.startswith("timeout in")}.difference(DEADLINES)
    assert left_out.union(EXHAUSTIVE, DEADLINES) <= set(names)
    return [each for each in CONTRACT if str(each) not in left_out.union(EXHAUSTIVE)]


def connected(slot: int, descriptors: list[int | None], shares_memory: bool) -> TcpWorld:
    mesh = Mesh(slot, len(descriptors), shares_memory)
    for slot, descriptor in enumerate(descriptors):
        if descriptor is not None:
            mesh.attach(slot, descriptor, f"slot {slot}")
    return TcpWorld(mesh)


def encrypted(slot: int, size: int, address: str, secret: bytes) -> TcpWorld:
    group = GroupName("contract", 1)
    config = JoinConfig(address, group, f"rank {slot}", slot, size, tls=True, shares_memory=False)
    return join_world(config, secret)


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
    slot, descriptors, way = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
    if way == "tls":
        address, secret = sys.argv[4:]
        world = encrypted(slot, len(descriptors), address, bytes.fromhex(secret))
    else:
        world = connected(slot, descriptors, way == "memory")
    for context, clause in enumerate(clauses_for(world.size), start=1):
        if holds(world, clause, context):
            print(f"ok {clause}", flush=True)
    meet(world, 0)
    world.leave()


if __name__ == "__main__":
    main()
