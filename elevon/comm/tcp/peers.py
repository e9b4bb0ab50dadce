"""The peers of a rank: what one claims when it connects, and which of them are connected."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable

import msgspec

from elevon import _native
from elevon.errors import WireError


class HelloClaim(msgspec.Struct, frozen=True):
    """What a member claims when it dials another: its identity, and the one that it expects.

    Attributes:
        slot: its own.
        incarnation: its own.
        name: host and process, for messages.
        to_slot: of the member that it dials.
        to_incarnation: of the member that it dials.
        certificate: its own, DER, where the connection is to go on in TLS.
    """

    slot: int
    incarnation: int
    name: str
    to_slot: int
    to_incarnation: int
    certificate: bytes = b""


class PeerTable:
    """Attaches authenticated connections to the mesh, the newest process of each slot only."""

    def __init__(self, mesh: _native.Mesh) -> None:
        self._mesh = mesh
        self._incarnations: dict[int, int] = {}
        self._connected: set[int] = set()
        self._changed = threading.Condition()

    @property
    def own_slot(self) -> int:
        """The slot of this rank, which no peer can take."""
        return self._mesh.slot

    def missing(self, slots: Iterable[int]) -> set[int]:
        """Those of the slots that are not connected yet."""
        return {slot for slot in slots if slot not in self._connected and slot != self.own_slot}

    def is_attached(self, slot: int) -> bool:
        """Whether a process has this slot; its proof may still lack our last word."""
        with self._changed:
            return slot in self._incarnations

    def wait(self, slots: set[int], deadline: float | None, stop: Callable[[], bool]) -> set[int]:
        """Wait until all these slots are connected.

        Args:
            slots: to wait for.
            deadline: on the monotonic clock, or None.
            stop: ends the wait, at ``wake``.

        Returns:
            Those that are missing still.
        """

        def over() -> bool:
            return not self.missing(slots) or stop()

        with self._changed:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            self._changed.wait_for(over, left)
        return self.missing(slots)

    def wake(self) -> None:
        """Have every waiting thread ask whether it should stop."""
        with self._changed:
            self._changed.notify_all()

    def mark_connected(self, slot: int) -> None:
        """Both ends may use this connection from now on: the proof is complete."""
        with self._changed:
            self._connected.add(slot)
            self._changed.notify_all()

    def attach(self, member: HelloClaim, connection: socket.socket) -> None:
        """Take a member into its slot; its connection belongs to the mesh then.

        Raises:
            WireError: there is no such slot, or the same or a later process has it.
        """
        with self._changed:
            known = self._incarnations.get(member.slot, 0)
            if not 0 <= member.slot < self._mesh.size or member.slot == self.own_slot:
                raise WireError(f"there is no slot {member.slot} for {member.name}")
            if member.incarnation <= known:
                raise WireError(f"slot {member.slot} is taken; {member.name} comes too late")
            self._incarnations[member.slot] = member.incarnation
            name = f"slot {member.slot}, {member.name}"
            self._mesh.attach(member.slot, connection.detach(), name)
