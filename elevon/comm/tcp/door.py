"""The door of a rank: lets later members of the group in.

A member that joins dials all who were there before it, so a replacement of a lost rank comes in by
the same door as everybody did at the start, at any time, and nobody has to stop working for it.

Whoever knocks has to prove that it belongs to this group and epoch, within seconds, before a byte
of it reaches the engine; strangers are met in a bounded number of threads, each with its own end.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable

import msgspec

from elevon import _native
from elevon.comm.connect.sockets import Caller, listen, meet
from elevon.comm.connect.tls import Cover, Guest, Wrapping
from elevon.errors import CommunicatorError, WireError

MOST_STRANGERS = 64
BACKLOG = 1024


class Meeting(msgspec.Struct, frozen=True):
    """What a member claims when it dials another: who it is, and whom it means.

    Attributes:
        slot: its own.
        incarnation: its own.
        name: host and process, for messages.
        to_slot: of the one it dials.
        to_incarnation: of the one it dials.
        certificate: its own, DER, where the connection is to go on in TLS.
    """

    slot: int
    incarnation: int
    name: str
    to_slot: int
    to_incarnation: int
    certificate: bytes = b""


class Places:
    """Attaches proved connections to the mesh, the newest process of each slot only."""

    def __init__(self, mesh: _native.Mesh) -> None:
        self._mesh = mesh
        self._incarnations: dict[int, int] = {}
        self._connected: set[int] = set()
        self._changed = threading.Condition()

    @property
    def own(self) -> int:
        """The slot of this rank, which nobody else takes."""
        return self._mesh.place

    def missing(self, slots: Iterable[int]) -> set[int]:
        """Those of the slots that nobody has connected for yet."""
        return {slot for slot in slots if slot not in self._connected and slot != self.own}

    def wait(self, slots: set[int], deadline: float | None, stop: Callable[[], bool]) -> set[int]:
        """Wait until somebody has connected for all these slots.

        Args:
            slots: to wait for.
            deadline: on the monotonic clock, or None.
            stop: ends the wait, at ``look_again``.

        Returns:
            Those that are missing still.
        """

        def over() -> bool:
            return not self.missing(slots) or stop()

        with self._changed:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            self._changed.wait_for(over, left)
        return self.missing(slots)

    def look_again(self) -> None:
        """Those who wait are to ask whether they should stop."""
        with self._changed:
            self._changed.notify_all()

    def connected(self, slot: int) -> None:
        """Both ends may use this connection from now on: the last word of the proof is said."""
        with self._changed:
            self._connected.add(slot)
            self._changed.notify_all()

    def take(self, member: Meeting, connection: socket.socket) -> None:
        """Give the member its place; its connection belongs to the mesh then.

        Raises:
            WireError: there is no such place, or the same or a later process has it.
        """
        with self._changed:
            known = self._incarnations.get(member.slot, 0)
            if not 0 <= member.slot < self._mesh.size or member.slot == self._mesh.place:
                raise WireError(f"there is no place {member.slot} for {member.name}")
            if member.incarnation <= known:
                raise WireError(f"place {member.slot} is taken; {member.name} comes too late")
            self._incarnations[member.slot] = member.incarnation
            name = f"slot {member.slot}, {member.name}"
            self._mesh.attach(member.slot, connection.detach(), name)


class Door:
    """A listening socket; nobody is let in before ``open``.

    Args:
        host: the address to listen on.
        cover: says who has to speak TLS, everybody else may not; None is only who is relayed.

    Attributes:
        port: where it listens.
    """

    def __init__(self, host: str, cover: Cover | None = None) -> None:
        self._cover = cover or Cover()
        self._listener = listen(host, backlog=BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._strangers = threading.BoundedSemaphore(MOST_STRANGERS)
        self._thread: threading.Thread | None = None

    def open(self, places: Places, key: bytes, slot: int, incarnation: int) -> None:
        """Let members in from now on, on a thread.

        Args:
            places: where they go.
            key: that they have to know.
            slot: ours.
            incarnation: ours.
        """
        self._guard = _Guard(places, key, (slot, incarnation), self._cover)
        self._thread = threading.Thread(target=self._accept, name="door", daemon=True)
        self._thread.start()

    def welcome(self, connection: socket.socket, relayed: bool = False) -> None:
        """Let a member in that has come by another way; only after ``open``.

        Args:
            connection: which is the door's from now on.
            relayed: whether a relay moves its bytes.
        """
        # Of a large world that starts at once many come together: the others wait, in the kernel's
        # queue, and a silent stranger gives its place up within seconds.
        self._strangers.acquire()
        threading.Thread(
            target=self._attend, args=(connection, relayed), name="stranger", daemon=True
        ).start()

    def close(self) -> None:
        """Let nobody in any more."""
        with contextlib.suppress(OSError):
            # Closing alone does not wake the thread that accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._thread is not None:
            self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except ConnectionError:
                continue  # it left before it was let in
            except OSError:
                return  # closed
            self.welcome(connection)

    def _attend(self, connection: socket.socket, relayed: bool) -> None:
        try:
            with connection:
                self._guard.admit(connection, relayed)
        except (OSError, WireError, CommunicatorError, msgspec.MsgspecError):
            pass  # its own side tells why; we owe a stranger nothing
        finally:
            self._strangers.release()


class _Guard:
    """Checks one caller after another."""

    def __init__(self, places: Places, key: bytes, me: tuple[int, int], cover: Cover) -> None:
        self._places = places
        self._key = key
        self._me = me
        self._cover = cover

    def admit(self, connection: socket.socket, relayed: bool) -> None:
        wrapping = self._cover.of(relayed)
        caller = meet(connection, self._key)
        member = self._check(caller, wrapping)
        if wrapping is not None:
            guest = Guest(connection, caller, member.certificate)
            wrapping.admit(guest, lambda end: self._places.take(member, end))
        else:
            self._take(member, connection, caller.answer)
        self._places.connected(member.slot)

    def _take(self, member: Meeting, connection: socket.socket, answer: bytes) -> None:
        connection.settimeout(None)
        # The answer says "you are in", so it comes last; the caller sends nothing before it.
        with connection.dup() as answering:
            self._places.take(member, connection)
            answering.sendall(answer)

    def _check(self, caller: Caller, wrapping: Wrapping | None) -> Meeting:
        member = msgspec.msgpack.decode(caller.claim, type=Meeting)
        if (member.to_slot, member.to_incarnation) != self._me:
            raise WireError(f"{member.name} means another process than this one")
        if bool(member.certificate) != (wrapping is not None):
            raise WireError(f"only one of {member.name} and this process is set to use TLS")
        return member
