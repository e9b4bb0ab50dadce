"""A pair's way through: introduced by the relay, punched where that can work, relayed elsewhere.

Each of the two has a connection to the relay from a fresh local port. The call and the answer carry
a letter, in which they prove to each other that they belong to the group, and say where they are;
the relay can change neither. It joins the two connections and tells both in the same moment, and
they dial each other from the same local ports, which their NATs have mapped and the relay has
observed. The caller tells the verdict on the joined connection: direct, and that one is closed, or
relayed, and it is kept. So both sides agree, and a pair that cannot be punched is connected
already.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from elevon.comm.connect.nat import letters
from elevon.comm.connect.nat.berths import Berth, Berths
from elevon.comm.connect.nat.errands import (
    FROM_RELAY,
    Answer,
    AnyErrand,
    Call,
    FromRelay,
    Joined,
    NatKeys,
    Observed,
    Refused,
    Ring,
    Wait,
    claim,
)
from elevon.comm.connect.nat.letters import Letter
from elevon.comm.connect.nat.line import Line, bound, connect, prove
from elevon.comm.connect.nat.punch import Plan, punch
from elevon.comm.connect.nat.whereabouts import Address, Kind, Whereabouts, candidates
from elevon.comm.connect.nat.whereabouts import is_worth_punching as can_punch
from elevon.comm.security import proof
from elevon.errors import CommunicatorError, WireError

# By so much the one that was called is more patient than the caller.
LATER_S = 1.0

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


class Verdict(msgspec.Struct, frozen=True, tag=True):
    """The caller's: is the connection direct?"""

    direct: bool


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
    except ConnectionRefusedError as error:
        raise CommunicatorError(f"{where} is not there: {error}") from error
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


async def come(way: Way) -> Berth:
    """Make a connection to the relay from which one passage may go out.

    Raises:
        CommunicatorError: there is no relay, or it does not let us in.
        WireError: what answers is no relay of this session.
    """
    connection = bound()
    try:
        line = await run_errand(way, Wait(job=way.job, epoch=way.epoch), connection)
        observed = await asyncio.wait_for(hear(line, Observed), way.within_s)
        return Berth(line, observed.address)
    except BaseException as error:
        connection.close()
        if isinstance(error, asyncio.TimeoutError):
            raise CommunicatorError("the relay does not say where it sees us") from error
        raise


async def call(way: Way, berths: Berths, to: str, kind: Kind) -> Passage:
    """Get to another rank.

    Args:
        way: ours.
        berths: from where.
        to: its name.
        kind: of our NAT.

    Raises:
        CommunicatorError: it cannot be reached; the message says why.
        WireError: it does not belong to this group.
    """
    return await _pass(_Pair(way, to, kind), berths)


async def answer(way: Way, berths: Berths, ring: Ring, kind: Kind) -> Passage:
    """Let in who calls.

    Args:
        way: ours.
        berths: from where.
        ring: as the relay said.
        kind: of our NAT.

    Raises:
        CommunicatorError: the caller has gone.
        WireError: it does not belong to this group.
    """
    return await _pass(_Pair(way, ring.caller, kind, ring), berths)


async def _pass(pair: _Pair, berths: Berths) -> Passage:
    within_s = pair.way.within_s
    try:
        passage = await asyncio.wait_for(_from_berth(pair, berths), within_s)
    except asyncio.TimeoutError:
        raise CommunicatorError(f"{pair.peer} was not reached within {within_s:g} s") from None
    except OSError as error:
        raise CommunicatorError(f"{pair.peer} went away on the way to it: {error}") from error
    passage.connection.setblocking(True)
    return passage


async def _from_berth(pair: _Pair, berths: Berths) -> Passage:
    berth, passage = await berths.take(), None
    try:
        passage = await pair.get_through(berth)
        return passage
    finally:
        if passage is None or passage.direct:
            berth.connection.close()


@dataclass(frozen=True, slots=True)
class _Met:
    """What one side has learned of the other through the relay."""

    session: bytes
    theirs: Whereabouts


