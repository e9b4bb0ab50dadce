"""How a rank comes into its world: listen, join, dial those who are there, wait for the others."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from dataclasses import dataclass, field
from functools import partial

import msgspec

from elevon import _native
from elevon.comm.connect.nat import NatDoor, NatKeys, Way
from elevon.comm.connect.rendezvous import (
    GroupKeys,
    GroupName,
    Joining,
    Member,
    Membership,
    Welcome,
    join,
)
from elevon.comm.connect.sockets import dial, prove_on
from elevon.comm.connect.tls import Cover, Wrapping, can_encrypt
from elevon.comm.tcp.door import Door, Meeting, Places
from elevon.comm.tcp.links import Links
from elevon.comm.tcp.world import TcpWorld
from elevon.errors import CommunicatorError, UsageError, WireError

ENTER_WITHIN_S = 60.0
# In front of the name under which a rank attends at the relay, among its addresses.
RELAYED = "relay:"


@dataclass(frozen=True, slots=True)
class Entrance:
    """What a rank needs to find its world.

    Attributes:
        rendezvous: "host:port".
        group: which world.
        worker: the rank's id; who comes again under it gets the same slot.
        slot: the slot that it is to have, or -1 for any.
        size: how many ranks the world has.
        host: the address to listen on and to be reached at.
        deadline_s: seconds until all have to be there.
        relay: "host:port" of a relay, where ranks sit behind NATs, or "" where all can dial all.
        relay_secret: the relay's own, where it is not made from the session's.
        tls: whether direct connections are TLS; either all ranks of a world say so or none. What
            goes through the relay always is.
        shares_memory: whether large messages between ranks of one host may go around the sockets.
        lazy: whether pairs are connected only when a group needs them. A replacement of a lost
            rank connects with all in any case: that it is gone shows on its connections.
    """

    rendezvous: str
    group: GroupName
    worker: str
    slot: int
    size: int
    host: str = "127.0.0.1"
    deadline_s: float = ENTER_WITHIN_S
    relay: str = ""
    relay_secret: bytes = field(default=b"", repr=False)
    tls: bool = False
    shares_memory: bool = True
    lazy: bool = False


def enter(entrance: Entrance, secret: bytes) -> TcpWorld:
    """Come in; returns when all ranks of the world are there, and connected unless it is lazy.

    Args:
        entrance: where and as whom.
        secret: of the session.

    Returns:
        The world; leaving it gives the slot up.

    Raises:
        CommunicatorError: not all came in time, or there is no place; names who is missing.
        WireError: somebody does not know the secret.
        UsageError: TLS is wanted and its package is not installed.
    """
    nat = NatDoor(_way(entrance, secret)) if entrance.relay else None
    try:
        return _enter(entrance, secret, nat)
    except BaseException:
        if nat is not None:
            nat.close()
        raise


def _enter(entrance: Entrance, secret: bytes, nat: NatDoor | None) -> TcpWorld:
    keys = GroupKeys.of(secret, entrance.group)
    with contextlib.ExitStack() as undo:
        cover = Cover(entrance.tls)
        undo.callback(cover.close, 0.0)
        door = Door(entrance.host, cover)
        undo.callback(door.close)
        wish = _joining(entrance, door.port, nat)
        membership = join(entrance.rendezvous, entrance.group, keys.joining, wish)
        undo.pop_all()
    mesh = _native.Mesh(membership.welcome.slot, entrance.size, entrance.shares_memory)
    held = (door, membership) if nat is None else (nat, door, membership)
    dialing = _Dialing(keys.meeting, nat, cover)
    links = _open_door(mesh, door, membership, dialing)
    world = TcpWorld(mesh, held, cover, links)
    try:
        if not entrance.lazy or membership.welcome.incarnation > entrance.size:
            links.connect_all()
        membership.complete()
    except BaseException:
        world.leave()
        raise
    return world


def _way(entrance: Entrance, secret: bytes) -> Way:
    """To the relay, under a name that no other process has."""
    host, _, port = entrance.relay.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"a relay is given as host:port, not {entrance.relay!r}")
    group, name = entrance.group, secrets.token_hex(8)
    keys = NatKeys.of(secret, group.job, group.epoch, entrance.relay_secret)
    relay = (host, int(port))
    return Way(relay, group.job, group.epoch, name, keys, encrypts=can_encrypt())


@dataclass(frozen=True, slots=True, repr=False)
class _Dialing:
    """What all connections of a world are made with."""

    key: bytes
    nat: NatDoor | None
    cover: Cover

    def reach(self, address: str, port: int, claim: Meeting) -> socket.socket:
        """A proved connection, or the end of it that is the engine's."""
        if address.startswith(RELAYED):
            return self._by_relay(address.removeprefix(RELAYED), claim)
        wrapping = self.cover.of(relayed=False)
        connection, session = dial((address, port), self.key, _encoded(claim, wrapping))
        return _covered(connection, session, wrapping)

    def _by_relay(self, name: str, claim: Meeting) -> socket.socket:
        """Punched or relayed; the member checks our claim on it as on any other."""
        if self.nat is None:
            raise CommunicatorError(
                "it is behind a NAT: give this rank the address of its relay, too"
            )
        passage = self.nat.reach(name)
        with contextlib.ExitStack() as undo:
            undo.enter_context(passage.connection)
            wrapping = self.cover.of(relayed=not passage.direct)
            session = prove_on(passage.connection, self.key, _encoded(claim, wrapping))
            undo.pop_all()
        return _covered(passage.connection, session, wrapping)


