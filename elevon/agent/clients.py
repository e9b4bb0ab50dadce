"""What the agent knows of its clients, and when it has been left alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from elevon.model.ids import TaskId


@dataclass(slots=True)
class ClientTable:
    """Clients by identity, with the moment when each was last heard.

    Args:
        grace_s: seconds of silence after which a client counts as dead.
        started: the moment from which the agent waits for its first client.
    """

    grace_s: float
    started: float
    _heard: dict[bytes, float] = field(default_factory=dict)
    _owners: dict[TaskId, bytes] = field(default_factory=dict)
    _detached: bool = False

    def heard(self, client: bytes, now: float) -> None:
        """Any message has come from a client."""
        self._heard[client] = now

    def left(self, client: bytes, *, keep: bool) -> None:
        """A client has said goodbye; with ``keep`` the pilot works on without clients."""
        self._heard.pop(client, None)
        self._detached = self._detached or keep

    def forget_silent(self, now: float) -> None:
        """Drop the clients whose grace period is over."""
        for client, heard in list(self._heard.items()):
            if now - heard > self.grace_s:
                del self._heard[client]
                self.started = max(self.started, heard)

    def abandoned(self, now: float) -> bool:
        """Whether no client is left that could want the pilot."""
        if self._heard or self._detached:
            return False
        return now - self.started > self.grace_s

    def own(self, task: TaskId, client: bytes) -> None:
        """A client has submitted a task."""
        self._owners[task] = client

    def disown(self, task: TaskId) -> None:
        """The task has ended and its owner holds no handle any more."""
        self._owners.pop(task, None)

    def owner(self, task: TaskId) -> bytes | None:
        """Who is to be told of the task's end."""
        return self._owners.get(task)

    def present(self) -> list[bytes]:
        """All clients that are there."""
        return list(self._heard)
