"""``elevon bench comm``: latency and bandwidth of the private communicators of a pilot."""

from __future__ import annotations

from typing import Final

import click
import msgspec

import elevon as ev
from elevon.bench import raw_socket, worlds
from elevon.bench.comm_ranks import Call, Timed, measure
from elevon.bench.kernels import roof
from elevon.cli.common import counts, json_option, local_pilot, names_of

#: The kinds of worlds; of "tcp-sockets" there are no pilots, so its ranks are started for it.
KINDS: Final = worlds.KINDS
SOCKETS_ONLY: Final = "tcp-sockets"
WITHIN_S: Final = 300.0


class Measured(msgspec.Struct, frozen=True):
    """One collective of one kind of communicator.

    Attributes:
        kind: mpi, tcp, or tcp-sockets, where nothing goes around the sockets.
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
    """What the command prints: the machine's own figures, then the collectives'.

    Attributes:
        raw_socket_gb_per_s: one connection over loopback, one way, small pieces.
        raw_both_ways_gb_per_s: 64 MiB each way at once, the sum: an alltoallv of two ranks.
        memcpy_gb_per_s: of one core.
        results: the collectives.
    """

    raw_socket_gb_per_s: float
    raw_both_ways_gb_per_s: float
    memcpy_gb_per_s: float
    results: list[Measured]

    def __str__(self) -> str:
        lines = [
            f"raw loopback socket {self.raw_socket_gb_per_s:.1f} GB/s, "
            f"both ways {self.raw_both_ways_gb_per_s:.1f} GB/s, "
            f"memcpy {self.memcpy_gb_per_s:.1f} GB/s",
            f"{'kind':<11} {'op':<10} {'ranks':>5} {'bytes':>12} {'p50':>12} {'GB/s':>8}",
        ]
        lines += [
            f"{each.kind:<11} {each.op:<10} {each.ranks:>5} {each.bytes:>12,} "
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
    cross from rank to rank, all together. tcp-sockets is tcp between ranks that cannot read each
    other's memory, as ranks on two hosts.
    """
    raw = raw_socket.measure()
    results = [found for kind in kinds for size in ranks for found in _of(kind, size)]
    table = Table(
        round(raw.one_way, 2),
        round(raw.both_ways, 2),
        roof.measure(1).copy_gb_per_s,
        results,
    )
    click.echo(msgspec.json.encode(table).decode() if as_json else str(table))


def _of(kind: str, ranks: int) -> list[Measured]:
    told = _by_ranks(ranks) if kind == SOCKETS_ONLY else _by_pilot(kind, ranks)
    return [
        Measured(
            kind,
            op,
            ranks,
            size,
            round(seconds, 8),
            # Four digits, not places: a small message on a busy machine is not nothing.
            float(f"{Call(op, size).crossing(ranks) / seconds / 1e9:.4g}"),
        )
        for op, size, seconds in told
    ]


def _by_pilot(kind: str, ranks: int) -> list[Timed]:
    description = ev.PilotDescription(
        ranks=ranks,
        communicator=kind,
    )
    with local_pilot(description) as tasks:
        task = tasks.options(ranks=ranks, name="bench comm").submit(measure)
        told: list[Timed] = task.result(WITHIN_S)
        return told


def _by_ranks(ranks: int) -> list[Timed]:
    answer = worlds.run(SOCKETS_ONLY, ranks, "elevon.bench.comm_ranks", b"", WITHIN_S)
    return msgspec.json.decode(answer, type=list[Timed])
