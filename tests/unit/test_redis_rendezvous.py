"""Ranks find each other at a real Redis, by the same rules as at our own rendezvous."""

from __future__ import annotations

import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest

from elevon.comm.connect.rendezvous import (
    GroupKeys,
    GroupName,
    JoinRequest,
    Membership,
    join,
    redis_group,
)
from elevon.comm.connect.rendezvous.redis_client import RedisMembership
from elevon.comm.tcp import JoinConfig, TcpWorld, join_world
from elevon.errors import CommunicatorError, ElevonError, UsageError, WireError
from tests.support.redis import redis_server

SECRET = secrets.token_bytes(32)
PATIENCE_S = 20.0
SHORT_S = 0.4
LEASE_S = 1.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    import redis

    with redis.Redis.from_url(url) as client:
        yield client
        client.flushall()


@pytest.fixture
def group(client: Any) -> GroupName:
    return GroupName(f"a {{job}}/{secrets.token_hex(4)}", 1)


Join = Callable[..., Membership]


@pytest.fixture
def joins(url: str, group: GroupName) -> Iterator[Join]:
    """Joins the group; what is still open at the end is closed."""
    held: list[Membership] = []

    def call(slot: int = 0, size: int = 2, **other: Any) -> Membership:
        key = other.pop("key", GroupKeys.of(SECRET, group).joining)
        held.append(join(url, other.pop("name", group), key, joining(slot, size, **other)))
        return held[-1]

    yield call
    for membership in held:
        membership.close()


def joining(slot: int, size: int, **other: Any) -> JoinRequest:
    worker = f"rank {slot}"
    made = JoinRequest(
        worker, slot, size, ("10.0.0.1",), 1000 + slot, f"pid of {worker}", PATIENCE_S
    )
    return msgspec.structs.replace(made, **other)


def together(*calls: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.exception(PATIENCE_S) or future.result() for future in futures]


def entry_of(client: Any) -> bytes:
    (entry,) = (key for key in client.keys("*") if not key.endswith(b"epoch"))
    return bytes(entry)


def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_group, "LEASE_S", LEASE_S)


def test_a_world_of_real_connections(url: str, group: GroupName) -> None:
    configs = [JoinConfig(url, group, f"w{slot}", slot, 3) for slot in range(3)]
    worlds = together(*(lambda each=each: join_world(each, SECRET) for each in configs))
    assert all(isinstance(world, TcpWorld) for world in worlds), worlds

    def total(world: TcpWorld) -> int:
        comm = world.open_group(world.slots, 1, PATIENCE_S)
        return int(comm.allreduce(np.array(world.slot)))

    assert together(*(lambda world=world: total(world) for world in worlds)) == [3, 3, 3]

    worlds[1].leave()
    worlds[1] = join_world(configs[1], SECRET)  # its slot is free at once, the world complete

    assert worlds[1].slot == 1
    for world in worlds:
        world.leave()


def test_whoever_comes_later_hears_of_all_before(joins: Join) -> None:
    first, second, third = joins(2, 3), joins(0, 3), joins(1, 3)

    heard = [[member.slot for member in each.reply.members] for each in (first, second, third)]
    assert heard == [[], [2], [0, 2]]
    told = third.reply.members[0]
    assert (told.addresses, told.port, told.name) == (("10.0.0.1",), 1000, "pid of rank 0")
    assert [each.reply.incarnation for each in (first, second, third)] == [1, 2, 3]


def test_many_at_once_get_different_slots(joins: Join) -> None:
    size = 24

    def come(number: int) -> tuple[int, set[int]]:
        membership = joins(-1, size, worker=f"worker {number}")
        membership.complete()
        return membership.reply.slot, {other.slot for other in membership.reply.members}

    told = together(*(lambda number=number: come(number) for number in range(size)))

    assert sorted(slot for slot, _ in told) == list(range(size))
    pairs = {frozenset((slot, other)) for slot, others in told for other in others}
    assert len(pairs) == size * (size - 1) // 2  # of each pair one has heard of the other


