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

from elevon.comm.connect.nat import NatConfig, NatEndpoint, NatKeys, Path, channel
from elevon.comm.connect.nat.paths import send_request
from elevon.comm.connect.nat.punch import PunchPlan, punch
from elevon.comm.connect.nat.requests import FROM_RELAY, Observe
from elevon.comm.security import proof
from elevon.errors import ElevonError

PATIENCE_S = 60.0


def report(**what: Any) -> None:
    # One write: several threads report.
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def heard() -> str:
    said = sys.stdin.readline()
    if not said:
        raise EOFError("the test has gone")
    return said.strip()


def config_of(settings: dict[str, Any]) -> NatConfig:
    secret = bytes.fromhex(settings["secret"])
    job, epoch = settings.get("job", "lab"), settings.get("epoch", 1)
    keys = NatKeys.of(secret, job, epoch)
    if "pairing" in settings:
        keys = NatKeys(keys.relaying, bytes.fromhex(settings["pairing"]))
    return NatConfig(
        relay=(settings["relay"][0], settings["relay"][1]),
        job=job,
        epoch=epoch,
        name=settings["name"],
        keys=keys,
        punches=settings.get("punches", True),
        punch_s=settings.get("punch_s", 5.0),
    )


def reach_all(endpoint: NatEndpoint, calls: list[str], expects: int) -> dict[str, Path]:
    """Passages to the members called, and from as many others."""
    paths: dict[str, Path] = {}

    def reach(name: str) -> None:
        began = time.perf_counter()
        paths[name] = endpoint.reach(name)
        report(reached=name, seconds=time.perf_counter() - began)

    with ThreadPoolExecutor(max(len(calls), 1)) as pool:
        reaching = [pool.submit(reach, name) for name in calls]
        for _ in range(expects):
            path = endpoint.accept(PATIENCE_S)
            paths[path.peer] = path
        for each in reaching:
            each.result()
    return paths


def whole(paths: dict[str, Path], own: str, *limits: Any) -> dict[str, bool]:
    """With whom so many bytes go both ways, unchanged; all at once, for nobody may wait in turn."""
    with ThreadPoolExecutor(len(paths)) as pool:
        tried = {name: pool.submit(is_whole, each, own, *limits) for name, each in paths.items()}
        return {name: each.result() for name, each in tried.items()}


def is_whole(path: Path, own: str, nbytes: int, patience_s: float) -> bool:
    try:
        mine, theirs = pattern(own, nbytes), pattern(path.peer, nbytes)
        return exchange(path.connection, mine, patience_s) == theirs
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
    """Register, connect with others, and move bytes to and fro."""
    endpoint = NatEndpoint(config_of(settings))
    report(ready=settings["name"], kind=endpoint.kind)
    heard()
    paths = reach_all(endpoint, settings["calls"], settings["expects"])
    report(paths={name: path.why_relayed for name, path in paths.items()})
    if settings.get("mute"):
        for each in paths.values():
            each.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    own = settings["name"]
    report(whole=whole(paths, own, settings.get("bytes", 4096), PATIENCE_S))
    if "clauses" in settings:
        run_contract(int(settings["name"]), paths, settings["clauses"])
        return
    report(ports={name: each.connection.getsockname()[1] for name, each in paths.items()})
    for patience_s in sys.stdin:
        report(whole=whole(paths, own, 4096, float(patience_s)))
    endpoint.close()


def run_contract(slot: int, paths: dict[str, Path], clauses: list[str]) -> None:
    """Make a mesh of the paths and run the contract of communicators on it."""
    from elevon._native import Mesh
    from elevon.comm.tcp import TcpWorld

    mesh = Mesh(slot, len(paths) + 1)
    for name, path in paths.items():
        mesh.attach(int(name), path.connection.detach(), f"slot {name}")
    hold_to_contract(TcpWorld(mesh), clauses)


def join(settings: dict[str, Any]) -> None:
    """Join as the ranks of a pilot do."""
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
    report(joined=settings["name"], threads=[each.name for each in threading.enumerate()])
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
    config = config_of(settings)
    with channel.bind_shared() as connection:
        request = Observe(job=config.job, epoch=config.epoch)
        observed = await (await send_request(config, request, connection)).receive(FROM_RELAY)
        port = connection.getsockname()[1]
        report(observed=observed.address)
        while said := json.loads(await asyncio.to_thread(heard)):
            targets = tuple((host, port) for host, port in said["targets"])
            key = bytes.fromhex(said["key"])
            plan = PunchPlan(port, targets, key, settings["first"], "the other", said["within_s"])
            await try_punch(plan)


async def try_punch(plan: PunchPlan) -> None:
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
    channel.KEEPALIVE_IDLE_S = settings.get("keepalive_idle_s", channel.KEEPALIVE_IDLE_S)
    channel.KEEPALIVE_EVERY_S = settings.get("keepalive_every_s", channel.KEEPALIVE_EVERY_S)
    try:
        if settings["does"] == "visit":
            visit(settings)
        elif settings["does"] == "join":
            join(settings)
        elif settings["does"] == "replay":
            replay(settings)
        else:
            asyncio.run(dial(settings))
    except (ElevonError, TimeoutError) as error:
        report(error=f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
