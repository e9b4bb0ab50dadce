"""A rank in a house of tests/support/nat_lab.py: python nat_member.py SETTINGS.

SETTINGS is a JSON object, see ``main``. What the rank reports is one JSON object a line; when it
has said "ready" or "ports" it waits for a line. An error ends it, with a line that names it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from elevon.comm.connect.nat import NatDoor, NatKeys, Passage, Way, line
from elevon.comm.connect.nat.errands import FROM_RELAY, Observe
from elevon.comm.connect.nat.passage import run_errand
from elevon.comm.connect.nat.punch import Plan, punch
from elevon.comm.security import proof
from elevon.errors import ElevonError

PATIENCE_S = 20.0


def report(**what: Any) -> None:
    # One write: several threads report.
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def heard() -> str:
    said = sys.stdin.readline()
    if not said:
        raise EOFError("the test has gone")
    return said.strip()


def way_of(settings: dict[str, Any]) -> Way:
    secret = bytes.fromhex(settings["secret"])
    job, epoch = settings.get("job", "lab"), settings.get("epoch", 1)
    keys = NatKeys.of(secret, job, epoch)
    if "pairing" in settings:
        keys = NatKeys(keys.relaying, bytes.fromhex(settings["pairing"]))
    return Way(
        relay=(settings["relay"][0], settings["relay"][1]),
        job=job,
        epoch=epoch,
        name=settings["name"],
        keys=keys,
        punches=settings.get("punches", True),
        punch_s=settings.get("punch_s", 5.0),
    )


def reach_all(door: NatDoor, calls: list[str], expects: int) -> dict[str, Passage]:
    """Passages to the members called, and from as many others."""
    passages: dict[str, Passage] = {}

    def reach(name: str) -> None:
        began = time.perf_counter()
        passages[name] = door.reach(name)
        report(reached=name, seconds=time.perf_counter() - began)

    with ThreadPoolExecutor(max(len(calls), 1)) as pool:
        reaching = [pool.submit(reach, name) for name in calls]
        for _ in range(expects):
            passage = door.accept(PATIENCE_S)
            passages[passage.peer] = passage
        for each in reaching:
            each.result()
    return passages


def whole(passages: dict[str, Passage], own: str, *limits: Any) -> dict[str, bool]:
    """With whom so many bytes go both ways, unchanged; all at once, for nobody may wait in turn."""
    with ThreadPoolExecutor(len(passages)) as pool:
        tried = {name: pool.submit(is_whole, each, own, *limits) for name, each in passages.items()}
        return {name: each.result() for name, each in tried.items()}


def is_whole(passage: Passage, own: str, nbytes: int, patience_s: float) -> bool:
    try:
        mine, theirs = pattern(own, nbytes), pattern(passage.peer, nbytes)
        return exchange(passage.connection, mine, patience_s) == theirs
    except OSError:
        return False


def exchange(connection: socket.socket, mine: bytes, patience_s: float) -> bytes:
    """Send, and get as many bytes as were sent."""
    connection.settimeout(patience_s)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(connection.sendall, mine)
        received = bytearray()
        while len(received) < len(mine):
            piece = connection.recv(len(mine) - len(received))
            if not piece:
                raise ConnectionError("closed")
            received += piece
        sending.result()
    connection.settimeout(None)
    return bytes(received)


def pattern(name: str, nbytes: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(nbytes)


def visit(settings: dict[str, Any]) -> None:
    """Attend, connect with others, and move bytes to and fro."""
    door = NatDoor(way_of(settings))
    report(ready=settings["name"], kind=door.kind)
    heard()
    passages = reach_all(door, settings["calls"], settings["expects"])
    report(passages={name: passage.why_relayed for name, passage in passages.items()})
    if settings.get("mute"):
        for each in passages.values():
            each.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    own = settings["name"]
    report(whole=whole(passages, own, settings.get("bytes", 4096), PATIENCE_S))
    if "clauses" in settings:
        meet_contract(int(settings["name"]), passages, settings["clauses"])
        return
    report(ports={name: each.connection.getsockname()[1] for name, each in passages.items()})
    for patience_s in sys.stdin:
        report(whole=whole(passages, own, 4096, float(patience_s)))
    door.close()


def meet_contract(slot: int, passages: dict[str, Passage], clauses: list[str]) -> None:
    """Make a mesh of the passages and run the contract of communicators on it."""
    from elevon._native import Mesh
    from elevon.comm.tcp import TcpWorld

    mesh = Mesh(slot, len(passages) + 1)
    for name, passage in passages.items():
        mesh.attach(int(name), passage.connection.detach(), f"slot {name}")
    hold_to_contract(TcpWorld(mesh), clauses)


def enter_world(settings: dict[str, Any]) -> None:
    """Come in as the ranks of a pilot do."""
    from elevon.comm.connect.rendezvous import GroupName
    from elevon.comm.tcp import JoinConfig, join_world

    relay, size = settings["relay"], settings["size"]
    config = JoinConfig(
        rendezvous=settings["rendezvous"],
        group=GroupName("lab", 1),
        worker=settings["name"],
        slot=int(settings["name"]),
        size=size,
        host=settings["host"],
        relay=f"{relay[0]}:{relay[1]}",
        tls=settings.get("tls", False),
    )
    world = join_world(config, bytes.fromhex(settings["secret"]))
    report(entered=settings["name"], threads=[each.name for each in threading.enumerate()])
    heard()
    hold_to_contract(world, settings["clauses"])


def hold_to_contract(world: Any, clauses: list[str]) -> None:
    from elevon.testing.communicators import CONTRACT
    from tests.contract.tcp_member import holds, meet
    from tests.support.nat_collectives import EACH_ONCE

    chosen = [clause for clause in (EACH_ONCE, *CONTRACT) if clause.name in clauses]
    held = [str(clause) for number, clause in enumerate(chosen, 1) if holds(world, clause, number)]
    meet(world, 0)
    report(clauses=len(chosen), held=len(held))
    world.leave()


def replay(settings: dict[str, Any]) -> None:
    """Say to the relay what somebody else has said to it, and tell what it answers."""
    relay, recorded = settings["relay"], bytes.fromhex(settings["recorded"])
    with socket.create_connection((relay[0], relay[1]), PATIENCE_S) as connection:
        answered = connection.recv(proof.CHALLENGE_BYTES, socket.MSG_WAITALL)
        connection.sendall(recorded)
        # It hangs up over what it has not read, which is a reset.
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(4096):
                answered += piece
    report(answered=len(answered) - proof.CHALLENGE_BYTES)


async def dial(settings: dict[str, Any]) -> None:
    """Punch with plain values: what to dial comes from the test."""
    way = way_of(settings)
    with line.bound() as connection:
        errand = Observe(job=way.job, epoch=way.epoch)
        observed = await (await run_errand(way, errand, connection)).receive(FROM_RELAY)
        port = connection.getsockname()[1]
        report(observed=observed.address)
        while said := json.loads(await asyncio.to_thread(heard)):
            targets = tuple((host, port) for host, port in said["targets"])
            key = bytes.fromhex(said["key"])
            plan = Plan(port, targets, key, settings["first"], "the other", said["within_s"])
            await try_punch(plan)


async def try_punch(plan: Plan) -> None:
    began = time.perf_counter()
    try:
        with await punch(plan) as punched:
            report(peer=punched.getpeername(), seconds=time.perf_counter() - began)
            punched.setblocking(True)
            punched.sendall(b"!")
            assert punched.recv(1) == b"!"
            punched.shutdown(socket.SHUT_WR)
            assert punched.recv(1) == b""
    except ElevonError as error:
        report(error=str(error))


def main() -> None:
    settings = json.loads(sys.argv[1])
    line.KEEPALIVE_IDLE_S = settings.get("keepalive_idle_s", line.KEEPALIVE_IDLE_S)
    line.KEEPALIVE_EVERY_S = settings.get("keepalive_every_s", line.KEEPALIVE_EVERY_S)
    try:
        if settings["does"] == "visit":
            visit(settings)
        elif settings["does"] == "enter":
            enter_world(settings)
        elif settings["does"] == "replay":
            replay(settings)
        else:
            asyncio.run(dial(settings))
    except (ElevonError, TimeoutError) as error:
        report(error=f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
