"""``elevon bench kernels``: join and sort on one table, of Elevon and of its peers."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from typing import get_args

import click
import msgspec

from elevon.bench.kernels.engines import ENGINES
from elevon.bench.kernels.race import Race, RaceFailed, race
from elevon.bench.kernels.workload import KEY_KINDS, Distribution, Workload
from elevon.cli.common import count, counts, json_option, names_of

PEERS = tuple(name for name in ENGINES if name != "elevon")


@click.command()
@click.option("--rows", type=count, default=9_100_000, help="Rows of each side.  [default: 9.1e6]")
@click.option("--threads", callback=counts, default="1,2", show_default=True)
@click.option(
    "--peers",
    callback=names_of(PEERS),
    default="",
    help=f"Engines to compare with: {', '.join(PEERS)}.",
)
@click.option(
    "--keys",
    callback=names_of(tuple(KEY_KINDS)),
    required=True,
    default="int64",
    show_default=True,
    help=f"Key columns, of {', '.join(KEY_KINDS)}.",
)
@click.option(
    "--dist",
    "distribution",
    type=click.Choice(get_args(Distribution)),
    default="uniform",
    show_default=True,
    help="Of the keys; zipf (1.2) skews the left side.",
)
@click.option("--payload", type=count, default=1, show_default=True, help="int64 columns a side.")
@click.option("--repeats", type=count, default=5, show_default=True, help="Warm runs.")
@json_option
def command(
    rows: int,
    threads: tuple[int, ...],
    peers: tuple[str, ...],
    keys: tuple[str, ...],
    distribution: Distribution,
    payload: int,
    repeats: int,
    as_json: bool,
) -> None:
    """Join two tables and sort one; the median of warm runs, engines taking turns.

    Every engine and number of threads is a process of its own with its tables in memory. Results
    must agree in rows and checksum, or the command fails. limit_s is how long moving input and
    result once would take at the measured speed of memory.
    """
    missing = [name for name in peers if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"{', '.join(missing)} cannot be imported: pip install 'elevon[bench]', or leave them "
            "out of --peers"
        )
    work = Workload(rows, keys, distribution, payload)
    try:
        found = race(work, ["elevon", *peers], threads, repeats)
    except RaceFailed as error:
        raise click.ClickException(str(error)) from error
    click.echo(msgspec.json.encode(asdict(found)).decode() if as_json else describe(found))


def describe(found: Race) -> str:
    """The results for people."""
    lines = [
        f"{found.rows:,} rows a side, keys {', '.join(found.keys)} ({found.distribution}), "
        f"{found.payload} payload columns a side",
        f"memory: copy {found.copy_gb_per_s:.1f} GB/s, read {found.read_gb_per_s:.1f} GB/s",
        f"{'op':<5} {'engine':<8} {'threads':>7} {'median':>9} {'min':>9} {'of limit':>8} "
        f"{'peak RSS':>9} {'rows out':>11}  checksum",
    ]
    lines += [
        f"{each.op:<5} {each.engine:<8} {each.threads:>7} {each.median_s:>7.3f} s "
        f"{each.min_s:>7.3f} s {each.median_s / each.limit_s:>7.1f}x "
        f"{each.peak_rss_bytes / 1e9:>6.2f} GB {each.rows_out:>11,}  {each.checksum}"
        for each in found.results
    ]
    return "\n".join(lines)
