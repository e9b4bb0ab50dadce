"""``elevon bench rendezvous``: how fast ranks find each other.

The ranks are threads that join, say at once that they are connected, and wait for the others: no
connection between ranks is made, so what is measured is the rendezvous and their part in it.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import msgspec
import psutil

from elevon.cli.common import count, counts, json_option
from elevon.comm.connect.rendezvous import (
    GroupKeys,
    GroupName,
    JoinRequest,
    Membership,
    join,
    rendezvous_secret,
)

SESSION: Final = secrets.token_bytes(32)
#: Where one fails, the others wait so long for it.
WITHIN_S: Final = 30.0
#: Threads of ranks need little; the usual 8 MiB each are only reserved, but counted by some limits.
STACK_BYTES: Final = 512 * 1024


class Joined(msgspec.Struct, frozen=True):
    """Groups of one size.

    Attributes:
        ranks: of each group.
        joins: of all groups together.
        seconds: from the first join to the moment when all know that their group is complete.
        joins_per_s: joins by seconds.
        server_cpu_s: what the rendezvous has computed for it; 0 for a Redis, which is not ours.
    """

    ranks: int
    joins: int
    seconds: float
    joins_per_s: float
    server_cpu_s: float


class Table(msgspec.Struct, frozen=True):
    """What the command prints."""

    results: list[Joined]

    def __str__(self) -> str:
        lines = [f"{'ranks':>6} {'joins':>7} {'seconds':>9} {'joins/s':>9} {'server CPU':>11}"]
        lines += [
            f"{each.ranks:>6} {each.joins:>7} {each.seconds:>7.3f} s {each.joins_per_s:>9,.0f} "
            f"{each.server_cpu_s:>9.3f} s"
            for each in self.results
        ]
        return "\n".join(lines)


@click.command()
@click.option("--ranks", callback=counts, default="4,64,256", show_default=True, help="Groups of.")
@click.option("--joins", type=count, default=1000, show_default=True, help="About so many in all.")
@click.option("--at", "address", default="", help='"redis://..."  [default: one of our own]')
@json_option
def command(ranks: tuple[int, ...], joins: int, address: str, as_json: bool) -> None:
    """Join groups of several sizes; the groups of a size one after the other, its ranks at once.

    Ranks and rendezvous share this machine, and the ranks are one process: on more cores, and from
    more hosts, the rendezvous serves more.
    """
    with contextlib.nullcontext(Place(address)) if address else _server() as place:
        found = [_measure(place, size, max(1, joins // size)) for size in ranks]
    table = Table(found)
    click.echo(msgspec.json.encode(table).decode() if as_json else str(table))


@dataclass(frozen=True, slots=True)
class Place:
    """A rendezvous.

    Attributes:
        address: of it.
        process: that it is, if it is ours.
    """

    address: str
    process: psutil.Process | None = None

    def cpu_s(self) -> float:
        """What it has computed so far."""
        if self.process is None:
            return 0.0
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def _server() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "secret"
        path.touch(0o600)
        path.write_bytes(rendezvous_secret(SESSION))
        command = [sys.executable, "-m", "elevon", "rendezvous", "--secret-file", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                address = process.stdout.readline().strip()
                yield Place(address, psutil.Process(process.pid))
            finally:
                process.terminate()


def _measure(place: Place, ranks: int, groups: int) -> Joined:
    threading.stack_size(STACK_BYTES)
    with ThreadPoolExecutor(ranks) as pool:
        _meet(pool, place.address, ranks)  # starts the threads
        before = place.cpu_s()
        seconds = [_meet(pool, place.address, ranks) for _ in range(groups)]
        cpu_s = place.cpu_s() - before
    total = sum(seconds)
    joins = ranks * groups
    return Joined(ranks, joins, round(total, 4), round(joins / total, 1), round(cpu_s, 3))


def _meet(pool: ThreadPoolExecutor, address: str, ranks: int) -> float:
    """Seconds until all ranks of a new group know that it is complete."""
    name = GroupName(f"bench-{secrets.token_hex(8)}", 1)
    key = GroupKeys.of(SESSION, name).joining
    members = [
        JoinRequest(f"rank {slot}", slot, ranks, ("127.0.0.1",), 1, f"rank {slot}", WITHIN_S)
        for slot in range(ranks)
    ]

    def join_one(request: JoinRequest) -> Membership:
        membership = join(address, name, key, request)
        membership.complete()
        return membership

    started = time.perf_counter()
    coming = [pool.submit(join_one, member) for member in members]
    ended, _ = wait(coming, return_when=FIRST_EXCEPTION)
    held = [each.result() for each in ended]  # raises what the first that failed has raised
    seconds = time.perf_counter() - started
    list(pool.map(lambda membership: membership.close(), held))
    return seconds
