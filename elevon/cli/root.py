"""The root of the command line: the table of commands, and how errors end it."""

from __future__ import annotations

import sys
from typing import Final

import click

import elevon
from elevon.cli.lazy import Entry, LazyGroup
from elevon.errors import ElevonError

COMMANDS: Final = {
    "demo": Entry("elevon.cli.demo", "Join and sort real tables on a local pilot, and check it."),
    "doctor": Entry("elevon.cli.doctor", "Check whether pilots can run on this machine."),
    "bench": Entry("elevon.bench.command", "Measure what the runtime costs."),
    "status": Entry("elevon.cli.status", "List the pilots of this user on this machine."),
    "report": Entry("elevon.cli.report", "Where the time of a pilot's tasks went."),
    "explain": Entry("elevon.cli.explain", "Why a task is where it is."),
    "logs": Entry("elevon.cli.logs", "Show what a pilot's agent and ranks have printed."),
    "rendezvous": Entry("elevon.cli.rendezvous", "Serve a rendezvous for ranks of TCP groups."),
    "relay": Entry("elevon.cli.relay", "Serve a relay for ranks behind NATs."),
    "agent": Entry("elevon.cli.agent", "Run a pilot's agent (pilots start it by themselves)."),
}

command = click.version_option(elevon.__version__, prog_name="elevon")(
    LazyGroup("elevon", COMMANDS, "Elevon: a pilot-job runtime for dataframe workloads.")
)


def main() -> None:
    """Run the command line; an error that Elevon raises on purpose is told without a traceback."""
    try:
        command.main(prog_name="elevon")
    except ElevonError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
