"""Ranks find each other at a rendezvous, and nobody else gets in."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from elevon import _native
from elevon.comm.connect.rendezvous import (
    GroupKeys,
    GroupName,
    JoinRequest,
    RendezvousServer,
    join,
    rendezvous_secret,
)
from elevon.comm.connect.rendezvous.registry import Registry
from elevon.comm.connect.sockets import dial
from elevon.comm.security import proof
from elevon.comm.tcp import JoinConfig, TcpWorld, join_world
from elevon.comm.tcp.acceptor import Acceptor
from elevon.comm.tcp.peers import HelloClaim, PeerTable
from elevon.errors import CommunicatorError, ElevonError, MemberLost, UsageError, WireError

SECRET = secrets.token_bytes(32)
GROUP = GroupName("job", 1)
KEYS = GroupKeys.of(SECRET, GROUP)
PATIENCE_S = 20.0


@pytest.fixture
def server() -> Iterator[RendezvousServer]:
    server = RendezvousServer(rendezvous_secret(SECRET))
    yield server
    server.close()


@pytest.fixture
def config(server: RendezvousServer) -> Callable[..., JoinConfig]:
    def make(slot: int, size: int = 3, **other: Any) -> JoinConfig:
        made = JoinConfig(server.address, GROUP, f"rank {slot}", slot, size, deadline_s=PATIENCE_S)
        return replace(made, **other)

    return make


def together(*calls: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.exception(PATIENCE_S) or future.result() for future in futures]


def enter_all(*configs: JoinConfig) -> list[Any]:
    return together(*(lambda each=each: join_world(each, SECRET) for each in configs))


def total(world: TcpWorld, context: int) -> int:
    comm = world.open_group(world.slots, context, PATIENCE_S)
    return int(comm.allreduce(np.array(world.slot)))


@pytest.fixture
def worlds(config: Callable[..., JoinConfig]) -> Iterator[list[TcpWorld]]:
    worlds = enter_all(*(config(slot) for slot in range(3)))
    yield worlds
    for world in worlds:
        world.leave()


def joining(slot: int = 0, size: int = 2, **other: Any) -> JoinRequest:
    made = JoinRequest(f"rank {slot}", slot, size, ("127.0.0.1",), 1234, "a test", 1.0)
    return msgspec.structs.replace(made, **other)


def assert_works(server: RendezvousServer, epoch: int = 7) -> None:
    """The rendezvous still brings ranks together."""
    group = GroupName("another", epoch)
    pair = [JoinConfig(server.address, group, f"w{i}", i, 2, deadline_s=PATIENCE_S) for i in (0, 1)]
    for world in enter_all(*pair):
        assert isinstance(world, TcpWorld), world
        world.leave()


# ------------------------------------------------------------------ coming in


def test_a_world_is_whole_when_anybody_is_in(worlds: list[TcpWorld]) -> None:
    assert [world.slot for world in worlds] == [0, 1, 2]
    assert together(*(lambda world=world: total(world, 1) for world in worlds)) == [3, 3, 3]


def test_a_lost_rank_is_named_and_its_replacement_is_in_at_once(
    worlds: list[TcpWorld], config: Callable[..., JoinConfig]
) -> None:
    old = [world.open_group(world.slots, 1, PATIENCE_S) for world in worlds]
    together(*(comm.barrier for comm in old))
    worlds[1].leave()
    for told in together(old[0].barrier, old[2].barrier):
        assert isinstance(told, MemberLost)
        assert told.rank == 1
        assert "slot 1" in str(told)

    worlds[1] = join_world(config(1), SECRET)

    assert together(*(lambda world=world: total(world, 2) for world in worlds)) == [3, 3, 3]
    with pytest.raises(MemberLost):
        old[2].barrier()


def test_a_rank_without_one_of_its_connections_asks_to_be_replaced(
    worlds: list[TcpWorld], config: Callable[..., JoinConfig]
) -> None:
    assert worlds[0].cut_off(now=0.0) == ""
    worlds[1].leave()
    together(*(worlds[at].open_group((0, 1, 2), 1, 0.3).barrier for at in (0, 2)))

    assert [worlds[0].cut_off(now) for now in (5.0, 14.0)] == ["", ""]
    assert "no connection to slot 1 for 11 s" in worlds[0].cut_off(16.0)

    worlds[1] = join_world(config(1), SECRET)
    assert worlds[0].cut_off(now=17.0) == ""


def test_ranks_without_a_wish_get_slots_and_get_them_back(
    config: Callable[..., JoinConfig],
) -> None:
    names = ("a", "b", "c")
    first = enter_all(*(config(-1, worker=name) for name in names))
    slots = {name: world.slot for name, world in zip(names, first, strict=True)}
    assert sorted(slots.values()) == [0, 1, 2]
    for world in first:
        world.leave()

    again = enter_all(*(config(-1, worker=name) for name in reversed(names)))

    assert [world.slot for world in again] == [slots[name] for name in reversed(names)]
    for world in again:
        world.leave()


def test_who_is_missing_is_said_in_time(config: Callable[..., JoinConfig]) -> None:
    told = enter_all(config(0, deadline_s=0.4), config(2, deadline_s=0.4))

    for error in told:
        assert isinstance(error, CommunicatorError)
        assert "slots [1] never joined" in str(error)


def test_a_living_rank_keeps_its_slot(
    worlds: list[TcpWorld], config: Callable[..., JoinConfig]
) -> None:
    with pytest.raises(CommunicatorError, match="slot 1 is held by a living rank, pid"):
        join_world(config(1, worker="a thief", deadline_s=0.3), SECRET)
    with pytest.raises(CommunicatorError, match="all 3 slots are held"):
        join_world(config(-1, worker="one too many", deadline_s=0.3), SECRET)

    assert together(*(lambda world=world: total(world, 1) for world in worlds)) == [3, 3, 3]


def test_a_successor_waits_for_the_end_of_its_predecessor(
    worlds: list[TcpWorld], config: Callable[..., JoinConfig]
) -> None:
    leaving = threading.Timer(0.2, worlds[2].leave)
    leaving.start()

    worlds[2] = join_world(config(2), SECRET)

    leaving.join()
    assert together(*(lambda world=world: total(world, 1) for world in worlds)) == [3, 3, 3]


def test_an_epoch_that_is_over_stays_over(
    worlds: list[TcpWorld], config: Callable[..., JoinConfig]
) -> None:
    late = threading.Thread(
        target=pytest.raises,
        args=(CommunicatorError, join_world, config(0, group=GroupName("job", 2), deadline_s=0.5)),
        kwargs={"secret": SECRET},
    )
    late.start()
    late.join()

    with pytest.raises(CommunicatorError, match="this epoch is over, epoch 2 has begun"):
        join_world(config(1), SECRET)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"size": 4}, "it has 3 ranks, not 4"),
        ({"slot": 3}, "no slot 3"),
        ({"worker": ""}, "1 to 256 characters"),
        ({"worker": "x" * 257}, "1 to 256 characters"),
        ({"deadline_s": -1.0}, "deadline_s"),
        ({"slot": -2}, "slot at least -1"),
    ],
)
def test_what_cannot_be_is_refused(
    worlds: list[TcpWorld], config: Callable[..., JoinConfig], other: dict[str, Any], said: str
) -> None:
    asked = config(0)
    wish = joining(0, 3, deadline_s=0.5)
    wish = msgspec.structs.replace(wish, **other)

    with pytest.raises(ElevonError, match=said):
        join(asked.rendezvous, GROUP, KEYS.joining, wish)


# ------------------------------------------------------------------ strangers


def test_the_wrong_secret_opens_nothing(
    server: RendezvousServer, config: Callable[..., JoinConfig]
) -> None:
    with pytest.raises(WireError, match="hung up on our proof"):
        join_world(config(0, deadline_s=1.0), secrets.token_bytes(32))
    assert_works(server)


def test_nobody_at_the_address(config: Callable[..., JoinConfig]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CommunicatorError, match=f"no rendezvous at 127.0.0.1:{port}"):
        join_world(config(0, rendezvous=f"127.0.0.1:{port}"), SECRET)


def test_somebody_else_at_the_address(config: Callable[..., JoinConfig]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(ConnectionError):
                peer.sendall(b"220 mail.example.org ESMTP ready to serve you\r\n")
                peer.recv(1)

        threading.Thread(target=greet, daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(WireError, match="no Elevon"):
            join_world(config(0, rendezvous=address), SECRET)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        (64).to_bytes(4, "little") + bytes(64),
        (70).to_bytes(4, "little") + bytes(64) + msgspec.msgpack.encode(("job", 1)),
        (2000).to_bytes(4, "little"),
    ],
    ids=range(6),
)
def test_liars_do_not_harm_the_rendezvous(server: RendezvousServer, said: bytes) -> None:
    strangers = [socket.create_connection((server.host, server.port)) for _ in range(5)]
    for stranger in strangers:
        stranger.sendall(said)

    assert_works(server)

    for stranger in strangers:
        stranger.close()
    assert_works(server, 8)


def test_a_member_that_talks_nonsense_after_its_proof(server: RendezvousServer) -> None:
    for text in (b"", b"\xc1", msgspec.msgpack.encode({"type": "Ready"}), bytes(1000)):
        connection, session = dial(
            (server.host, server.port), KEYS.joining, msgspec.msgpack.encode(GROUP)
        )
        with connection:
            connection.sendall(proof.Seal(session, "to rendezvous").seal(text))
            connection.settimeout(PATIENCE_S)
            assert connection.recv(1) == b""
    assert_works(server)


def test_a_member_that_vanishes_gives_its_slot_back(server: RendezvousServer) -> None:
    gone = join(server.address, GROUP, KEYS.joining, joining(0))
    gone.close()

    held = join(server.address, GROUP, KEYS.joining, joining(0, worker="the next"))

    assert held.reply.slot == 0
    held.close()


def test_the_rendezvous_ends_with_members_inside(server: RendezvousServer) -> None:
    held = join(server.address, GROUP, KEYS.joining, joining(0, deadline_s=PATIENCE_S))

    server.close()

    with pytest.raises(CommunicatorError, match="gone or silent"):
        held.complete()
    held.close()


# ------------------------------------------------------------------ the acceptor between two ranks


@pytest.fixture
def acceptor() -> Iterator[tuple[Acceptor, _native.Mesh]]:
    """Of slot 0 of 2, in its third incarnation."""
    mesh, acceptor = _native.Mesh(0, 2), Acceptor("127.0.0.1")
    acceptor.start(PeerTable(mesh), KEYS.peering, 0, 3)
    yield acceptor, mesh
    acceptor.close()
    mesh.close(0.0)


def knock(acceptor: Acceptor, key: bytes = KEYS.peering, **other: Any) -> socket.socket:
    claim = msgspec.structs.replace(HelloClaim(1, 5, "a test", 0, 3), **other)
    return dial(("127.0.0.1", acceptor.port), key, msgspec.msgpack.encode(claim))[0]


def is_connected(mesh: _native.Mesh) -> bool:
    return not mesh.open(secrets.randbits(60), 0, [0, 1], "probe").losses


def test_a_member_is_in_when_it_is_answered(acceptor: tuple[Acceptor, _native.Mesh]) -> None:
    assert not is_connected(acceptor[1])
    with knock(acceptor[0]):
        assert is_connected(acceptor[1])


@pytest.mark.parametrize(
    "other",
    [
        {"key": KEYS.joining},
        {"key": GroupKeys.of(SECRET, GroupName("job", 2)).peering},
        {"to_slot": 1},
        {"to_incarnation": 2},
        {"slot": 0},
        {"slot": 2},
        {"slot": -1},
        {"incarnation": 0},
    ],
    # Keys are made by chance: their text is another in each of several test processes.
    ids=["joining key", "key of another epoch", *map(str, range(6))],
)
def test_others_are_not_let_in(
    acceptor: tuple[Acceptor, _native.Mesh], other: dict[str, Any]
) -> None:
    with pytest.raises(WireError, match="hung up"):
        knock(acceptor[0], **other)
    assert not is_connected(acceptor[1])


def test_the_past_does_not_come_back(acceptor: tuple[Acceptor, _native.Mesh]) -> None:
    with knock(acceptor[0]):
        for incarnation in (5, 4):
            with pytest.raises(WireError, match="hung up"):
                knock(acceptor[0], incarnation=incarnation)
        assert is_connected(acceptor[1])
    with knock(acceptor[0], incarnation=6):
        assert is_connected(acceptor[1])


def test_silent_strangers_keep_nobody_out(acceptor: tuple[Acceptor, _native.Mesh]) -> None:
    silent = [socket.create_connection(("127.0.0.1", acceptor[0].port)) for _ in range(30)]
    with knock(acceptor[0]):
        assert is_connected(acceptor[1])
    for stranger in silent:
        stranger.close()


@pytest.mark.parametrize("where", ["connect.rendezvous.server", "tcp.acceptor"])
def test_whoever_finds_no_room_waits_for_it(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(f"elevon.comm.{where}.MOST_UNAUTHENTICATED", 2)
    with contextlib.ExitStack() as opened:
        if where == "tcp.acceptor":
            inside, mesh = Acceptor("127.0.0.1"), _native.Mesh(0, 2)
            opened.callback(mesh.close, 0.0)
            opened.callback(inside.close)
            inside.start(PeerTable(mesh), KEYS.peering, 0, 3)
            port, come = inside.port, lambda: knock(inside)
        else:
            server = RendezvousServer(rendezvous_secret(SECRET))
            opened.callback(server.close)
            port, come = server.port, lambda: join(server.address, GROUP, KEYS.joining, joining())
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(come)
            with pytest.raises(NotInTime):
                coming.result(0.2)  # is neither let in nor sent away
            for stranger in silent:
                stranger.close()
            coming.result(PATIENCE_S).close()


# ------------------------------------------------------------------ the registry alone


def test_an_empty_group_is_kept_for_a_while() -> None:
    registry = Registry()
    group = registry.group(GROUP, 2, now=0.0)
    registry.enter(group, 0, joining(), "10.0.0.1")
    registry.leave(group, 0, now=10.0)

    assert registry.group(GROUP, 2, now=600.0) is group
    assert registry.group(GROUP, 5, now=611.0).size == 5


def test_members_are_reached_where_they_were_seen() -> None:
    registry = Registry()
    group = registry.group(GROUP, 2, now=0.0)

    registry.enter(group, 0, joining(), "10.0.0.1")
    reply = registry.enter(group, 1, joining(1), "127.0.0.1")

    assert [member.addresses for member in reply.members] == [("127.0.0.1", "10.0.0.1")]
    assert group.members[1].addresses == ("127.0.0.1",)


@pytest.mark.parametrize("size", [0, -1, 16_385])
def test_a_group_has_a_size(size: int) -> None:
    with pytest.raises(UsageError, match="1 to 16384 ranks"):
        Registry().group(GROUP, size, now=0.0)


def test_a_slot_that_was_left_is_kept_while_there_are_fresh_ones() -> None:
    registry = Registry()
    group = registry.group(GROUP, 3, now=0.0)

    def come(worker: str) -> int:
        wish = joining(-1, 3, worker=worker)
        slot = registry.slot_for(group, wish)
        registry.enter(group, slot, wish, "127.0.0.1")
        return slot

    assert come("a") == 0
    registry.leave(group, 0, now=1.0)

    assert [come("b"), come("c")] == [1, 2]
    assert come("a") == 0
    registry.leave(group, 1, now=2.0)
    assert come("d") == 1  # none is fresh
    with pytest.raises(CommunicatorError, match="all 3 slots are held"):
        come("e")


def test_the_next_of_thousands_is_told_of_all(server: RendezvousServer) -> None:
    size = 4000
    group = server._registry.group(GROUP, size, now=0.0)
    for slot in range(size - 1):
        wish = joining(slot, size, name="a host of a long name, and a process on it")
        server._registry.enter(group, slot, wish, "127.0.0.1")

    last = join(server.address, GROUP, KEYS.joining, joining(-1, size, deadline_s=PATIENCE_S))

    assert last.reply.slot == size - 1
    assert [member.slot for member in last.reply.members] == list(range(size - 1))
    last.close()
