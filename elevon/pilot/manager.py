"""PilotManager and Pilot: from a description to living ranks, and to their end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from elevon.errors import DescriptionError, PilotLost, PilotStartFailed
from elevon.model import checks
from elevon.model.ids import IdSource, PilotId
from elevon.model.pilots import PilotDescription
from elevon.model.shown import shown
from elevon.model.states import PILOT_LIFE, PilotEvent, PilotState
from elevon.model.transitions import History
from elevon.pilot.providers.local import LocalProvider
from elevon.session import NotSent, Session
from elevon.wire.encodable import check_pilot
from elevon.wire.keys import ConnectionFile, PilotFile, read_secret
from elevon.wire.link import Link
from elevon.wire.messages import AgentMessage, PilotChanged, Shutdown

CLOSE_WITHIN_S = 5.0
LAST_WORD_S = 0.5

# What a state that the agent reports means for the state that is known here.
_EVENTS = {
    PilotState.ACTIVE: PilotEvent.RANKS_UP,
    PilotState.DONE: PilotEvent.ENDED,
    PilotState.CANCELED: PilotEvent.CANCEL,
}


class Acquisition(Protocol):
    """Resources on their way, or there."""

    connection: Future[ConnectionFile]

    def stop(self, grace_s: float) -> None:
        """Wait for the agent's end, and bring it about where it does not come by itself."""


class Provider(Protocol):
    """One kind of place where a pilot can run."""

    def start(
        self, pilot: PilotFile, directory: Path, on_end: Callable[[str], None]
    ) -> Acquisition:
        """Begin to acquire; ``on_end`` is called with the reason when the agent is gone."""


def default_providers() -> dict[str, Provider]:
    """Providers by the name of their resource."""
    return {"local": LocalProvider()}