def _encoded(claim: Meeting, wrapping: Wrapping | None) -> bytes:
    if wrapping is not None:
        claim = msgspec.structs.replace(claim, certificate=wrapping.certificate)
    return msgspec.msgpack.encode(claim)


def _covered(connection: socket.socket, session: bytes, wrapping: Wrapping | None) -> socket.socket:
    return connection if wrapping is None else wrapping.follow(connection, session)


def _open_door(mesh: _native.Mesh, door: Door, membership: Membership, dialing: _Dialing) -> Links:
    me, places = membership.welcome, Places(mesh)
    door.open(places, dialing.key, me.slot, me.incarnation)
    if dialing.nat is not None:
        arrivals = threading.Thread(
            target=_let_in, args=(dialing.nat, door), name="arrivals", daemon=True
        )
        arrivals.start()
    return Links(places, me.members, partial(_connect, places, dialing, me))


def _connect(places: Places, dialing: _Dialing, me: Welcome, member: Member) -> None:
    claim = Meeting(
        slot=me.slot,
        incarnation=me.incarnation,
        name=own_name(),
        to_slot=member.slot,
        to_incarnation=member.incarnation,
    )
    connection = _reach(member, dialing, claim)
    connection.settimeout(None)
    them = Meeting(member.slot, member.incarnation, member.name, me.slot, me.incarnation)
    places.take(them, connection)
    places.connected(member.slot)


def _let_in(nat: NatDoor, door: Door) -> None:
    """Take those who come by the relay to the door, until there are no more."""
    while True:
        try:
            passage = nat.accept()
        except UsageError:
            return  # closed
        door.welcome(passage.connection, relayed=not passage.direct)


def _reach(member: Member, dialing: _Dialing, claim: Meeting) -> socket.socket:
    """A proved connection to a member, by the first address that leads to it."""
    tried = []
    for address in member.addresses:
        try:
            return dialing.reach(address, member.port, claim)
        except (OSError, WireError, CommunicatorError) as error:  # noqa: PERF203 - a handful
            tried.append(f"{address}:{member.port}: {error}")
    raise CommunicatorError(
        f"slot {member.slot} ({member.name}) cannot be reached: {'; '.join(tried)}"
    )


def _joining(entrance: Entrance, port: int, nat: NatDoor | None) -> Joining:
    return Joining(
        worker=entrance.worker,
        slot=entrance.slot,
        size=entrance.size,
        # Behind a NAT the own address is one of a thousand such; the door at the relay tries it.
        addresses=(entrance.host,) if nat is None else (f"{RELAYED}{nat.name}",),
        port=port,
        name=own_name(),
        deadline_s=entrance.deadline_s,
    )


def own_name() -> str:
    """What other ranks' errors call this process."""
    return f"pid {os.getpid()} on {socket.gethostname()}"
