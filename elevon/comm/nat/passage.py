"""A pair's way through: introduced by the relay, punched where that can work, relayed elsewhere.

Before it: ``errands``, ``punch`` and a relay. After it: ``door`` runs it for a rank.

The two meet on a connection through the relay, made by each from a fresh local port. On it they
prove to each other that they belong to the group, and exchange their whereabouts, sealed, so the
relay can neither pose as one of them nor send them to an address of its choice. The same local
ports, which their NATs have mapped and the relay has observed, are then used to punch. The caller
tells the verdict, again on the relayed connection: direct, and that one is closed, or relayed, and
it is kept. So both sides always agree, and a pair that cannot be punched is connected already.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from elevon.comm import proof
from elevon.comm.nat.errands import (
    FROM_RELAY,
    Answer,
    AnyErrand,
    Call,
    FromRelay,
    Joined,
    NatKeys,
    Refused,
    Ring,
    claim,
)
from elevon.comm.nat.line import Line, bound, connect, meet, prove
from elevon.comm.nat.punch import Plan, punch
from elevon.comm.nat.whereabouts import Address, Kind, Whereabouts, candidates, check
from elevon.comm.nat.whereabouts import is_worth_punching as can_punch
from elevon.errors import CommunicatorError, WireError

R = TypeVar("R", bound=FromRelay)


@dataclass(frozen=True, slots=True)
class Way:
    """How a rank gets to others.

    Attributes:
        relay: its address.
        job: of the group.
        epoch: of the group.
        name: the rank's own, of which there is one in the group.
        keys: the group's.
        punches: whether to try for direct connections.
        encrypts: whether whoever uses the passages can speak TLS on those through the relay.
        punch_s: seconds for that; 0.1 are plenty where it works.
        within_s: seconds for the whole way.
    """

    relay: Address
    job: str
    epoch: int
    name: str
    keys: NatKeys
    punches: bool = True
    encrypts: bool = True
    punch_s: float = 5.0
    within_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Passage:
    """A connection with another rank, both ends of which have proved to belong to the group.

    Attributes:
        connection: blocking; the next byte read is the first that the other has sent on it. Where
            it is not direct, both have said that they can encrypt, and whoever uses it has to.
        peer: the other's name.
        why_relayed: why it does not go past the relay, or "" where it does.
    """

    connection: socket.socket
    peer: str
    why_relayed: str

    @property
    def direct(self) -> bool:
        """Whether it goes past the relay."""
        return not self.why_relayed


class Greeting(msgspec.Struct, frozen=True):
    """The claim of a caller towards who answers: who it is, and whom it means."""

    name: str
    to: str


class Verdict(msgspec.Struct, frozen=True, tag=True):
    """The caller's: is the connection direct? The same comes back as consent."""

    direct: bool


_GREETINGS: msgspec.msgpack.Decoder[Greeting] = msgspec.msgpack.Decoder(Greeting)
_WHEREABOUTS: msgspec.msgpack.Decoder[Whereabouts] = msgspec.msgpack.Decoder(Whereabouts)
_VERDICTS: msgspec.msgpack.Decoder[Verdict] = msgspec.msgpack.Decoder(Verdict)


async def run_errand(
    way: Way, errand: AnyErrand, connection: socket.socket, port: int | None = None
) -> Line:
    """Bring an errand to the relay.

    Args:
        way: to the relay.
        errand: what for.
        connection: a bound socket, which stays the caller's.
        port: of the relay, where it is not the way's.

    Raises:
        CommunicatorError: there is no relay, or it does not let us in.
        WireError: what answers is no relay of this session.
    """
    address = (way.relay[0], port or way.relay[1])
    where = f"the relay at {address[0]}:{address[1]}"
    try:
        await asyncio.wait_for(connect(connection, address), way.within_s)
        return await asyncio.wait_for(
            prove(connection, way.keys.relaying, claim(errand)), way.within_s
        )
    except ConnectionError as error:
        raise CommunicatorError(
            f"{where} does not let {way.name} in: {error}; it may be another session's"
        ) from error
    except (OSError, asyncio.TimeoutError) as error:
        raise CommunicatorError(f"{where} cannot be reached: {error or 'no answer'}") from error


async def hear(line: Line, kind: type[R]) -> R:
    """The relay's next word, of this kind.

    Raises:
        CommunicatorError: it refuses, or is gone.
        WireError: it says something else.
    """
    try:
        said = await line.receive(FROM_RELAY)
    except OSError as error:
        raise CommunicatorError(f"the relay is gone: {error}") from error
    if isinstance(said, Refused):
        raise CommunicatorError(f"the relay refuses: {said.reason}")
    if not isinstance(said, kind):
        raise WireError(f"the relay said {type(said).__name__} out of turn")
    return said


async def call(way: Way, to: str, kind: Kind) -> Passage:
    """Get to another rank.

    Args:
        way: ours.
        to: its name.
        kind: of our NAT.

    Raises:
        CommunicatorError: it cannot be reached; the message says why.
        WireError: it does not belong to this group.
    """
    errand = Call(job=way.job, epoch=way.epoch, name=way.name, to=to)
    return await _pass(way, errand, to, kind)