class Pilot(NotSent):
    """Resources that tasks can be run on.

    Attributes:
        id: its name.
        description: what was asked for.
        directory: its logs and its journal.
        link: the connection to its agent.
    """

    def __init__(
        self,
        pilot_id: PilotId,
        description: PilotDescription,
        session: Session,
        provider: Provider,
    ) -> None:
        self.id = pilot_id
        self.description = description
        self.directory = session.directory / pilot_id
        connection = self._connection(session)  # before anything is made: its secret may be missing
        self.directory.mkdir(mode=0o700)
        self._changed = threading.Condition()
        self._history = History()
        self._state = PilotState.NEW
        self._advance(PilotEvent.SUBMITTED)
        self._reason = ""
        self._ranks_alive = 0
        self._left = False
        self._acquisition = provider.start(
            PilotFile(connection, description), self.directory, self._agent_ended
        )
        self.link = Link(f"{session.id}:{pilot_id}", self._acquisition.connection)
        self.link.subscribe(self._receive, self._link_lost)

    def _connection(self, session: Session) -> ConnectionFile:
        """What agent and ranks get, in files that only their owner can read."""
        about = self.description
        secret = read_secret(Path(about.relay_secret_file)) if about.relay else b""
        return ConnectionFile(
            session=session.id,
            pilot=self.id,
            directory=str(self.directory),
            keys=session.keys,
            tls=about.tls,
            relay=about.relay,
            relay_secret=secret,
            store=about.store,
        )

    @property
    def state(self) -> PilotState:
        """Where the pilot is on its way."""
        return self._state

    @property
    def reason(self) -> str:
        """Why the pilot ended, or ""."""
        return self._reason

    @property
    def ranks_alive(self) -> int:
        """How many ranks its agent last reported."""
        return self._ranks_alive

    def wait(self, timeout_s: float | None = None) -> PilotState:
        """Wait until the pilot is ACTIVE.

        Raises:
            PilotStartFailed: it ended before it was active; the message says why.
            PilotLost: it was active and has failed since.
            TimeoutError: neither happened in time.
        """
        with self._changed:
            if not self._changed.wait_for(self._settled, timeout_s):
                raise TimeoutError(f"{self.id} is still {self._state.value} after {timeout_s:g} s")
            if self._state is PilotState.FAILED:
                error = PilotLost if self._ranks_alive else PilotStartFailed
                raise error(f"{self.id} failed: {self._reason}")
            return self._state

    def cancel(self, reason: str = "the user cancelled the pilot") -> None:
        """End the pilot and all that runs on it; returns when it has ended.

        Raises:
            DescriptionError: the reason is no text; nothing has happened.
        """
        reason = checks.text("reason", reason)
        if not self._acquisition.connection.done():
            self._acquisition.stop(0.0)  # it cannot be talked to yet
        self.link.post(Shutdown(reason))
        self._wait_until_final()
        self.close(keep=False)

    def close(self, *, keep: bool) -> None:
        """Leave the pilot: to its end, or (``keep``) to work on without this client."""
        self._left = keep
        self.link.close(keep=keep)
        if not keep:
            self._acquisition.stop(CLOSE_WITHIN_S)

    def _settled(self) -> bool:
        return self._state.final or self._state is PilotState.ACTIVE

    def _receive(self, message: AgentMessage) -> None:
        if isinstance(message, PilotChanged):
            self._become(message.state, message.reason, message.ranks_alive)

    def _link_lost(self, reason: str) -> None:
        if not self._left:
            self._become(PilotState.FAILED, reason, self._ranks_alive)

    def _agent_ended(self, reason: str) -> None:
        # A clean end was told by the agent before its process went: let that word arrive first.
        if not self._wait_until_final(LAST_WORD_S):
            self.link.lose(reason)

    def _wait_until_final(self, timeout_s: float = CLOSE_WITHIN_S) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._state.final, timeout_s)

    def _become(self, told: PilotState, reason: str, ranks_alive: int) -> None:
        with self._changed:
            if self._state.final or told in (self._state, PilotState.STARTING):
                return
            starting = self._state is PilotState.STARTING
            failure = PilotEvent.START_FAILED if starting else PilotEvent.LOST
            if starting and told is PilotState.DONE:
                self._advance(PilotEvent.RANKS_UP)
            self._advance(_EVENTS.get(told, failure))
            self._reason = reason
            self._ranks_alive = ranks_alive
            self._changed.notify_all()

    def _advance(self, event: PilotEvent) -> None:
        self._state = self._history.advance(PILOT_LIFE, self.id, self._state, event)

    def __repr__(self) -> str:
        return f"Pilot({self.id!r}, {self._state.value}, ranks={self.description.ranks})"


class PilotManager(NotSent):
    """Submits pilots and ends them with the session.

    Args:
        session: whose keys and directory are used.
        providers: by resource name; the default knows what this installation has.
    """

    def __init__(self, session: Session, providers: Mapping[str, Provider] | None = None) -> None:
        self._session = session
        self._providers = default_providers() if providers is None else dict(providers)
        self._ids = IdSource("pilot")
        self.pilots: list[Pilot] = []
        session.on_close(self._close)

    def submit(self, description: PilotDescription) -> Pilot:
        """Begin to acquire a pilot; returns at once, tasks may be submitted to it from now on.

        Raises:
            DescriptionError: the session is closed, or there is no provider for the resource.
            UsageError: the relay's secret cannot be read.
        """
        self._session.check_open()
        if not checks.is_a(description, PilotDescription):
            raise DescriptionError(f"a PilotDescription is needed, not {shown(description)}")
        check_pilot(description)
        provider = self._providers.get(description.resource)
        if provider is None:
            raise DescriptionError(f"there is no provider for resource={description.resource!r}")
        pilot = Pilot(PilotId(self._ids.next()), description, self._session, provider)
        self.pilots.append(pilot)
        return pilot

    def _close(self, detach: bool) -> None:
        for pilot in self.pilots:
            if detach:
                pilot.close(keep=True)
            else:
                pilot.cancel("the session was closed")