@dataclass(frozen=True, slots=True)
class _Pair:
    """One side of two that are to be connected; it calls where nobody has rung."""

    way: Way
    peer: str
    kind: Kind
    ring: Ring | None = None

    async def get_through(self, berth: Berth) -> Passage:
        way, private = self.way, berth.connection.getsockname()
        mine = Whereabouts(self.kind, private, berth.address, way.punches, way.encrypts)
        met = await self._meet(berth, mine)
        line = Line(berth.connection, met.session, dials=self.ring is None)
        direct, reason = await self._punch(mine, met)
        try:
            agreed = await self._settle(line, direct is not None)
        except BaseException:
            _close(direct)
            raise
        if agreed and direct is not None:
            return Passage(direct, self.peer, "")
        _close(direct)
        if agreed:
            raise CommunicatorError(f"the direct connection with {self.peer} was lost at once")
        reason = reason or f"{self.peer} has no direct connection"
        self._check_encryption(mine, met.theirs, reason)
        return Passage(berth.connection, self.peer, reason)

    async def _meet(self, berth: Berth, mine: Whereabouts) -> _Met:
        """Exchange letters; both sides return in the moment in which the relay joins them."""
        letter = Letter(self.way.name, self.peer, mine)
        if self.ring is None:
            return await self._call(berth.line, letter)
        return await self._answer(berth.line, letter, self.ring)

    async def _call(self, line: Line, letter: Letter) -> _Met:
        way, key = self.way, self.way.keys.pairing
        said = letters.write(letter, key)
        call = Call(job=way.job, epoch=way.epoch, name=way.name, to=self.peer, letter=said)
        await _tell(line, call)
        answer = (await hear(line, Joined)).letter
        theirs = letters.read(answer, key, (self.peer, way.name), said)
        return _Met(letters.session(key, said, answer), theirs.whereabouts)

    async def _answer(self, line: Line, letter: Letter, ring: Ring) -> _Met:
        way, key = self.way, self.way.keys.pairing
        answer = Answer(job=way.job, epoch=way.epoch, call=ring.call)
        try:
            theirs = letters.read(ring.letter, key, (self.peer, way.name))
        except WireError:
            # Without a letter: so the caller need not wait until its time is over.
            await _tell(line, answer)
            raise
        said = letters.write(letter, key, ring.letter)
        await _tell(line, msgspec.structs.replace(answer, letter=said))
        await hear(line, Joined)
        return _Met(letters.session(key, ring.letter, said), theirs.whereabouts)

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

    async def _punch(self, mine: Whereabouts, met: _Met) -> tuple[socket.socket | None, str]:
        if not can_punch(mine, met.theirs):
            return None, f"no punching from {_describe(mine)} to {_describe(met.theirs)}"
        calls, patience_s = self.ring is None, self.way.punch_s
        plan = Plan(
            port=mine.private[1],
            targets=candidates(mine, met.theirs),
            key=proof.derive(met.session, "punch"),
            first=calls,
            peer=self.peer,
            # The caller must not succeed with one that has just given up.
            within_s=patience_s if calls else patience_s + LATER_S,
        )
        try:
            return await punch(plan), ""
        except (CommunicatorError, OSError) as error:
            return None, str(error)

    async def _settle(self, line: Line, direct: bool) -> bool:
        """The caller's outcome counts, and the other side waits for it."""
        if self.ring is None:
            await line.send(Verdict(direct))
            return direct
        return (await line.receive(_VERDICTS)).direct


async def _tell(line: Line, errand: Call | Answer) -> None:
    try:
        await line.send(errand)
    except OSError as error:
        raise CommunicatorError(f"the relay is gone: {error}") from error


def _describe(whereabouts: Whereabouts) -> str:
    return f"{whereabouts.kind} NAT" if whereabouts.punches else "a rank that does not punch"


def _close(connection: socket.socket | None) -> None:
    if connection is not None:
        connection.close()
