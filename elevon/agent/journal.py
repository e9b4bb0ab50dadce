"""The journal: every event that the scheduler was told, in order, on the pilot's disk.

SQLite in WAL mode with synchronous=NORMAL: what was appended outlives the agent's process, however
that ends. The last moments may be lost when the machine loses power, and with it the ranks.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from elevon.agent.scheduling.events import Event
from elevon.errors import WireError

# Change it whenever an event changes so that older ones do not decode, or decode to another thing.
FORMAT = 1
_APPLICATION = 0x456C6576  # "Elev": tells our file from any other SQLite database
_READ_AT_ONCE = 1_000


class Journal:
    """A file of events, open for appending. One writer at a time; readers do not disturb it.

    Args:
        path: the file; made where it does not exist.

    Raises:
        WireError: the file is something else, or of another release.
    """

    def __init__(self, path: Path) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._prepare(path)
        except BaseException:
            self._database.close()
            raise

    def append(self, events: Iterable[Event]) -> None:
        """Add a batch: all of it or, should the process die meanwhile, nothing."""
        rows = [(self._encode(event),) for event in events]
        if not rows:
            return
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:  # commits, or rolls back and raises
            self._database.executemany("INSERT INTO events (body) VALUES (?)", rows)

    def close(self) -> None:
        """End writing; closing twice is no error."""
        self._database.close()

    def _prepare(self, path: Path) -> None:
        new = not _version(self._database, path)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        if new:
            self._database.execute("BEGIN IMMEDIATE")
            with self._database:
                self._database.execute(
                    "CREATE TABLE events (number INTEGER PRIMARY KEY, body BLOB NOT NULL)"
                )
                self._database.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._database.execute(f"PRAGMA user_version = {FORMAT}")


def replay(path: Path) -> Iterator[Event]:
    """The events of a journal, in the order in which they were appended.

    Raises:
        FileNotFoundError: there is no such file.
        WireError: the file is something else, or of another release.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no journal at {path}")
    decode = msgspec.msgpack.Decoder(Event).decode
    with contextlib.closing(sqlite3.connect(path)) as database:
        if not _version(database, path):
            return  # the agent died between making the file and writing to it
        rows = database.execute("SELECT body FROM events ORDER BY number")
        while batch := rows.fetchmany(_READ_AT_ONCE):
            for (body,) in batch:
                yield decode(body)


def _version(database: sqlite3.Connection, path: Path) -> int:
    """The format of the file, 0 where it is empty."""
    try:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise WireError(f"{path} is no journal: {error}") from error
    if not tables:
        return 0
    if (application, version) != (_APPLICATION, FORMAT):
        raise WireError(
            f"{path} is no journal of this release (format {FORMAT}), but has application id "
            f"{application:#x} and format {version}: replay it with the release that wrote it"
        )
    return int(version)
