"""Worlds whose ranks connect group by group."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import pytest

from elevon import _native
from elevon.comm import tcp
from elevon.comm.connect.rendezvous import GroupName, Member, RendezvousServer, rendezvous_secret
from elevon.comm.tcp import JoinConfig, TcpWorld, join_world
from elevon.comm.tcp import joining as tcp_joining
from elevon.comm.tcp.links import Links
from elevon.comm.tcp.peers import HelloClaim, PeerTable
from elevon.errors import CollectiveTimeout, GroupAborted, MemberLost
from elevon.rank import loop
from elevon.wire.keys import ConnectionFile, Keyring
from tests.support.tcp import connected_pair

SECRET = secrets.token_bytes(32)
PATIENCE_S = 20.0
SIZE = 4


@pytest.fixture
def server() -> Iterator[RendezvousServer]:
    server = RendezvousServer(rendezvous_secret(SECRET))
    yield server
    server.close()


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The pairs that have been connected, as far as this process dialed for them."""
    found: list[set[int]] = []

    def dial(address: tuple[str, int], key: bytes, claim: bytes) -> Any:
        meeting = msgspec.msgpack.decode(claim, type=HelloClaim)
        found.append({meeting.slot, meeting.to_slot})
        return dialed(address, key, claim)

    dialed = tcp_joining.dial
    monkeypatch.setattr(tcp_joining, "dial", dial)
    return found


def entered(server: RendezvousServer, slot: int, tls: bool = False) -> TcpWorld:
    config = JoinConfig(
        rendezvous=server.address,
        group=GroupName("job", 1),
        worker=f"rank {slot}",
        slot=slot,
        size=SIZE,
        deadline_s=PATIENCE_S,
        tls=tls,
        lazy=True,
    )
    return join_world(config, SECRET)


@contextmanager
def lazy_worlds(server: RendezvousServer, tls: bool = False) -> Iterator[list[TcpWorld]]:
    with ThreadPoolExecutor(SIZE) as pool:
        worlds = list(pool.map(lambda slot: entered(server, slot, tls), range(SIZE)))
    yield worlds
    for world in worlds:
        world.leave()


def totals(worlds: list[TcpWorld], members: tuple[int, ...], context: int) -> list[int]:
    """What each member finds to be the sum of all slots."""

    def total(slot: int) -> int:
        comm = worlds[slot].open_group(members, context, PATIENCE_S)
        return int(comm.allreduce(np.array(slot)))

    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(total, members))


def test_a_pair_is_connected_when_a_group_needs_it_and_stays(
    server: RendezvousServer, pairs: list[set[int]]
) -> None:
    with lazy_worlds(server) as worlds:
        assert pairs == []

        assert totals(worlds, (3, 1), 1) == [4, 4]
        assert pairs == [{1, 3}]

        assert totals(worlds, (0, 1, 3), 2) == [4, 4, 4]
        assert len(pairs) == 3
        assert totals(worlds, (1, 3, 0), 3) == [4, 4, 4]
        assert len(pairs) == 3
        assert totals(worlds, (0, 1, 2, 3), 4) == [6, 6, 6, 6]
        assert len(pairs) == 6


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_many_groups_may_be_opened_at_once(server: RendezvousServer, tls: bool) -> None:
    """Each rank connects for one group on each of its threads, in orders of their own."""
    groups = {1: (0, 1, 2), 2: (1, 2, 3), 3: (3, 0, 1), 4: (2, 3, 0)}
    with lazy_worlds(server, tls) as worlds, ThreadPoolExecutor(len(groups)) as pool:
        found = pool.map(lambda at: totals(worlds, groups[at], at), groups)

        assert [set(each) for each in found] == [{sum(groups[at])} for at in groups]


def test_a_replacement_connects_with_all(server: RendezvousServer, pairs: list[set[int]]) -> None:
    """The others could not know otherwise that the connections they have had are of no use."""
    with lazy_worlds(server) as worlds:
        assert totals(worlds, (0, 2), 1) == [2, 2]
        worlds[2].leave()

        worlds[2] = entered(server, 2)

        assert {frozenset(pair) for pair in pairs[1:]} == {
            frozenset({2, other}) for other in (0, 1, 3)
        }
        assert totals(worlds, (0, 1, 2, 3), 2) == [6, 6, 6, 6]


