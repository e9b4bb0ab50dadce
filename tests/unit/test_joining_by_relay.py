"""Ranks that join their world by a relay, on one host."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from elevon.comm.connect.nat import RelayServer, paths, pump, relay_secret
from elevon.comm.connect.rendezvous import GroupName, RendezvousServer, rendezvous_secret
from elevon.comm.tcp import JoinConfig, TcpWorld, join_world
from elevon.errors import CommunicatorError, UsageError
from tests.support.tcp import without_cryptography

SECRET = secrets.token_bytes(32)
GROUP = GroupName("job", 1)
KNOWN = b"a payload that everybody knows" * 10
HANDSHAKE, APPLICATION_DATA = b"\x16\x03\x03", b"\x17\x03\x03"


@pytest.fixture
def relay() -> Iterator[RelayServer]:
    server = RelayServer(relay_secret(SECRET))
    yield server
    server.close()


@pytest.fixture
def rendezvous() -> Iterator[RendezvousServer]:
    server = RendezvousServer(rendezvous_secret(SECRET))
    yield server
    server.close()


@pytest.fixture
def config(relay: RelayServer, rendezvous: RendezvousServer) -> JoinConfig:
    there = rendezvous.address
    return JoinConfig(there, GROUP, "a", 0, size=2, deadline_s=60.0, relay=relay.address)


@pytest.fixture
def unpunchable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As between two symmetric NATs."""
    monkeypatch.setattr(paths, "can_punch", lambda *_: False)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> bytearray:
    """All that the relay moves."""
    record, move = bytearray(), pump.pass_on

    async def listen(target: socket.socket, piece: memoryview) -> None:
        record.extend(piece)
        await move(target, piece)

    monkeypatch.setattr(pump, "pass_on", listen)
    return record


def pair(config: JoinConfig, **other: Any) -> list[JoinConfig]:
    return [replace(config, worker=f"w{slot}", slot=slot, **other) for slot in range(2)]


def joined(both: list[JoinConfig]) -> list[TcpWorld]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda each: join_world(each, SECRET), both))


def total(world: TcpWorld) -> int:
    try:
        comm = world.open_group(world.slots, 1, 60.0)
        return int(comm.allreduce(np.array(world.slot + 1)))
    finally:
        world.leave()


def told(world: TcpWorld) -> bytes:
    try:
        comm = world.open_group(world.slots, 1, 60.0)
        return bytes(comm.allgather(np.frombuffer(KNOWN, np.uint8))[1 - world.slot])
    finally:
        world.leave()


@pytest.mark.parametrize("tls", [False, True])
def test_two_join_and_compute(config: JoinConfig, tls: bool) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(total, joined(pair(config, tls=tls)))) == [3, 3]


def test_a_replacement_joins_by_the_relay(config: JoinConfig) -> None:
    later = replace(config, worker="b", slot=1)
    first, second = joined([config, later])
    second.leave()
    third = join_world(later, SECRET)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(total, (first, third))) == [3, 3]


@pytest.mark.usefixtures("unpunchable")
@pytest.mark.parametrize("tls", [False, True])
def test_the_relay_sees_no_plain_text(
    relay: RelayServer, config: JoinConfig, seen: bytearray, tls: bool
) -> None:
    worlds = joined(pair(config, tls=tls, shares_memory=False))
    assert relay.pairs == 1
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(told, worlds)) == [KNOWN, KNOWN]

    assert HANDSHAKE in seen
    assert len(seen.split(APPLICATION_DATA, 1)[1]) > 2 * len(KNOWN)
    assert KNOWN[:30] not in seen


def test_direct_connections_stay_plain_where_tls_is_not_asked_for(
    config: JoinConfig, seen: bytearray
) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(total, joined(pair(config)))) == [3, 3]

    assert seen
    assert HANDSHAKE not in seen


@pytest.mark.usefixtures("unpunchable")
def test_who_cannot_encrypt_is_not_relayed(
    config: JoinConfig, rendezvous: RendezvousServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cryptography(monkeypatch)
    # An address that the rendezvous does not see them come from: nobody dials it instead.
    both = pair(config, host="127.0.0.2")
    with ThreadPoolExecutor(2) as pool:
        joining = [pool.submit(join_world, each, SECRET) for each in both]
        ended, _ = wait(joining, return_when=FIRST_COMPLETED)
        rendezvous.close()  # nobody else will come

    assert all(isinstance(each.exception(), CommunicatorError) for each in joining)
    assert any("pip install 'elevon[tls]'" in str(each.exception()) for each in ended)


def test_who_cannot_encrypt_has_direct_connections(
    config: JoinConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cryptography(monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(total, joined(pair(config)))) == [3, 3]


@pytest.mark.parametrize("address", ["relay", "relay:", ":1", "relay:http"])
def test_a_relay_has_host_and_port(config: JoinConfig, address: str) -> None:
    with pytest.raises(UsageError, match="host:port"):
        join_world(replace(config, relay=address), SECRET)
