"""Names of things: typed strings and numbers that print the same in logs, traces and errors.

An id is made once, by the side that creates the thing.
"""

from __future__ import annotations

import itertools
import secrets
from typing import NewType

SessionId = NewType("SessionId", str)
PilotId = NewType("PilotId", str)
TaskId = NewType("TaskId", str)
"""A task's name for machines. Its output dataset, if it has one, goes by the same id."""
RankId = NewType("RankId", int)
"""The agent's number for one worker process; a replaced process gets the number back."""


def new_session_id() -> SessionId:
    """A session id that is unique enough to be a directory name shared by many machines."""
    return SessionId(f"session.{secrets.token_hex(4)}")


class IdSource:
    """Counts ids of one owner: ``task.3fa2.000001``, ``task.3fa2.000002``, ...

    The four hexadecimal digits keep two clients of one session apart.
    """

    def __init__(self, kind: str) -> None:
        self._prefix = f"{kind}.{secrets.token_hex(2)}"
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """The next id."""
        return f"{self._prefix}.{next(self._numbers):06d}"
