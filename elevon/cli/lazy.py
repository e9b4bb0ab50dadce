"""A group of commands of which only the one that is called is imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives: ``module.command``. ``summary`` is its line in the help."""

    module: str
    summary: str


class LazyGroup(click.Group):
    """A click group over ``entries``.

    Args:
        name: the group's own name.
        entries: its commands by name.
        summary: the help text of the group.
    """

    def __init__(self, name: str, entries: Mapping[str, Entry], summary: str) -> None:
        super().__init__(name=name, help=summary, context_settings={"max_content_width": 100})
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None where there is none of this name."""
        if cmd_name not in self._entries:
            return None
        command = importlib.import_module(self._entries[cmd_name].module).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, from the table: importing all for it would take a second."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._entries.items()])
