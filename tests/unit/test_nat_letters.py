"""Letters of an introduction, the trial of a direct connection, and places at a relay."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable

import pytest

from elevon.comm.connect.nat import letters
from elevon.comm.connect.nat.berths import Berth, Berths
from elevon.comm.connect.nat.letters import Letter
from elevon.comm.connect.nat.line import Line
from elevon.comm.connect.nat.trial import BLIND_BYTES, HELLO_BYTES, Trial
from elevon.comm.connect.nat.whereabouts import Whereabouts
from elevon.errors import CommunicatorError, WireError

KEY = secrets.token_bytes(32)
HERE = Whereabouts("cone", ("192.168.1.2", 4000), ("203.0.113.10", 4000))
CALL = Letter("a", "b", HERE)
ANSWER = Letter("b", "a", HERE)


def test_both_sides_come_to_the_same_session() -> None:
    call = letters.write(CALL, KEY)
    assert letters.read(call, KEY, ("a", "b")) == CALL
    answer = letters.write(ANSWER, KEY, call)
    assert letters.read(answer, KEY, ("b", "a"), call) == ANSWER

    session = letters.session(KEY, call, answer)
    assert session != letters.session(KEY, call, letters.write(Letter("b", "a", HERE), KEY, call))
    assert session != letters.session(bytes(32), call, answer)


def test_an_answer_is_good_for_one_call_only() -> None:
    call, other = letters.write(CALL, KEY), letters.write(Letter("a", "b", HERE), KEY)
    answer = letters.write(ANSWER, KEY, call)

    for recorded, due in ((answer, other), (call, other), (call, b"")):
        with pytest.raises(WireError, match=r"changed on its way|letter from a to b"):
            letters.read(recorded, KEY, ("b", "a"), due)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: b"", "b does not take us for a member"),
        (lambda letter: letter[:20], "b does not take us for a member"),
        (lambda letter: letter + bytes(2000), "b does not take us for a member"),
        (lambda letter: letter[:-1] + bytes([letter[-1] ^ 1]), "changed on its way"),
        (lambda _: letters.write(ANSWER, bytes(32)), "changed on its way"),
        (lambda _: letters.write(CALL, KEY), "a letter from a to b where one from b to a is due"),
        (
            lambda _: letters.write(Letter("b", "a", Whereabouts("cone", ("", 1), ("", 1))), KEY),
            "no address of IPv4",
        ),
    ],
)
def test_what_is_no_letter_of_the_other_is_refused(
    spoil: Callable[[bytes], bytes], said: str
) -> None:
    with pytest.raises(WireError, match=said):
        letters.read(spoil(letters.write(ANSWER, KEY)), KEY, ("b", "a"))


def pair() -> tuple[socket.socket, socket.socket]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends


async def whole(trial: Trial) -> None:
    await trial.test()
    await trial.confirm()
    await trial.confirmed()


def test_two_of_one_attempt_pass_the_trial() -> None:
    async def run() -> None:
        one, other = pair()
        with one, other:
            await asyncio.gather(whole(Trial(one, KEY, True)), whole(Trial(other, KEY, False)))
            one.send(b"first word")
            assert other.recv(100) == b"first word"

    asyncio.run(run())


def test_a_recorded_trial_is_refused() -> None:
    """What an honest side said in its attempt, said again in another."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        here, there = pair()
        with here, there:
            honest = asyncio.ensure_future(Trial(there, KEY, True).test())
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
                await Trial(victim, secrets.token_bytes(32), False).test()

    asyncio.run(run())


class Harbour:
    """Gives places at no relay at all."""

    def __init__(self) -> None:
        self.far: list[socket.socket] = []
        self.away = False

    async def come(self) -> Berth:
        if self.away:
            raise CommunicatorError("there is no relay")
        near, far = pair()
        self.far.append(far)
        return Berth(Line(near, KEY, dials=True), ("203.0.113.10", len(self.far)))

    def close(self) -> None:
        for far in self.far:
            far.close()


def test_a_berth_is_made_before_it_is_needed_and_used_once() -> None:
    async def run() -> None:
        harbour = Harbour()
        berths = Berths(harbour.come)
        berths.prepare()
        berths.prepare()
        taken = [await berths.take() for _ in range(3)]
        assert [berth.address[1] for berth in taken] == [1, 2, 3]
        await asyncio.sleep(0)
        berths.close()
        assert [far.recv(1) for far in harbour.far[3:]] == [b""] * (len(harbour.far) - 3)
        for berth in taken:
            berth.connection.close()
        harbour.close()

    asyncio.run(run())


def test_a_berth_that_the_relay_has_given_up_is_replaced() -> None:
    async def run() -> None:
        harbour = Harbour()
        berths = Berths(harbour.come)
        berths.prepare()
        await asyncio.sleep(0)
        harbour.far[0].close()
        berth = await berths.take()
        assert berth.lies_open
        assert berth.address[1] > 1
        berth.connection.close()
        berths.close()
        harbour.close()

    asyncio.run(run())


def test_a_relay_that_is_away_is_told_when_a_berth_is_needed() -> None:
    async def run() -> None:
        harbour = Harbour()
        harbour.away = True
        berths = Berths(harbour.come)
        berths.prepare()
        with pytest.raises(CommunicatorError, match="no relay"):
            await berths.take()
        harbour.away = False
        (await berths.take()).connection.close()
        berths.close()
        harbour.close()

    asyncio.run(run())
