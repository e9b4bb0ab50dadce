"""The agent's two sockets: one for clients, one for ranks, each with a list of who may connect.

What goes to one peer in one turn of the loop is collected and goes in one frame.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from typing import Any

import msgspec

from elevon.wire.channels import Authority, Router, end_context, new_context
from elevon.wire.keys import ConnectionFile
from elevon.wire.messages import (
    AgentMessage,
    ClientMessage,
    ControlMessage,
    RankMessage,
    WorkMessage,
)


class Endpoints:
    """Binds both sockets.

    Args:
        connection: the keys.

    Attributes:
        clients: the socket for clients.
        ranks: the socket for ranks, their work and control channels alike.
        connection: as given, with the endpoints and this process filled in.
    """

    def __init__(self, connection: ConnectionFile) -> None:
        self._context = new_context()
        self._authority = Authority(self._context)
        self._authority.allow("clients", connection.keys.client.public)
        self._authority.allow("ranks", connection.keys.rank.public)
        keys = connection.keys.agent
        self.clients: Router[ClientMessage, AgentMessage] = Router(
            self._context, keys=keys, domain="clients", incoming=ClientMessage
        )
        self.ranks: Router[RankMessage, WorkMessage | ControlMessage] = Router(
            self._context, keys=keys, domain="ranks", incoming=RankMessage
        )
        self.connection = msgspec.structs.replace(
            connection,
            clients_endpoint=self.clients.endpoint,
            ranks_endpoint=self.ranks.endpoint,
            agent_pid=os.getpid(),
            agent_host=socket.gethostname(),
        )
        self._outbox: defaultdict[tuple[Router[Any, Any], bytes], list[Any]] = defaultdict(list)

    def to_client(self, client: bytes, message: AgentMessage) -> None:
        """Send at the end of this turn."""
        self._outbox[self.clients, client].append(message)

    def to_rank(self, channel: bytes, message: WorkMessage | ControlMessage) -> None:
        """Send at the end of this turn."""
        self._outbox[self.ranks, channel].append(message)

    def flush(self) -> None:
        """Send what this turn has collected. A peer that has gone is told of elsewhere."""
        for (router, peer), messages in self._outbox.items():
            router.send(peer, *messages)
        self._outbox.clear()

    def close(self) -> None:
        """Close both sockets, giving what is under way a moment to leave."""
        self.clients.close()
        self.ranks.close()
        self._authority.close()
        end_context(self._context)
