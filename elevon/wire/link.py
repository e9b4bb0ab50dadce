"""A client's connection to one agent, served by a thread of its own.

User threads post messages, the link's thread sends them, keeps the heartbeat, and hands what comes
to the subscribers. When the agent falls silent the subscribers are told once and the link ends:
nobody waits for an agent that is gone.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

import msgspec

from elevon.errors import WireError
from elevon.wire.channels import Dealer, Poller, Unreadable, encode, end_context, new_context
from elevon.wire.keys import ConnectionFile
from elevon.wire.messages import AgentMessage, ClientAlive, ClientHello, ClientMessage, Goodbye
from elevon.wire.refusals import task_ended

HEARTBEAT_S = 1.0
# The agent's reactor is never busy for long, but its machine can be: ten missed heartbeats.
SILENCE_S = 10.0

Receiver: TypeAlias = Callable[[AgentMessage], None]
OnLost: TypeAlias = Callable[[str], None]


class Link:
    """Thread-safe ``post``; callbacks run on the link's thread and must not block."""

    def __init__(self, client: str, connection: Future[ConnectionFile]) -> None:
        self._client = client
        self._connection = connection
        self._outbox: deque[msgspec.Raw] = deque()
        self._receivers: list[Receiver] = []
        self._on_lost: list[OnLost] = []
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._rung = False
        self._closing = False
        self._lost_because = ""
        self._thread = threading.Thread(target=self._run, name=f"link {client}", daemon=True)
        self._thread.start()

    def subscribe(self, receiver: Receiver, on_lost: OnLost) -> None:
        """Call ``receiver`` with every message and ``on_lost`` with the reason if the agent goes.

        Where the link is lost already, ``on_lost`` is called at once.
        """
        with self._lock:
            self._receivers.append(receiver)
            self._on_lost.append(on_lost)
            lost = self._lost_because
        if lost:
            on_lost(lost)

    def post(self, message: ClientMessage) -> None:
        """Send, in order of posting. After the link was lost this does nothing more.

        Raises:
            DescriptionError: the message has no form on the wire; nothing was sent.
        """
        self._outbox.append(encode(message))
        self._ring()

    def lose(self, reason: str) -> None:
        """End the link because the agent is known to be gone; subscribers are told once."""
        with self._lock:
            if self._lost_because or self._closing:
                return
            self._lost_because = reason
            listeners = list(self._on_lost)
        self._ring()
        for on_lost in listeners:
            on_lost(reason)

    def close(self, *, keep: bool) -> None:
        """Say goodbye, send what is still in the outbox, end the thread, tell the listeners."""
        with self._lock:
            if self._closing:
                return
            self._outbox.append(encode(Goodbye(keep)))
            self._closing = True
            listeners = [] if self._lost_because else list(self._on_lost)
        self._ring()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
        for on_lost in listeners:
            on_lost("this client has left the pilot")

    def _ring(self) -> None:
        # The thread forgets first that it was rung for, and looks then: so it sees whatever was
        # changed before this, and many posts in a row cost one system call.
        if self._rung:
            return
        self._rung = True
        with contextlib.suppress(OSError):  # the thread has ended and closed its end
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        context = new_context()
        try:
            connection = self._connection.result()
            dealer: Dealer[AgentMessage, ClientMessage] = Dealer(
                context,
                connection.clients_endpoint,
                identity=self._client.encode(),
                keys=connection.keys.client,
                server_public=connection.keys.agent.public,
                incoming=AgentMessage,
            )
            self._serve(dealer)
            dealer.close()
        except Exception as error:  # noqa: BLE001 - the border: whatever ends the link is told
            self.lose(f"the connection to the agent ended: {error}")
        finally:
            end_context(context)
            os.close(self._wake)

    def _serve(self, dealer: Dealer[AgentMessage, ClientMessage]) -> None:
        poller = Poller()
        poller.watch(dealer)
        poller.watch(self._wake)
        dealer.send(ClientHello(self._client))
        heard = beat = time.monotonic()
        while not self._lost_because:
            poller.wait(HEARTBEAT_S / 2)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            self._rung = False
            closing = self._closing
            self._send_outbox(dealer)
            if closing:
                return
            now = time.monotonic()
            if self._receive_all(dealer):
                heard = now
            if now - beat > HEARTBEAT_S:
                dealer.send(ClientAlive())
                beat = now
            if now - heard > SILENCE_S:
                self.lose(f"the agent has been silent for {SILENCE_S:g} s")

    def _send_outbox(self, dealer: Dealer[AgentMessage, ClientMessage]) -> None:
        batch: list[msgspec.Raw] = []
        while self._outbox:
            batch.append(self._outbox.popleft())
        if batch:
            dealer.send(*batch)

    def _receive_all(self, dealer: Dealer[AgentMessage, ClientMessage]) -> bool:
        received = False
        while messages := dealer.receive_nowait():
            received = True
            for message in messages:
                readable = _readable(message)
                for receiver in self._receivers:
                    receiver(readable)
        return received


def _readable(message: AgentMessage | Unreadable) -> AgentMessage:
    """The message, or the end of the task that an unreadable one is about.

    Raises:
        WireError: it is about something else, and what that was nobody can tell.
    """
    if not isinstance(message, Unreadable):
        return message
    ended = task_ended(message)
    if ended is None:
        raise WireError(str(message))
    return ended
