"""Offers and answers, the check of a direct connection, and allocations at a relay."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable

import pytest

from elevon.comm.connect.nat import offers
from elevon.comm.connect.nat.allocations import AllocationPool, RelayAllocation
from elevon.comm.connect.nat.candidates import PeerCandidates
from elevon.comm.connect.nat.channel import SealedChannel
from elevon.comm.connect.nat.connectivity_check import BLIND_BYTES, HELLO_BYTES, ConnectivityCheck
from elevon.comm.connect.nat.offers import SessionDescription
from elevon.errors import CommunicatorError, WireError

KEY = secrets.token_bytes(32)
HERE = PeerCandidates("cone", ("192.168.1.2", 4000), ("203.0.113.10", 4000))
CALL = SessionDescription("a", "b", HERE)
ANSWER = SessionDescription("b", "a", HERE)


def test_both_sides_come_to_the_same_session() -> None:
    call = offers.sign(CALL, KEY)
    assert offers.verify(call, KEY, ("a", "b")) == CALL
    answer = offers.sign(ANSWER, KEY, call)
    assert offers.verify(answer, KEY, ("b", "a"), call) == ANSWER

    session = offers.session_key(KEY, call, answer)
    assert session != offers.session_key(
        KEY, call, offers.sign(SessionDescription("b", "a", HERE), KEY, call)
    )
    assert session != offers.session_key(bytes(32), call, answer)


def test_an_answer_is_good_for_one_offer_only() -> None:
    call, other = offers.sign(CALL, KEY), offers.sign(SessionDescription("a", "b", HERE), KEY)
    answer = offers.sign(ANSWER, KEY, call)

    for recorded, due in ((answer, other), (call, other), (call, b"")):
        with pytest.raises(WireError, match=r"changed on its way|description from a to b"):
            offers.verify(recorded, KEY, ("b", "a"), due)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: b"", "b does not take us for a member"),
        (lambda signed: signed[:20], "b does not take us for a member"),
        (lambda signed: signed + bytes(2000), "b does not take us for a member"),
        (lambda signed: signed[:-1] + bytes([signed[-1] ^ 1]), "changed on its way"),
        (lambda _: offers.sign(ANSWER, bytes(32)), "changed on its way"),
        (
            lambda _: offers.sign(CALL, KEY),
            "a description from a to b where one from b to a is due",
        ),
        (
            lambda _: offers.sign(
                SessionDescription("b", "a", PeerCandidates("cone", ("", 1), ("", 1))), KEY
            ),
            "not an address of IPv4",
        ),
    ],
)
def test_what_the_other_has_not_signed_is_refused(
    spoil: Callable[[bytes], bytes], said: str
) -> None:
    with pytest.raises(WireError, match=said):
        offers.verify(spoil(offers.sign(ANSWER, KEY)), KEY, ("b", "a"))


def pair() -> tuple[socket.socket, socket.socket]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends


async def whole(check: ConnectivityCheck) -> None:
    await check.test()
    await check.confirm()
    await check.confirmed()


def test_two_of_one_attempt_pass_the_check() -> None:
    async def run() -> None:
        one, other = pair()
        with one, other:
            await asyncio.gather(
                whole(ConnectivityCheck(one, KEY, True)),
                whole(ConnectivityCheck(other, KEY, False)),
            )
            one.send(b"first word")
            assert other.recv(100) == b"first word"

    asyncio.run(run())


def test_a_recorded_check_is_refused() -> None:
    """What an honest side said in its attempt, said again in another."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        here, there = pair()
        with here, there:
            honest = asyncio.ensure_future(ConnectivityCheck(there, KEY, True).test())
            recorded = b""
            while len(recorded) < HELLO_BYTES + BLIND_BYTES:
                recorded += await loop.sock_recv(here, 1 << 16)
            # Nothing more comes as long as the other side is not known.
            assert len(recorded) == HELLO_BYTES + BLIND_BYTES
            honest.cancel()
            await asyncio.gather(honest, return_exceptions=True)
        again, victim = pair()
        with again, victim:
            await loop.sock_sendall(again, recorded)
            with pytest.raises(WireError, match="does not know the key of this attempt"):
                await ConnectivityCheck(victim, secrets.token_bytes(32), False).test()

    asyncio.run(run())


class FakeRelay:
    """Gives allocations at no relay at all."""

    def __init__(self) -> None:
        self.far: list[socket.socket] = []
        self.away = False

    async def allocate(self) -> RelayAllocation:
        if self.away:
            raise CommunicatorError("there is no relay")
        near, far = pair()
        self.far.append(far)
        return RelayAllocation(
            SealedChannel(near, KEY, dials=True), ("203.0.113.10", len(self.far))
        )

    def close(self) -> None:
        for far in self.far:
            far.close()


def test_an_allocation_is_made_before_it_is_needed_and_used_once() -> None:
    async def run() -> None:
        fake = FakeRelay()
        allocations = AllocationPool(fake.allocate)
        allocations.prepare()
        allocations.prepare()
        taken = [await allocations.take() for _ in range(3)]
        assert [allocation.address[1] for allocation in taken] == [1, 2, 3]
        await asyncio.sleep(0)
        allocations.close()
        assert [far.recv(1) for far in fake.far[3:]] == [b""] * (len(fake.far) - 3)
        for allocation in taken:
            allocation.connection.close()
        fake.close()

    asyncio.run(run())


def test_an_allocation_that_the_relay_has_given_up_is_replaced() -> None:
    async def run() -> None:
        fake = FakeRelay()
        allocations = AllocationPool(fake.allocate)
        allocations.prepare()
        await asyncio.sleep(0)
        fake.far[0].close()
        allocation = await allocations.take()
        assert allocation.is_open
        assert allocation.address[1] > 1
        allocation.connection.close()
        allocations.close()
        fake.close()

    asyncio.run(run())


def test_a_relay_that_is_away_is_told_when_an_allocation_is_needed() -> None:
    async def run() -> None:
        fake = FakeRelay()
        fake.away = True
        allocations = AllocationPool(fake.allocate)
        allocations.prepare()
        with pytest.raises(CommunicatorError, match="no relay"):
            await allocations.take()
        fake.away = False
        (await allocations.take()).connection.close()
        allocations.close()
        fake.close()

    asyncio.run(run())
