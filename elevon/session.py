"""Session: identity, keys and directory of one user's work; closing it ends what it started.

It stands between ``wire`` and ``pilot | tasks``, which both need it and do not know each other.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from elevon.errors import DescriptionError
from elevon.model import checks
from elevon.model.ids import SessionId, new_session_id
from elevon.wire.keys import Keyring

# Logs and journals of sessions that have ended are kept for a while, for reports and questions.
KEEP_SESSIONS_S = 7 * 24 * 3600.0


def default_root() -> Path:
    """Where sessions keep their directories."""
    return Path.home() / ".elevon" / "sessions"


class NotSent:
    """Base of what belongs to the process that made it; pickling it is refused in these words."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} belongs to the process that made it and cannot be pickled: a "
            "function gets what it needs as arguments (results of tasks, tables, plain values)"
        )


class Session(NotSent):
    """Owns the keys and the directory; a context manager.

    Args:
        detach: leave the pilots running when the session is closed.
        root: where the session's directory is made, ``~/.elevon/sessions`` by default.

    Leaving the ``with`` block, also by Ctrl-C, first cancels what still runs and ends the pilots
    (unless ``detach``), then returns.
    """

    def __init__(self, *, detach: bool = False, root: str | os.PathLike[str] | None = None) -> None:
        self.detach = checks.flag("detach", detach)
        parent = default_root() if root is None else Path(checks.path("root", root))
        self.id: SessionId = new_session_id()
        self.keys = Keyring.new()
        _prepare_root(parent)
        self.directory = parent / self.id
        self.directory.mkdir(mode=0o700)
        self._closers = contextlib.ExitStack()
        self._closed = False
        self._process = os.getpid()
        # Not every script closes its session; an interpreter that ends must not leave a pilot.
        atexit.register(_close_at_exit, weakref.ref(self))

    def on_close(self, closer: Callable[[bool], None]) -> None:
        """Call ``closer(detach)`` when the session closes; the last registered goes first."""
        self._closers.callback(lambda: closer(self.detach))

    def close(self) -> None:
        """End what the session started, the newest first. Safe to call twice.

        Every closer is called, whatever another one raises; the error is raised at the end. In a
        forked child this does nothing: what the session started belongs to the parent.
        """
        if not self._closed and os.getpid() == self._process:
            self._closed = True
            self._closers.close()

    def check_open(self) -> None:
        """Raise DescriptionError where the session is closed, or another process's."""
        if os.getpid() != self._process:
            raise DescriptionError(
                f"{self.id} belongs to process {self._process}, of which this one "
                f"({os.getpid()}) is a fork: make a new Session here"
            )
        if self._closed:
            raise DescriptionError(f"{self.id} is closed: make a new Session")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Session({self.id!r}, directory={str(self.directory)!r})"


def _close_at_exit(reference: weakref.ref[Session]) -> None:
    session = reference()
    if session is not None:
        session.close()


def _prepare_root(root: Path) -> None:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    horizon = time.time() - KEEP_SESSIONS_S
    for old in root.glob("session.*"):
        # Another session may be tidying up as well.
        with contextlib.suppress(FileNotFoundError):
            if old.stat().st_mtime < horizon and not _alive(old):
                shutil.rmtree(old)


def _alive(directory: Path) -> bool:
    """Whether a pilot of the session still has its sockets, so that an agent may be behind them."""
    return any(directory.glob("*/*.sock"))
