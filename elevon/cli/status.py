"""``elevon status``: the pilots of this user, and whether they live."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

import click

from elevon.cli.common import json_option
from elevon.cli.sessions import PilotHome, find_pilots
from elevon.cli.visit import Visit
from elevon.errors import PilotLost

ANSWER_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class PilotStatus:
    """One line: ``state`` is the agent's own word, or "ended", "silent" or "elsewhere"."""

    session: str
    pilot: str
    resource: str
    ranks: int
    ranks_alive: int
    state: str
    agent_pid: int
    age_s: float


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List this user's pilots, the newest first.

    Pilots of the last seven days are known by the directories of their sessions. A living agent is
    asked for its state and its ranks.
    """
    found = [status_of(home) for home in find_pilots()]
    if as_json:
        click.echo(json.dumps({"pilots": [asdict(status) for status in found]}))
    elif found:
        click.echo("\n".join([_HEADER, *map(_line, found)]))
    else:
        click.echo("no pilots of the last seven days")


def status_of(home: PilotHome) -> PilotStatus:
    """Ask the agent where there is one."""
    state, alive = _state(home)
    return PilotStatus(
        session=home.session,
        pilot=home.pilot,
        resource=home.description.resource,
        ranks=home.description.ranks,
        ranks_alive=alive,
        state=state,
        agent_pid=home.connection.agent_pid if home.connection else 0,
        age_s=round(time.time() - home.submitted, 3),
    )


def _state(home: PilotHome) -> tuple[str, int]:
    if home.connection is not None and not home.here:
        return "elsewhere", 0
    if home.connection is None or not home.alive:
        return "ended", 0
    try:
        with Visit(home.connection, ANSWER_WITHIN_S) as visit:
            answer = visit.state()
    except PilotLost:
        # The process may have ended since; a living one that does not answer is told as such.
        return ("silent" if home.alive else "ended"), 0
    return answer.state.value, answer.ranks_alive


_HEADER = f"{'session':<18} {'pilot':<18} {'resource':<9} {'ranks':>7} {'state':<9} {'age':>9}"


def _line(status: PilotStatus) -> str:
    ranks = f"{status.ranks_alive}/{status.ranks}"
    return (
        f"{status.session:<18} {status.pilot:<18} {status.resource:<9} {ranks:>7} "
        f"{status.state:<9} {_age(status.age_s):>9}"
    )


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