def test_a_group_that_is_ended_is_not_waited_for(server: RendezvousServer) -> None:
    with lazy_worlds(server) as worlds, ThreadPoolExecutor(SIZE) as pool:
        # Slot 2 never opens it: those who joined before it wait, without a limit of their own.
        waiting = [
            pool.submit(worlds[slot].open_group, (0, 1, 2, 3), 1, None) for slot in (0, 1, 3)
        ]
        for slot in (0, 1, 3):
            worlds[slot].interrupt(1, "rank 2 has failed", 2)

        for each in waiting:
            with pytest.raises(GroupAborted, match="rank 2 has failed"):
                each.result(PATIENCE_S / 2).barrier()


def test_who_does_not_come_is_named(server: RendezvousServer) -> None:
    with lazy_worlds(server) as worlds:
        first = min(worlds, key=lambda world: len(dialed_by(world)))
        others = [slot for slot in first.slots if slot != first.slot]

        with pytest.raises(CollectiveTimeout, match="have not connected") as told:
            first.open_group(first.slots, 1, 0.2)

        assert told.value.rank == others[0]


def test_who_is_gone_is_named(server: RendezvousServer) -> None:
    with lazy_worlds(server) as worlds:
        last = max(worlds, key=lambda world: len(dialed_by(world)))
        gone = next(slot for slot in last.slots if slot != last.slot)
        worlds[gone].leave()

        with pytest.raises(MemberLost, match=f"slot {gone} .* cannot be reached") as told:
            last.open_group((last.slot, gone), 1, PATIENCE_S)

        assert told.value.rank == 1


def dialed_by(world: TcpWorld) -> set[int]:
    """Whom it would have to dial: those who were there before it."""
    links: Any = world._links
    return set(links._to_dial)


def test_a_member_that_comes_by_the_door_is_not_dialed_again(
    server: RendezvousServer, pairs: list[set[int]]
) -> None:
    """A successor dials the rank that was to dial its predecessor."""
    with lazy_worlds(server) as worlds:
        last = max(worlds, key=lambda world: len(dialed_by(world)))
        other = next(slot for slot in last.slots if slot != last.slot)
        worlds[other].leave()
        worlds[other] = entered(server, other)
        before = len(pairs)

        assert totals(worlds, (last.slot, other), 1) == [last.slot + other] * 2

        assert len(pairs) == before


def test_a_member_that_is_being_accepted_is_not_dialed() -> None:
    """Its predecessor, which was to be dialed, is dead; its own connection is not complete yet."""
    mesh = _native.Mesh(0, 2)
    peers, (end, successor) = PeerTable(mesh), connected_pair()
    dialed: list[Member] = []
    links = Links(peers, [Member(1, 1, ("127.0.0.1",), 1, "predecessor")], dialed.append)
    peers.attach(HelloClaim(1, 2, "successor", 0, 3), end)

    with pytest.raises(CollectiveTimeout, match="have not connected"):
        links.connect((0, 1), 1, 0.0)
    peers.mark_connected(1)
    links.connect((0, 1), 2, 0.0)

    assert dialed == []
    successor.close()
    mesh.close()


@pytest.mark.parametrize(("ranks", "lazy"), [(32, False), (33, True)])
def test_a_large_pilot_is_lazy(monkeypatch: pytest.MonkeyPatch, ranks: int, lazy: bool) -> None:
    asked: list[JoinConfig] = []
    monkeypatch.setattr(tcp, "join_world", lambda config, secret: asked.append(config))
    monkeypatch.setattr(loop, "die_with_parent", lambda parent: None)
    connection = ConnectionFile(session="s", pilot="p", directory="d", keys=Keyring.new())

    loop.enter_world(connection, 1, ["127.0.0.1:1", "0", str(ranks)])

    assert [each.lazy for each in asked] == [lazy]
