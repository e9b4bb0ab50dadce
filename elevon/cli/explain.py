"""``elevon explain``: why a task is where it is."""

from __future__ import annotations

import click

from elevon.cli.replay import replayed
from elevon.cli.sessions import PilotHome, choose
from elevon.cli.visit import Visit
from elevon.errors import UsageError
from elevon.model.ids import TaskId

ANSWER_WITHIN_S = 5.0


@click.command()
@click.argument("task")
@click.argument("session", required=False)
def command(task: str, session: str | None) -> None:
    """Say what TASK waits for, or what became of it.

    A living agent is asked; where it has ended, its journal is. An agent forgets a task that has
    ended once the script holds no handle to it any more.

    TASK is a task's id, as `Task.id` and every error give it. SESSION is a session's or pilot's
    id, the beginning of one, or a directory; the newest pilot where it is left out.
    """
    for home in choose(session):
        click.echo(f"{home.pilot}: {answer(home, TaskId(task))}")


def answer(home: PilotHome, task: TaskId) -> str:
    """The agent's words; where it has ended, those that its journal gives.

    Raises:
        UsageError: the agent runs on another machine, or has left no journal.
        PilotLost: it lives and does not answer.
    """
    if home.connection is not None and not home.here:
        raise UsageError(
            f"the agent of {home.pilot} runs on {home.connection.agent_host}: ask there"
        )
    if home.connection is None or not home.alive:
        return f"(ended) {replayed(home).scheduler.explain(task)}"
    with Visit(home.connection, ANSWER_WITHIN_S) as visit:
        return visit.explain(task)
