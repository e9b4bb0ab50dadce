"""Two ranks that dial each other, on one host: what has to hold behind any NAT."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from dataclasses import replace
from typing import Any

import pytest

from elevon.comm.connect.nat.candidates import (
    PeerCandidates,
    addresses_to_dial,
    can_punch,
    check,
    nat_kind_of,
)
from elevon.comm.connect.nat.channel import bind_shared, prove, verify_peer
from elevon.comm.connect.nat.punch import PunchPlan, punch
from elevon.comm.security import proof
from elevon.errors import CommunicatorError, WireError

HERE = "127.0.0.1"


def free_port() -> int:
    with bind_shared() as made:
        return int(made.getsockname()[1])


def plans(within_s: float = 10.0) -> tuple[PunchPlan, PunchPlan]:
    """Of two sides that can reach each other."""
    one, other, key = free_port(), free_port(), secrets.token_bytes(32)
    return (
        PunchPlan(one, ((HERE, other),), key, first=True, peer="second", within_s=within_s),
        PunchPlan(other, ((HERE, one),), key, first=False, peer="first", within_s=within_s),
    )


async def both(one: PunchPlan, other: PunchPlan) -> list[Any]:
    return await asyncio.gather(punch(one), punch(other), return_exceptions=True)


def test_both_sides_take_the_same_connection() -> None:
    for _ in range(10):
        one, other = asyncio.run(both(*plans()))
        with one, other:
            assert one.getsockname() == other.getpeername()
            assert one.getpeername() == other.getsockname()
            one.sendall(b"to the second")
            other.setblocking(True)
            assert other.recv(100) == b"to the second"


def test_one_of_many_candidates_is_enough() -> None:
    """Of the others, one refuses and one never answers."""
    one, other = plans()
    with socket.create_server((HERE, 0), backlog=0) as silent:
        targets = ((HERE, free_port()), silent.getsockname(), *one.targets)
        first, second = asyncio.run(both(replace(one, targets=targets), other))
    with first, second:
        assert first.getpeername() == second.getsockname()


def test_only_the_one_that_dials_has_to_be_able_to() -> None:
    one, other = plans()
    for first, second in ((replace(one, targets=()), other), (one, replace(other, targets=()))):
        ends = asyncio.run(both(first, second))
        assert ends[0].getpeername() == ends[1].getsockname()
        for end in ends:
            end.close()


def test_a_wrong_key_connects_nobody() -> None:
    one, other = plans(within_s=0.5)
    failures = asyncio.run(both(one, replace(other, key=secrets.token_bytes(32))))

    assert [type(failure) for failure in failures] == [CommunicatorError] * 2
    assert "no direct connection with second within 0.5 s" in str(failures[0])
    assert f"to {HERE}:{other.port}" in str(failures[0])


def test_two_first_sides_connect_nobody() -> None:
    """Both wait for a challenge: the deadline holds where nobody says a word."""
    one, other = plans(within_s=0.5)
    began = time.monotonic()
    failures = asyncio.run(both(one, replace(other, first=True)))

    assert [type(failure) for failure in failures] == [CommunicatorError] * 2
    assert time.monotonic() - began < 3.0


def test_nobody_is_punched_who_is_not_there() -> None:
    one, _ = plans(within_s=0.3)
    with pytest.raises(CommunicatorError, match=r"no direct connection with second.*use a relay"):
        asyncio.run(punch(one))


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server((HERE, 0)) as taken:
        one, _ = plans()
        with pytest.raises(OSError, match="in use"):
            asyncio.run(punch(replace(one, port=taken.getsockname()[1])))


def test_strangers_do_not_stand_in_the_way() -> None:
    """More of them than there are places: silent ones, liars, and one that leaves."""

    async def crowded() -> list[Any]:
        one, other = plans()
        punching = asyncio.ensure_future(punch(other))
        await asyncio.wait({punching}, timeout=0.05)
        crowd = [await asyncio.open_connection(HERE, other.port) for _ in range(40)]
        for _, writer in crowd[:10]:
            writer.write(secrets.token_bytes(200))
        crowd[11][1].close()
        ends = [await punch(one), await punching]
        for _, writer in crowd:
            writer.transport.abort()
        return ends

    first, second = asyncio.run(crowded())
    with first, second:
        assert first.getpeername() == second.getsockname()


def test_a_cancelled_attempt_leaves_nothing_open() -> None:
    async def cancelled(port: int) -> None:
        one, _ = plans()
        task = asyncio.ensure_future(punch(replace(one, port=port)))
        await asyncio.wait({task}, timeout=0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    port = free_port()
    asyncio.run(cancelled(port))
    # Without SO_REUSEPORT nobody else may listen there.
    socket.create_server((HERE, port)).close()


def test_a_path_that_changes_bytes_is_not_taken() -> None:
    """Both prove themselves; then a machine on the way flips a bit of the test."""

    async def spoilt() -> list[Any]:
        one, other = plans(within_s=1.0)
        server = await asyncio.start_server(Spoiler(other.port).attend, HERE, 0)
        async with server:
            meddler = server.sockets[0].getsockname()
            return await both(replace(one, targets=(meddler,)), replace(other, targets=()))

    failures = asyncio.run(spoilt())
    assert [type(failure) for failure in failures] == [CommunicatorError] * 2
    assert "what arrives is not what was sent" in str(failures[1])


class Spoiler:
    """Passes on what comes, but for one bit far behind the proof."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(HERE, self._port)
        moving = [
            asyncio.ensure_future(self._move(reader, onward[1], 100_000)),
            asyncio.ensure_future(self._move(onward[0], writer, -1)),
        ]
        try:
            await asyncio.wait(moving, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in moving:
                task.cancel()
            # At once: the loop may end before a close that waits for unsent bytes.
            writer.transport.abort()
            onward[1].transport.abort()

    async def _move(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, spoil: int
    ) -> None:
        passed = 0
        while piece := await reader.read(65_536):
            if passed <= spoil < passed + len(piece):
                at = spoil - passed
                piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
            passed += len(piece)
            writer.write(piece)
            await writer.drain()


def test_a_proof_is_good_once() -> None:
    """A recorded conversation, played back to the same side, opens nothing."""

    async def replay() -> None:
        key = secrets.token_bytes(32)
        dialing, accepting = (socket.socketpair() for _ in range(2))
        for end in (*dialing, *accepting):
            end.setblocking(False)
        _, channel = await asyncio.gather(
            prove(dialing[0], key, b"me"), verify_peer(dialing[1], lambda _: key)
        )
        assert channel[0] == b"me"
        again = asyncio.ensure_future(verify_peer(accepting[1], lambda _: key))
        recorded = await tapped(key)
        await asyncio.get_running_loop().sock_sendall(accepting[0], recorded)
        with pytest.raises(WireError, match="does not know the secret"):
            await again
        for end in (*dialing, *accepting):
            end.close()

    asyncio.run(replay())


async def tapped(key: bytes) -> bytes:
    """What a dialing side says, as a third party on the way hears it."""
    return proof.prove(proof.challenge(), key, b"me").message


HOME, OTHER_HOME = "198.51.100.1", "198.51.100.2"


def at(kind: Any, private: str, observed: str, port: int = 4000) -> PeerCandidates:
    return PeerCandidates(kind, (private, port), (observed, port))


def test_a_nat_is_known_by_two_observations() -> None:
    private, seen = ("192.168.1.2", 4000), (HOME, 4000)

    assert nat_kind_of(private, seen, seen) == "cone"
    assert nat_kind_of(private, private, private) == "open"
    assert nat_kind_of(private, seen, (HOME, 4001)) == "symmetric"


@pytest.mark.parametrize(
    ("one", "other", "worth"),
    [
        (at("cone", "10.0.0.2", HOME), at("cone", "10.0.0.2", OTHER_HOME), True),
        (at("cone", "10.0.0.2", HOME), at("symmetric", "10.0.0.2", OTHER_HOME), False),
        (at("symmetric", "10.0.0.2", HOME), at("symmetric", "10.0.0.3", OTHER_HOME), False),
        (at("symmetric", "10.0.0.2", HOME), at("symmetric", "10.0.0.3", HOME), True),
        (at("symmetric", "10.0.0.2", HOME), at("open", OTHER_HOME, OTHER_HOME), True),
    ],
)
def test_who_can_be_punched(one: PeerCandidates, other: PeerCandidates, worth: bool) -> None:
    assert can_punch(one, other) is worth
    assert can_punch(other, one) is worth
    unwilling = PeerCandidates(one.kind, one.private, one.observed, punches=False)
    assert not can_punch(unwilling, other)
    assert not can_punch(other, unwilling)


def test_nobody_dials_itself() -> None:
    """The other's home uses the same private network, and happens to have drawn the same port."""
    mine = at("cone", "192.168.1.2", HOME)

    for port in (4000, 4001):
        other = at("cone", "192.168.1.2", OTHER_HOME, port)
        assert addresses_to_dial(mine, other) == ((OTHER_HOME, port),)
    assert addresses_to_dial(mine, at("cone", "192.168.1.3", OTHER_HOME)) == (
        ("192.168.1.3", 4000),
        (OTHER_HOME, 4000),
    )
    neighbour = at("open", "192.168.1.2", HOME, 4001)
    assert addresses_to_dial(mine, neighbour) == (("192.168.1.2", 4001), (HOME, 4001))


@pytest.mark.parametrize("host", ["", "example.org", "::1", "1.2.3", "1.2.3.4/24"])
def test_what_is_not_an_address_is_refused(host: str) -> None:
    with pytest.raises(WireError, match="not an address of IPv4"):
        check(at("cone", host, HOME))
    with pytest.raises(WireError, match="not an address of IPv4"):
        check(at("cone", HOME, HOME, port=70_000))
