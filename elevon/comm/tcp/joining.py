"""How a rank joins its world: listen, join, dial those that are there, wait for the others."""

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
from elevon.comm.connect.nat import NatConfig, NatEndpoint, NatKeys
from elevon.comm.connect.rendezvous import (
    GroupKeys,
    GroupName,
    JoinReply,
    JoinRequest,
    Member,
    Membership,
    join,
)
from elevon.comm.connect.sockets import dial, prove_on
from elevon.comm.connect.tls import TlsPolicy, TlsWrapper, can_encrypt
from elevon.comm.tcp.acceptor import Acceptor
from elevon.comm.tcp.links import Links
from elevon.comm.tcp.peers import HelloClaim, PeerTable
from elevon.comm.tcp.world import TcpWorld
from elevon.errors import CommunicatorError, UsageError, WireError

JOIN_WITHIN_S = 60.0
# In front of the name under which a rank is registered at the relay, among its addresses.
RELAYED = "relay:"


@dataclass(frozen=True, slots=True)
class JoinConfig:
    """What a rank needs to find its world.

    Attributes:
        rendezvous: "host:port".
        group: which world.
        worker: the rank's id; a process that joins again under it gets the same slot.
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
    deadline_s: float = JOIN_WITHIN_S
    relay: str = ""
    relay_secret: bytes = field(default=b"", repr=False)
    tls: bool = False
    shares_memory: bool = True
    lazy: bool = False


def join_world(config: JoinConfig, secret: bytes) -> TcpWorld:
    """Join; returns when all ranks of the world are there, and connected unless it is lazy.

    Args:
        config: of this rank.
        secret: of the session.

    Returns:
        The world; leaving it gives the slot up.

    Raises:
        CommunicatorError: not all came in time, or no slot is free; names those that are missing.
        WireError: a peer does not know the secret.
        UsageError: TLS is slot_for and its package is not installed.
    """
    nat = NatEndpoint(_nat_config(config, secret)) if config.relay else None
    try:
        return _join(config, secret, nat)
    except BaseException:
        if nat is not None:
            nat.close()
        raise


def _join(config: JoinConfig, secret: bytes, nat: NatEndpoint | None) -> TcpWorld:
    keys = GroupKeys.of(secret, config.group)
    with contextlib.ExitStack() as undo:
        tls = TlsPolicy(config.tls)
        undo.callback(tls.close, 0.0)
        acceptor = Acceptor(config.host, tls)
        undo.callback(acceptor.close)
        request = _join_request(config, acceptor.port, nat)
        membership = join(config.rendezvous, config.group, keys.joining, request)
        undo.pop_all()
    mesh = _native.Mesh(membership.reply.slot, config.size, config.shares_memory)
    held = (acceptor, membership) if nat is None else (nat, acceptor, membership)
    dialer = _Dialer(keys.peering, nat, tls)
    links = _start_acceptor(mesh, acceptor, membership, dialer)
    world = TcpWorld(mesh, held, tls, links)
    try:
        if not config.lazy or membership.reply.incarnation > config.size:
            links.connect_all()
        membership.complete()
    except BaseException:
        world.leave()
        raise
    return world


def _nat_config(config: JoinConfig, secret: bytes) -> NatConfig:
    """For the relay, under a name that no other process has."""
    host, _, port = config.relay.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"a relay is given as host:port, not {config.relay!r}")
    group, name = config.group, secrets.token_hex(8)
    keys = NatKeys.of(secret, group.job, group.epoch, config.relay_secret)
    relay = (host, int(port))
    return NatConfig(relay, group.job, group.epoch, name, keys, encrypts=can_encrypt())


@dataclass(frozen=True, slots=True, repr=False)
class _Dialer:
    """What all connections of a world are made with."""

    key: bytes
    nat: NatEndpoint | None
    tls: TlsPolicy

    def dial(self, address: str, port: int, claim: HelloClaim) -> socket.socket:
        """An authenticated connection, or the end of it that is the engine's."""
        if address.startswith(RELAYED):
            return self._dial_by_relay(address.removeprefix(RELAYED), claim)
        wrapper = self.tls.wrapper_for(relayed=False)
        connection, session = dial((address, port), self.key, _encoded(claim, wrapper))
        return _wrapped(connection, session, wrapper)

    def _dial_by_relay(self, name: str, claim: HelloClaim) -> socket.socket:
        """Punched or relayed; the member checks our claim on it as on any other."""
        if self.nat is None:
            raise CommunicatorError(
                "it is behind a NAT: give this rank the address of its relay, too"
            )
        path = self.nat.reach(name)
        with contextlib.ExitStack() as undo:
            undo.enter_context(path.connection)
            wrapper = self.tls.wrapper_for(relayed=not path.direct)
            session = prove_on(path.connection, self.key, _encoded(claim, wrapper))
            undo.pop_all()
        return _wrapped(path.connection, session, wrapper)


