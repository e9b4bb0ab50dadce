"""A TaskManager whose pilots are not there: what it would send is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import msgspec

from elevon.model.pilots import PilotDescription
from elevon.tasks.manager import TaskManager
from elevon.wire.messages import ClientMessage

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[ClientMessage])


class RecordingLink:
    """What goes to an agent, through the wire's own encoder and decoder."""

    def __init__(self) -> None:
        self.posted: list[Any] = []

    def subscribe(self, receiver: Callable[[Any], None], on_lost: Callable[[str], None]) -> None:
        """Nothing ever comes back."""

    def post(self, message: Any) -> None:
        """As Link does, but the frame comes through at once."""
        (found,) = _decoder.decode(_encoder.encode([message]))
        assert found == message
        self.posted.append(found)


class Client:
    """A session, some pilots and a TaskManager; a context manager.

    Args:
        directory: of the session.
        pilots: how many.
    """

    def __init__(self, directory: Path, pilots: int = 1) -> None:
        self._closers: list[Callable[[bool], None]] = []
        session: Any = SimpleNamespace(
            check_open=lambda: None, on_close=self._closers.append, directory=directory
        )
        self.links = [RecordingLink() for _ in range(pilots)]
        handles: list[Any] = [
            SimpleNamespace(id=f"pilot.{i}", description=PilotDescription(ranks=4), link=link)
            for i, link in enumerate(self.links)
        ]
        self.tasks = TaskManager(session, handles)

    @property
    def posted(self) -> list[Any]:
        """All messages, pilot by pilot."""
        return [message for link in self.links for message in link.posted]

    def state(self) -> tuple[int, ...]:
        """How much the agents were sent, how many tables are served, which tasks are known."""
        inner = self.tasks._dispatcher
        pending = sum(map(len, inner._pending.values()))
        return len(self.posted), len(inner._uploads), len(inner._homes), pending

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for closer in self._closers:
            closer(True)
