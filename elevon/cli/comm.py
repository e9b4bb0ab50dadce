"""``elevon bench comm``: latency and bandwidth of the private communicators of a pilot.

Before it: ``comm_ranks`` and a local pilot for each kind. After it: ``bench`` lists it.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Final, get_args

import click
import msgspec

import elevon as ev
from elevon.cli.comm_ranks import Call, measure
from elevon.cli.common import counts, json_option, local_pilot, names_of
from elevon.cli.kernels import roof
from elevon.comm.sockets import tune
from elevon.model.pilots import CommunicatorKind

KINDS: Final = tuple(kind for kind in get_args(CommunicatorKind) if kind != "auto")
WITHIN_S: Final = 300.0
RAW_MESSAGE: Final = 64 << 20
RAW_MESSAGES: Final = 16


class Measured(msgspec.Struct, frozen=True):
    """One collective of one kind of communicator.

    Attributes:
        kind: mpi or tcp.
        op: the collective.
        ranks: of the group.
        bytes: of the array, for alltoallv to each peer.
        p50_s: median over the calls of the slowest rank's seconds.
        gb_per_s: bytes that have to cross between ranks, all together, by p50_s; 0 for a barrier.
    """

    kind: str
    op: str
    ranks: int
    bytes: int
    p50_s: float
    gb_per_s: float


class Table(msgspec.Struct, frozen=True):
    """What the command prints: the machine's own figures, then the collectives'."""

    raw_socket_gb_per_s: float
    memcpy_gb_per_s: float
    results: list[Measured]

    def __str__(self) -> str:
        lines = [
            f"raw loopback socket {self.raw_socket_gb_per_s:.1f} GB/s, "
            f"memcpy {self.memcpy_gb_per_s:.1f} GB/s",
            f"{'kind':<5} {'op':<10} {'ranks':>5} {'bytes':>12} {'p50':>12} {'GB/s':>8}",
        ]
        lines += [
            f"{each.kind:<5} {each.op:<10} {each.ranks:>5} {each.bytes:>12,} "
            f"{each.p50_s * 1e6:>9.1f} us {each.gb_per_s:>8.2f}"
            for each in self.results
        ]
        return "\n".join(lines)


@click.command()
@click.option(
    "--kind",
    "kinds",
    callback=names_of(KINDS),
    required=True,
    default=",".join(KINDS),
    show_default=True,
    help="Kinds of communicator.",
)
@click.option("--ranks", callback=counts, default="2,4", show_default=True, help="Group sizes.")
@json_option
def command(kinds: tuple[str, ...], ranks: tuple[int, ...], as_json: bool) -> None:
    """Measure collectives of private communicators; every result is checked.

    Beside them: one TCP connection over loopback, and memcpy. GB/s counts the bytes that have to
    cross from rank to rank, all together.
    """
    results = [found for kind in kinds for size in ranks for found in _of(kind, size)]
    table = Table(round(raw_socket(), 2), roof.measure(1).copy_gb_per_s, results)
    click.echo(msgspec.json.encode(table).decode() if as_json else str(table))


def _of(kind: str, ranks: int) -> list[Measured]:
    description = ev.PilotDescription(
        ranks=ranks,
        communicator=kind,  # type: ignore[arg-type]  # click has checked it
    )
    with local_pilot(description) as tasks:
        told = tasks.options(ranks=ranks, name="bench comm").submit(measure).result(WITHIN_S)
    return [
        Measured(
            kind,
            op,
            ranks,
            size,
            round(seconds, 8),
            round(Call(op, size).crossing(ranks) / seconds / 1e9, 4),
        )
        for op, size, seconds in told
    ]


def raw_socket() -> float:
    """GB per second through one TCP connection over loopback, one way, large messages."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = threading.Thread(target=_send, args=(server.getsockname(),))
        sender.start()
        receiver, _ = server.accept()
        with receiver:
            tune(receiver)
            into = memoryview(bytearray(RAW_MESSAGE))
            receiver.recv_into(into[:1])
            started = time.perf_counter()
            while receiver.recv_into(into):
                pass
            seconds = time.perf_counter() - started
        sender.join()
    return RAW_MESSAGE * RAW_MESSAGES / seconds / 1e9


def _send(address: tuple[str, int]) -> None:
    message = bytes(RAW_MESSAGE)
    with socket.create_connection(address) as sender:
        tune(sender)  # as the ranks' own connections
        sender.sendall(b"!")
        for _ in range(RAW_MESSAGES):
            sender.sendall(message)
