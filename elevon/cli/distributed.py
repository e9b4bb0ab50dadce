"""``elevon bench distributed``: join or sort over ranks, beside the local kernel.

Before it: ``distributed_ranks``, which each rank runs. After it: ``bench`` lists it. A world of MPI
ranks is started for every number of ranks; no pilot is in the way.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

import click
import msgspec

from elevon.agent.launchers.mpi import MpiLauncher
from elevon.cli.common import count, counts, ends_within, json_option
from elevon.cli.distributed_ranks import Measured, Order
from elevon.errors import ElevonError

WORLD_WITHIN_S: Final = 1200.0


class Table(msgspec.Struct, frozen=True):
    """What the command prints."""

    results: list[Measured]

    def __str__(self) -> str:
        lines = [
            f"{'op':<5} {'ranks':>5} {'rows':>12} {'median':>9} {'local':>9} {'ratio':>6} "
            f"{'exchange':>9} {'memory':>7}  checksum"
        ]
        lines += [
            f"{each.op:<5} {each.ranks:>5} {each.rows:>12,} {each.median_s:>7.3f} s "
            f"{each.local_median_s:>7.3f} s {each.median_s / each.local_median_s:>5.2f}x "
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
@click.option("--repeats", type=count, default=5, show_default=True, help="Warm runs.")
@json_option
def command(
    op: str, rows: int, ranks: tuple[int, ...], scaling: str, repeats: int, as_json: bool
) -> None:
    """Join or sort the papers' table over MPI ranks; the median of warm runs.

    The local kernel, with as many threads as ranks (but no more than cores), takes turns with it on
    the same rows, and both must give the same checksum. "memory" is the peak of all ranks together,
    less what they had before the tables, by the bytes of the tables.
    """
    found = []
    for size in ranks:
        share = rows // size if scaling == "strong" else rows
        if share < 1:
            raise click.BadParameter(f"{rows} rows are too few for {size} ranks")
        found.append(_world(size, Order(op, share, repeats)))
    table = Table(found)
    click.echo(msgspec.json.encode(table).decode() if as_json else str(table))


def _world(ranks: int, order: Order) -> Measured:
    """Start one world, wait for its end, read what its rank 0 has found."""
    with tempfile.TemporaryDirectory() as directory:
        log, answer = Path(directory) / "log", Path(directory) / "answer"
        program = [sys.executable, "-m", "elevon.cli.distributed_ranks"]
        words = [msgspec.json.encode(order).decode(), str(answer)]
        try:
            handle = MpiLauncher().start(ranks, [*program, *words], {}, log)
        except ElevonError as error:
            raise click.ClickException(str(error)) from error
        try:
            ended = ends_within(handle.pid, WORLD_WITHIN_S)
        finally:
            handle.stop(0.0)
        if not ended or not answer.exists():
            why = "ended without an answer" if ended else f"ran over {WORLD_WITHIN_S:g} s"
            said = log.read_text(errors="replace").strip()
            raise click.ClickException(f"the world of {ranks} ranks {why}; it said:\n{said}")
        return msgspec.json.decode(answer.read_bytes(), type=Measured)
