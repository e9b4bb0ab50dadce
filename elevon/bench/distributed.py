"""``elevon bench distributed``: join or sort over ranks, beside the local kernel.

A world of ranks is started for every number of ranks and kind of communicator; no pilot is in the
way.
"""

from __future__ import annotations

from typing import Final

import click
import msgspec

from elevon.bench import worlds
from elevon.bench.distributed_ranks import Measured, Order
from elevon.cli.common import count, counts, json_option, names_of

WORLD_WITHIN_S: Final = 1200.0


class Table(msgspec.Struct, frozen=True):
    """What the command prints."""

    results: list[Measured]

    def __str__(self) -> str:
        lines = [
            f"{'op':<5} {'kind':<11} {'ranks':>5} {'rows':>12} {'median':>9} {'local':>9} "
            f"{'ratio':>6} {'exchange':>9} {'memory':>7}  checksum"
        ]
        lines += [
            f"{each.op:<5} {each.communicator:<11} {each.ranks:>5} {each.rows:>12,} "
            f"{each.median_s:>7.3f} s {each.local_median_s:>7.3f} s "
            f"{each.median_s / each.local_median_s:>5.2f}x "
            f"{each.exchange_s:>7.3f} s {each.peak_by_input:>6.2f}x  {each.checksum}"
            for each in self.results
        ]
        return "\n".join(lines)


@click.command()
@click.option("--op", type=click.Choice(["join", "sort"]), default="join", show_default=True)
@click.option("--rows", type=count, default=9_100_000, help="See --scaling.  [default: 9.1e6]")
@click.option("--ranks", callback=counts, default="1,2,4", show_default=True, help="Worlds.")
@click.option(
    "--scaling",
    type=click.Choice(["strong", "weak"]),
    default="strong",
    show_default=True,
    help="strong: --rows in all; weak: --rows on each rank.",
)
@click.option(
    "--communicator",
    "kinds",
    callback=names_of(worlds.KINDS),
    default="mpi",
    show_default=True,
    help="How ranks talk: " + ", ".join(worlds.KINDS) + "; of several, in turn.",
)
@click.option("--repeats", type=count, default=5, show_default=True, help="Warm runs.")
@json_option
def command(
    op: str,
    rows: int,
    ranks: tuple[int, ...],
    scaling: str,
    kinds: tuple[str, ...],
    repeats: int,
    as_json: bool,
) -> None:
    """Join or sort the papers' table over ranks; the median of warm runs.

    The local kernel, with as many threads as ranks (but no more than cores), takes turns with it on
    the same rows, and both must give the same checksum. "memory" is the peak of all ranks together,
    less what they had before the tables, by the bytes of the tables.
    """
    found: list[Measured] = []
    for size in ranks:
        share = rows // size if scaling == "strong" else rows
        if share < 1:
            raise click.BadParameter(f"{rows} rows are too few for {size} ranks")
        found += [_world(kind, size, Order(op, share, repeats)) for kind in kinds]
    table = Table(found)
    click.echo(msgspec.json.encode(table).decode() if as_json else str(table))


def _world(kind: str, ranks: int, order: Order) -> Measured:
    """Run one world and read what its rank 0 has found."""
    text = msgspec.json.encode(order)
    answer = worlds.run(kind, ranks, "elevon.bench.distributed_ranks", text, WORLD_WITHIN_S)
    return msgspec.json.decode(answer, type=Measured)
