"""``elevon logs``: what a pilot's agent and ranks have printed."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import click

from elevon.cli.common import count
from elevon.cli.sessions import choose

NAMES = ("agent.log", "ranks.log")


@click.command()
@click.argument("session", required=False)
@click.option("--lines", type=count, default=40, show_default=True, help="The last so many.")
def command(session: str | None, lines: int) -> None:
    """Show the ends of agent.log and ranks.log of SESSION.

    SESSION is a session's or pilot's id, the beginning of one, or a directory; the newest pilot
    where it is left out.
    """
    for home in choose(session):
        for name in NAMES:
            click.echo(f"==> {home.directory / name} <==")
            click.echo(tail(home.directory / name, lines))


def tail(path: Path, lines: int) -> str:
    """The last lines of a file, or in words why there are none."""
    if not path.exists():
        return "(not there: it never came so far)"
    with path.open(errors="replace") as file:
        last = deque(file, maxlen=lines)
    return "".join(last).rstrip("\n") or "(empty: nothing was printed)"
