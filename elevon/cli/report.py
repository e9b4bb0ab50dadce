"""``elevon report``: where the time of a pilot's tasks went, from its journal."""

from __future__ import annotations

import json

import click

from elevon.cli.common import json_option
from elevon.cli.replay import Replayed, replayed
from elevon.cli.sessions import PilotHome, choose
from elevon.tasks.report import Report


@click.command()
@click.argument("session", required=False)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="One line per task and rank.")
def command(session: str | None, as_json: bool, as_csv: bool) -> None:
    """Show the execution times, overheads and phases of SESSION's tasks that have ended.

    SESSION is a session's or pilot's id, the beginning of one, or a directory; the newest pilot
    where it is left out. The report is made from the journal, so that the pilot may have ended
    long ago; a task's last phase ends when the agent knew of its end.
    """
    found = [(home, replayed(home)) for home in choose(session)]
    report = Report(row for _, pilot in found for row in pilot.ended)
    if as_json:
        click.echo(json.dumps({"tasks": json.loads(report.to_json())}))
    elif as_csv:
        click.echo(report.to_csv(), nl=False)
    else:
        for home, pilot in found:
            click.echo(_text(home, pilot))


def _text(home: PilotHome, pilot: Replayed) -> str:
    head = f"{home.session} {home.pilot}: {len(pilot.ended)} tasks have ended"
    if pilot.pending:
        head += f", {pilot.pending} have not"
    return f"{head}\n{Report(pilot.ended)}" if pilot.ended else head