async def answer(way: Way, ring: Ring, kind: Kind) -> Passage:
    """Let in who calls.

    Args:
        way: ours.
        ring: as the relay said.
        kind: of our NAT.

    Raises:
        CommunicatorError: the caller has gone.
        WireError: it does not belong to this group.
    """
    errand = Answer(job=way.job, epoch=way.epoch, call=ring.call)
    return await _pass(way, errand, ring.caller, kind)


async def _pass(way: Way, errand: Call | Answer, peer: str, kind: Kind) -> Passage:
    connection = bound()
    passage = None
    try:
        pair = _Pair(way, peer, isinstance(errand, Call), connection)
        passage = await asyncio.wait_for(pair.get_through(errand, kind), way.within_s)
        passage.connection.setblocking(True)
        return passage
    except asyncio.TimeoutError:
        raise CommunicatorError(f"{peer} was not reached within {way.within_s:g} s") from None
    except OSError as error:
        raise CommunicatorError(f"{peer} went away on the way to it: {error}") from error
    finally:
        if passage is None or passage.direct:
            connection.close()


@dataclass(frozen=True, slots=True)
class _Pair:
    way: Way
    peer: str
    calls: bool
    relayed: socket.socket

    async def get_through(self, errand: Call | Answer, kind: Kind) -> Passage:
        relay = await run_errand(self.way, errand, self.relayed)
        joined = await hear(relay, Joined)
        line = await self._greet()
        private = self.relayed.getsockname()
        way = self.way
        mine = Whereabouts(kind, private, joined.address, way.punches, way.encrypts)
        theirs = await self._exchange(line, mine)
        return await self._agree(line, mine, theirs)

    async def _greet(self) -> Line:
        """Prove to each other that we are of one group; the relay is only between us now."""
        key = self.way.keys.pairing
        if self.calls:
            greeting = Greeting(self.way.name, self.peer)
            return await prove(self.relayed, key, msgspec.msgpack.encode(greeting))
        said, line = await meet(self.relayed, lambda _: key)
        try:
            greeting = _GREETINGS.decode(said)
        except msgspec.MsgspecError as error:
            raise WireError(f"what calls is no rank: {error}") from error
        if greeting != Greeting(self.peer, self.way.name):
            raise WireError(
                f"{greeting.name} called {greeting.to}, but the relay rang {self.way.name}"
                f" for {self.peer}"
            )
        return line

    async def _exchange(self, line: Line, mine: Whereabouts) -> Whereabouts:
        if self.calls:
            await line.send(mine)
        theirs = check(await line.receive(_WHEREABOUTS))
        if not self.calls:
            await line.send(mine)
        return theirs

    async def _agree(self, line: Line, mine: Whereabouts, theirs: Whereabouts) -> Passage:
        direct, reason = await self._punch(line, mine, theirs)
        try:
            verdict = await self._settle(line, direct is not None)
        except BaseException:
            _close(direct)
            raise
        if direct is not None and verdict.direct:
            return Passage(direct, self.peer, "")
        _close(direct)
        reason = reason or f"{self.peer} has no direct connection"
        self._check_encryption(mine, theirs, reason)
        return Passage(self.relayed, self.peer, reason)

    def _check_encryption(self, mine: Whereabouts, theirs: Whereabouts, reason: str) -> None:
        """Both ends come to the same, so neither waits for the other."""
        sides = {"this rank": mine, self.peer: theirs}
        lacking = [name for name, side in sides.items() if not side.encrypts]
        if lacking:
            raise CommunicatorError(
                f"no connection past the relay ({reason}), and none through it: that has to be "
                f"TLS, for which {' and '.join(lacking)} has not the package cryptography: "
                "pip install 'elevon[tls]' on every host"
            )

    async def _punch(
        self, line: Line, mine: Whereabouts, theirs: Whereabouts
    ) -> tuple[socket.socket | None, str]:
        if not can_punch(mine, theirs):
            return None, f"no punching from {_describe(mine)} to {_describe(theirs)}"
        plan = Plan(
            port=mine.private[1],
            targets=candidates(mine, theirs),
            key=proof.derive(line.session, "punch"),
            first=self.calls,
            peer=self.peer,
            within_s=self.way.punch_s,
        )
        try:
            return await punch(plan), ""
        except (CommunicatorError, OSError) as error:
            return None, str(error)

    async def _settle(self, line: Line, direct: bool) -> Verdict:
        """The caller's outcome counts: it is last to learn of success."""
        if self.calls:
            await line.send(Verdict(direct))
        verdict = await line.receive(_VERDICTS)
        if not self.calls:
            verdict = Verdict(verdict.direct and direct)
            await line.send(verdict)
        return verdict


def _describe(whereabouts: Whereabouts) -> str:
    return f"{whereabouts.kind} NAT" if whereabouts.punches else "a rank that does not punch"


def _close(connection: socket.socket | None) -> None:
    if connection is not None:
        connection.close()