def test_a_rank_asks_as_often_in_a_large_group_as_in_a_small_one(
    joins: Join, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RENEW_EVERY_S", "LOOK_AGAIN_S"):
        monkeypatch.setattr(f"elevon.comm.connect.rendezvous.redis_client.{name}", PATIENCE_S)

    def asked(size: int) -> int:
        client.config_resetstat()
        name = GroupName(f"of {size}, {secrets.token_hex(4)}", 1)
        key = GroupKeys.of(SECRET, name).joining
        members = [joins(slot, size, name=name, key=key) for slot in range(size)]
        together(*(member.complete for member in members))
        return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])

    asked(2)  # now Redis knows the scripts
    # Lease, introduction, ready; and the last one looks at all of them and tells the others.
    assert [asked(size) for size in (2, 12)] == [2 * 3 + 2, 12 * 3 + 2]


def test_whoever_was_to_say_that_all_are_there_may_be_gone(
    joins: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elevon.comm.connect.rendezvous.redis_client.LOOK_AGAIN_S", 0.1)
    first, second = joins(0), joins(1)
    assert isinstance(second, RedisMembership)

    def gone() -> None:
        second._group.ready(second._lease)

    assert together(first.complete, gone) == [None, None]


def test_a_retry_gets_its_slot_back(joins: Join) -> None:
    slots = {}
    for worker in ("a", "b", "c"):
        membership = joins(-1, 3, worker=worker)
        slots[worker] = membership.reply.slot
        membership.close()

    assert sorted(slots.values()) == [0, 1, 2]
    again = {worker: joins(-1, 3, worker=worker).reply.slot for worker in ("c", "a", "b")}
    assert again == slots


def test_who_is_missing_is_said_in_time(joins: Join) -> None:
    joins(2, 4)
    here = joins(0, 4, deadline_s=SHORT_S)

    with pytest.raises(CommunicatorError, match=r"slots \[1, 3\] never joined; not connected to"):
        here.complete()


def test_a_living_rank_keeps_its_slot(joins: Join) -> None:
    held = [joins(0), joins(1)]

    with pytest.raises(CommunicatorError, match="slot 1 is held by a living rank, pid of rank 1"):
        joins(1, worker="a thief", deadline_s=SHORT_S)
    with pytest.raises(CommunicatorError, match="held by a living rank"):
        joins(1, deadline_s=SHORT_S)  # its own worker's second process has to wait as well
    with pytest.raises(CommunicatorError, match="all 2 slots are held"):
        joins(-1, worker="one too many")
    together(*(each.complete for each in held))


def test_a_lease_is_renewed(joins: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    short_lease(monkeypatch)
    monkeypatch.setattr("elevon.comm.connect.rendezvous.redis_client.RENEW_EVERY_S", LEASE_S / 10)
    joins(0)

    with pytest.raises(CommunicatorError, match="held by a living rank"):
        joins(0, worker="a thief", deadline_s=1.5 * LEASE_S)


def test_a_successor_waits_for_the_end_of_its_predecessor(joins: Join) -> None:
    before = joins(1)
    leaving = threading.Timer(0.2, before.close)
    leaving.start()

    assert joins(1).reply.incarnation == 2
    leaving.join()


def test_a_rank_that_vanished_loses_its_slot(
    joins: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    short_lease(monkeypatch)  # and nobody renews it in time
    vanished = joins(0)

    successor = joins(0, worker="the next")

    assert (successor.reply.slot, successor.reply.incarnation) == (0, 2)
    with pytest.raises(CommunicatorError, match=r"slot 0 of group .* was taken over"):
        vanished.complete()
    vanished.close()  # and does not take the slot from its successor
    with pytest.raises(CommunicatorError, match="held by a living rank"):
        joins(0, worker="a thief", deadline_s=0.1)


def test_whoever_was_silent_when_another_came_is_not_passed_over(joins: Join, client: Any) -> None:
    first = joins(0)
    client.hset(entry_of(client), "lease:0", 1)  # long over, and not renewed yet
    second = joins(1)
    assert second.reply.members == ()

    told = together(first.complete, second.complete)

    assert told[0] is None
    assert isinstance(told[1], CommunicatorError)
    assert "slots [0] were silent when slot 1 joined" in str(told[1])


def test_an_epoch_that_is_over_stays_over(joins: Join, group: GroupName) -> None:
    joins(0, name=GroupName(group.job, 2))

    with pytest.raises(UsageError, match="this epoch is over, epoch 2 has begun"):
        joins(1)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"size": 3}, "it has 2 ranks, not 3"),
        ({"size": 0}, "1 to 16384 ranks"),
        ({"slot": 2}, "no slot 2"),
        ({"slot": -2}, "slot at least -1"),
        ({"worker": ""}, "1 to 256 characters"),
        ({"port": 0}, "a port"),
        ({"deadline_s": -1.0}, "deadline_s"),
    ],
)
def test_what_cannot_be_is_refused(joins: Join, other: dict[str, Any], said: str) -> None:
    joins(1)

    with pytest.raises(UsageError, match=said):
        joins(**other)


