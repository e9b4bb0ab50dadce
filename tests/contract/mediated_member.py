"""A group of test_communicator_mediated.py: python mediated_member.py URL SIZE [CLAUSE...].

Its ranks are threads, each with a world and a store of its own. Each clause that holds on all of
them is printed as "ok NAME", each that does not with a traceback. Without names: all clauses.
"""

from __future__ import annotations

import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

from elevon.comm.connect.rendezvous import GroupName
from elevon.comm.mediated import MediatedWorld
from elevon.testing.communicators import CONTRACT, Clause

SECRET = bytes(range(32))


def holds(world: MediatedWorld, clause: Clause, context: int, start: threading.Barrier) -> bool:
    comm = world.open_group(world.slots, context, clause.timeout_s)
    start.wait()
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


def main() -> None:
    url, size, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    clauses = [clause for clause in CONTRACT if not names or clause.name in names]
    group = GroupName(f"contract of {size}", 1)
    worlds = [MediatedWorld.join(url, group, SECRET, slot, size) for slot in range(size)]
    start = threading.Barrier(size)
    with ThreadPoolExecutor(size) as pool:
        for context, clause in enumerate(clauses):
            calls = [pool.submit(holds, world, clause, context, start) for world in worlds]
            results = [call.result() for call in calls]
            if all(results):
                print(f"ok {clause}", flush=True)
    for world in worlds:
        world.leave()


if __name__ == "__main__":
    main()
