"""The pilots of this user on this machine, found by the files that they keep."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import psutil

from elevon.errors import UsageError, WireError
from elevon.model.pilots import PilotDescription
from elevon.session import default_root
from elevon.wire.keys import ConnectionFile, PilotFile, read_connection


@dataclass(frozen=True, slots=True)
class PilotHome:
    """One pilot's directory and what stands there.

    Attributes:
        session: the session's id.
        pilot: the pilot's id.
        directory: with pilot.json, the logs and the journal.
        description: what was asked for.
        connection: how to reach the agent, or None where it never came up.
        submitted: when, in seconds since the epoch.
    """

    session: str
    pilot: str
    directory: Path
    description: PilotDescription
    connection: ConnectionFile | None
    submitted: float

    @property
    def here(self) -> bool:
        """Whether its agent runs, or ran, on this machine."""
        return self.connection is not None and self.connection.agent_host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether its agent's process is there. Only for agents of this machine."""
        if self.connection is None or not self.here:
            return False
        try:
            command = psutil.Process(self.connection.agent_pid).cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        # Numbers of processes come again: the command line tells whose this one is.
        return str(self.directory) in command


def find_pilots(root: Path | None = None) -> list[PilotHome]:
    """All pilots under the directory of sessions, the newest first.

    What cannot be read, because another release wrote it or because it is being deleted, is named
    on standard error and left out: it must not hide the others.
    """
    base = default_root() if root is None else root
    homes = [_readable(path.parent) for path in base.glob("session.*/pilot.*/pilot.json")]
    known = [home for home in homes if home is not None]
    return sorted(known, key=lambda home: home.submitted, reverse=True)


def choose(wanted: str | None) -> list[PilotHome]:
    """The pilots that a user means.

    Args:
        wanted: a session's or a pilot's id or the beginning of one, or a directory of either;
            None for the newest pilot.

    Raises:
        UsageError: there is none.
    """
    if wanted is not None and Path(wanted).is_dir():
        files = [*Path(wanted).glob("pilot.json"), *Path(wanted).glob("pilot.*/pilot.json")]
        found = [_home(path.resolve().parent) for path in sorted(files)]
    elif wanted is not None:
        found = [home for home in find_pilots() if _is_called(home, wanted)]
    else:
        found = find_pilots()[:1]
    if not found:
        raise UsageError(
            f"there is no pilot {'at all' if wanted is None else f'{wanted!r}'} under "
            f"{default_root()}: `elevon status` lists those there are"
        )
    return found


def _is_called(home: PilotHome, wanted: str) -> bool:
    return home.session.startswith(wanted) or home.pilot.startswith(wanted)


def _readable(directory: Path) -> PilotHome | None:
    try:
        return _home(directory)
    except (OSError, WireError, msgspec.DecodeError) as error:
        click.echo(f"left out: {directory}: {error}", err=True)
        return None


def _home(directory: Path) -> PilotHome:
    file = directory / "pilot.json"
    about = msgspec.json.decode(file.read_bytes(), type=PilotFile)
    connection = directory / "connection.json"
    return PilotHome(
        session=about.connection.session,
        pilot=about.connection.pilot,
        directory=directory,
        description=about.description,
        connection=read_connection(connection) if connection.exists() else None,
        submitted=file.stat().st_mtime,
    )
