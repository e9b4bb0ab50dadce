"""How a rank comes into its world: listen, join, dial those who are there, wait for the others.

Before it: ``comm.rendezvous`` and ``door``. After it: ``agent.rank`` enters with it, at the start
and as a replacement alike.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import msgspec

from elevon import _native
from elevon.comm.rendezvous import GroupKeys, GroupName, Joining, Member, Membership, join
from elevon.comm.sockets import dial
from elevon.comm.tcp.door import Door, Meeting, Places
from elevon.comm.tcp.world import TcpWorld
from elevon.errors import CommunicatorError, WireError

ENTER_WITHIN_S = 60.0


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
    """

    rendezvous: str
    group: GroupName
    worker: str
    slot: int
    size: int
    host: str = "127.0.0.1"
    deadline_s: float = ENTER_WITHIN_S


def enter(entrance: Entrance, secret: bytes) -> TcpWorld:
    """Come in; returns when all ranks of the world are connected with each other.

    Args:
        entrance: where and as whom.
        secret: of the session.

    Returns:
        The world; leaving it gives the slot up.

    Raises:
        CommunicatorError: not all came in time, or there is no place; names who is missing.
        WireError: somebody does not know the secret.
    """
    keys = GroupKeys.of(secret, entrance.group)
    door = Door(entrance.host)
    try:
        membership = join(
            entrance.rendezvous, entrance.group, keys.joining, _joining(entrance, door.port)
        )
    except BaseException:
        door.close()
        raise
    mesh = _native.Mesh(membership.welcome.slot, entrance.size)
    world = TcpWorld(mesh, (door, membership))
    try:
        _connect(mesh, door, membership, keys.meeting)
        membership.complete()
    except BaseException:
        world.leave()
        raise
    return world


def _connect(mesh: _native.Mesh, door: Door, membership: Membership, key: bytes) -> None:
    me, places = membership.welcome, Places(mesh)
    door.open(places, key, me.slot, me.incarnation)
    for member in me.members:
        claim = Meeting(me.slot, me.incarnation, own_name(), member.slot, member.incarnation)
        connection = _reach(member, key, msgspec.msgpack.encode(claim))
        connection.settimeout(None)
        them = Meeting(member.slot, member.incarnation, member.name, me.slot, me.incarnation)
        places.take(them, connection)


def _reach(member: Member, key: bytes, claim: bytes) -> socket.socket:
    """A proved connection to a member, by the first address that leads to it."""
    tried = []
    for address in member.addresses:
        try:
            return dial((address, member.port), key, claim)[0]
        except (OSError, WireError) as error:  # noqa: PERF203 - a handful
            tried.append(f"{address}:{member.port}: {error}")
    raise CommunicatorError(
        f"slot {member.slot} ({member.name}) cannot be reached: {'; '.join(tried)}"
    )


def _joining(entrance: Entrance, port: int) -> Joining:
    return Joining(
        worker=entrance.worker,
        slot=entrance.slot,
        size=entrance.size,
        addresses=(entrance.host,),
        port=port,
        name=own_name(),
        deadline_s=entrance.deadline_s,
    )


def own_name() -> str:
    """What other ranks' errors call this process."""
    return f"pid {os.getpid()} on {socket.gethostname()}"
