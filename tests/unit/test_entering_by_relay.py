"""Ranks that enter their world by a relay, on one host."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from elevon.comm.nat import RelayServer, relay_secret
from elevon.comm.rendezvous import GroupName, RendezvousServer, rendezvous_secret
from elevon.comm.tcp import Entrance, TcpWorld, enter
from elevon.errors import UsageError

SECRET = secrets.token_bytes(32)
GROUP = GroupName("job", 1)


@pytest.fixture
def relay() -> Iterator[RelayServer]:
    server = RelayServer(relay_secret(SECRET))
    yield server
    server.close()


@pytest.fixture
def entrance(relay: RelayServer) -> Iterator[Entrance]:
    server = RendezvousServer(rendezvous_secret(SECRET))
    yield Entrance(server.address, GROUP, "a", 0, size=2, deadline_s=20.0, relay=relay.address)
    server.close()


def total(world: TcpWorld) -> int:
    try:
        comm = world.open_group(world.slots, 1, 20.0)
        return int(comm.allreduce(np.array(world.slot + 1)))
    finally:
        world.leave()


@pytest.mark.parametrize("tls", [False, True])
def test_two_enter_and_compute(entrance: Entrance, tls: bool) -> None:
    both = [replace(entrance, worker=f"w{slot}", slot=slot, tls=tls) for slot in range(2)]
    with ThreadPoolExecutor(2) as pool:
        worlds = list(pool.map(lambda each: enter(each, SECRET), both))
        assert list(pool.map(total, worlds)) == [3, 3]


def test_a_replacement_enters_by_the_relay(entrance: Entrance) -> None:
    later = replace(entrance, worker="b", slot=1)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda each: enter(each, SECRET), (entrance, later))
        second.leave()
        third = enter(later, SECRET)
        assert list(pool.map(total, (first, third))) == [3, 3]


@pytest.mark.parametrize("address", ["relay", "relay:", ":1", "relay:http"])
def test_a_relay_has_host_and_port(entrance: Entrance, address: str) -> None:
    with pytest.raises(UsageError, match="host:port"):
        enter(replace(entrance, relay=address), SECRET)