def test_all_of_it_has_a_time_to_live(joins: Join, client: Any) -> None:
    together(joins(0).complete, joins(1).complete)

    keys = client.keys("*")

    assert len(keys) == 2
    assert all(0 < client.ttl(key) <= 600 for key in keys)


# ------------------------------------------------------------------ strangers


def test_a_member_without_the_secret_is_not_believed(joins: Join) -> None:
    joins(0, key=bytes(32))

    with pytest.raises(WireError, match="'member of slot 0, incarnation 1' in the store"):
        joins(1)


@pytest.mark.parametrize("what", ["member", "ready"])
def test_what_somebody_changes_is_not_believed(joins: Join, client: Any, what: str) -> None:
    first, second = joins(0), joins(1)
    together(first.complete, second.complete)
    entry = entry_of(client)
    # The other slot's true words, in the wrong place.
    client.hset(entry, f"{what}:0", client.hget(entry, f"{what}:1"))

    with pytest.raises(WireError, match=f"'{what} of slot 0"):
        second.complete()


def test_a_roster_that_no_member_wrote_is_not_believed(joins: Join, client: Any) -> None:
    first = joins(0)
    client.hset(entry_of(client), mapping={"completed": bytes(40), "completed_upto": 2})

    with pytest.raises(WireError, match="'completion up to incarnation 2' in the store"):
        first.complete()


def test_a_roster_of_earlier_members_says_nothing_of_later_ones(joins: Join) -> None:
    first, second = joins(0), joins(1)
    together(first.complete, second.complete)
    second.close()

    successor = joins(1, worker="the next", deadline_s=SHORT_S)
    first.close()

    with pytest.raises(CommunicatorError, match=r"slots \[0\] never joined"):
        successor.complete()


def test_no_secret_lies_there(joins: Join, client: Any, group: GroupName) -> None:
    joins(0)

    for key in client.keys("*"):
        stored = client.dump(key)
        assert SECRET not in stored
        assert GroupKeys.of(SECRET, group).joining not in stored


# ------------------------------------------------------------------ no Redis


def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"redis://user:hush@127.0.0.1:{listener.getsockname()[1]}/0"


def test_nobody_at_the_address(group: GroupName) -> None:
    with pytest.raises(
        CommunicatorError, match=r"no answer from Redis at redis://127.*:\d+/0"
    ) as e:
        join(nobody(), group, bytes(32), joining(0, 1))
    assert "hush" not in str(e.value)


def test_somebody_silent_at_the_address(group: GroupName) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        with pytest.raises(CommunicatorError, match="no answer from Redis"):
            join(url, group, bytes(32), joining(0, 1, deadline_s=SHORT_S))


@pytest.mark.parametrize("address", ["redis://host:port/0", "rediss://[::1"])
def test_what_is_no_url_is_refused(address: str, group: GroupName) -> None:
    with pytest.raises(UsageError, match="not the URL of a Redis"):
        join(address, group, bytes(32), joining(0, 1))


def test_a_redis_that_ends_meanwhile(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path_factory.mktemp("short")) as url:
        membership = join(url, GroupName("job", 1), bytes(32), joining(0, 2))

    with pytest.raises(ElevonError, match="no answer from Redis"):
        membership.complete()
    membership.close()
    assert "slot 0 stays leased for a while" in caplog.text


def test_the_client_library_is_an_extra(monkeypatch: pytest.MonkeyPatch, group: GroupName) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(UsageError, match=r"pip install 'elevon\[redis\]'"):
        join("redis://127.0.0.1/0", group, bytes(32), joining(0, 1))