def _encoded(claim: HelloClaim, wrapper: TlsWrapper | None) -> bytes:
    if wrapper is not None:
        claim = msgspec.structs.replace(claim, certificate=wrapper.certificate)
    return msgspec.msgpack.encode(claim)


def _wrapped(
    connection: socket.socket, session: bytes, wrapper: TlsWrapper | None
) -> socket.socket:
    return connection if wrapper is None else wrapper.connect(connection, session)


def _start_acceptor(
    mesh: _native.Mesh, acceptor: Acceptor, membership: Membership, dialer: _Dialer
) -> Links:
    me, peers = membership.reply, PeerTable(mesh)
    acceptor.start(peers, dialer.key, me.slot, me.incarnation)
    if dialer.nat is not None:
        accepting = threading.Thread(
            target=_accept_from_nat,
            args=(dialer.nat, acceptor),
            name="accept from NAT",
            daemon=True,
        )
        accepting.start()
    return Links(peers, me.members, partial(_connect, peers, dialer, me))


def _connect(peers: PeerTable, dialer: _Dialer, me: JoinReply, member: Member) -> None:
    claim = HelloClaim(
        slot=me.slot,
        incarnation=me.incarnation,
        name=own_name(),
        to_slot=member.slot,
        to_incarnation=member.incarnation,
    )
    connection = _reach(member, dialer, claim)
    connection.settimeout(None)
    them = HelloClaim(member.slot, member.incarnation, member.name, me.slot, me.incarnation)
    peers.attach(them, connection)
    peers.mark_connected(member.slot)


def _accept_from_nat(nat: NatEndpoint, acceptor: Acceptor) -> None:
    """Hand peers that come by the relay to the acceptor, until the endpoint is closed."""
    while True:
        try:
            path = nat.accept()
        except UsageError:
            return  # closed
        acceptor.accept(path.connection, relayed=not path.direct)


def _reach(member: Member, dialer: _Dialer, claim: HelloClaim) -> socket.socket:
    """An authenticated connection to a member, by the first address that leads to it."""
    tried = []
    for address in member.addresses:
        try:
            return dialer.dial(address, member.port, claim)
        except (OSError, WireError, CommunicatorError) as error:  # noqa: PERF203 - a handful
            tried.append(f"{address}:{member.port}: {error}")
    raise CommunicatorError(
        f"slot {member.slot} ({member.name}) cannot be reached: {'; '.join(tried)}"
    )


def _join_request(config: JoinConfig, port: int, nat: NatEndpoint | None) -> JoinRequest:
    return JoinRequest(
        worker=config.worker,
        slot=config.slot,
        size=config.size,
        # Behind a NAT the own address is one of a thousand such; the NAT endpoint tries it.
        addresses=(config.host,) if nat is None else (f"{RELAYED}{nat.name}",),
        port=port,
        name=own_name(),
        deadline_s=config.deadline_s,
    )


def own_name() -> str:
    """What other ranks' errors call this process."""
    return f"pid {os.getpid()} on {socket.gethostname()}"
