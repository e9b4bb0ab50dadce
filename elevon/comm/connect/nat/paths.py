"""The path of a pair: introduced by the relay, punched where that can work, relayed elsewhere.

Each of the two has an allocation at the relay, a connection from a fresh local port. The call
carries a signed offer and the reply a signed answer, in which they prove to each other that they
belong to the group, and name their candidates; the relay can change neither. It joins the two
connections and tells both in the same moment, and they dial each other from the same local ports,
which their NATs have mapped and the relay has observed. The caller nominates on the joined
connection: the direct one, and the joined one is closed, or the relayed one, and it is kept. So
both sides agree, and a pair that cannot be punched is connected already.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from elevon.comm.connect.nat import offers
from elevon.comm.connect.nat.allocations import AllocationPool, RelayAllocation
from elevon.comm.connect.nat.candidates import (
    Address,
    NatKind,
    PeerCandidates,
    addresses_to_dial,
    can_punch,
)
from elevon.comm.connect.nat.channel import SealedChannel, bind_shared, connect, prove
from elevon.comm.connect.nat.offers import SessionDescription
from elevon.comm.connect.nat.punch import PunchPlan, punch
from elevon.comm.connect.nat.requests import (
    FROM_RELAY,
    Allocate,
    Answer,
    AnyRequest,
    Call,
    FromRelay,
    IncomingCall,
    Joined,
    NatKeys,
    Observed,
    Refused,
    encode_request,
)
from elevon.comm.security import proof
from elevon.errors import CommunicatorError, WireError

# By so much the one that was called is more patient than the caller.
LATER_S = 1.0

R = TypeVar("R", bound=FromRelay)


@dataclass(frozen=True, slots=True)
class NatConfig:
    """How a rank connects with others.

    Attributes:
        relay: its address.
        job: of the group.
        epoch: of the group.
        name: the rank's own, of which there is one in the group.
        keys: the group's.
        punches: whether to try for direct connections.
        encrypts: whether this rank can speak TLS on paths through the relay.
        punch_s: seconds for that; 0.1 are plenty where it works.
        within_s: seconds for all of it.
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
class Path:
    """A connection with another rank, both ends of which have proved to belong to the group.

    Attributes:
        connection: blocking; the next byte read is the first that the other has sent on it. Where
            it is not direct, both have said that they can encrypt, and have to.
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


class Nomination(msgspec.Struct, frozen=True, tag=True):
    """The caller's: whether the direct connection is taken."""

    direct: bool


_NOMINATIONS: msgspec.msgpack.Decoder[Nomination] = msgspec.msgpack.Decoder(Nomination)


async def send_request(
    config: NatConfig, request: AnyRequest, connection: socket.socket, port: int | None = None
) -> SealedChannel:
    """Connect with the relay, and make a request.

    Args:
        config: names the relay.
        request: what is asked for.
        connection: a bound socket, which stays the caller's.
        port: of the relay, where it is not the config's.

    Raises:
        CommunicatorError: there is no relay, or it does not let us in.
        WireError: what answers is no relay of this session.
    """
    address = (config.relay[0], port or config.relay[1])
    where = f"the relay at {address[0]}:{address[1]}"
    try:
        await asyncio.wait_for(connect(connection, address), config.within_s)
        return await asyncio.wait_for(
            prove(connection, config.keys.relaying, encode_request(request)), config.within_s
        )
    except ConnectionRefusedError as error:
        raise CommunicatorError(f"{where} is not there: {error}") from error
    except ConnectionError as error:
        raise CommunicatorError(
            f"{where} does not let {config.name} in: {error}; it may be another session's"
        ) from error
    except (OSError, asyncio.TimeoutError) as error:
        raise CommunicatorError(f"{where} cannot be reached: {error or 'no answer'}") from error


async def expect(channel: SealedChannel, kind: type[R]) -> R:
    """The relay's next message, of this kind.

    Raises:
        CommunicatorError: it refuses, or is gone.
        WireError: it says something else.
    """
    try:
        said = await channel.receive(FROM_RELAY)
    except OSError as error:
        raise CommunicatorError(f"the relay is gone: {error}") from error
    if isinstance(said, Refused):
        raise CommunicatorError(f"the relay refuses: {said.reason}")
    if not isinstance(said, kind):
        raise WireError(f"the relay said {type(said).__name__} out of turn")
    return said


async def allocate(config: NatConfig) -> RelayAllocation:
    """Make a connection to the relay from which one path may go out.

    Raises:
        CommunicatorError: there is no relay, or it does not let us in.
        WireError: what answers is no relay of this session.
    """
    connection = bind_shared()
    try:
        channel = await send_request(
            config, Allocate(job=config.job, epoch=config.epoch), connection
        )
        observed = await asyncio.wait_for(expect(channel, Observed), config.within_s)
        return RelayAllocation(channel, observed.address)
    except BaseException as error:
        connection.close()
        if isinstance(error, asyncio.TimeoutError):
            raise CommunicatorError("the relay does not say where it sees us") from error
        raise


async def call(config: NatConfig, allocations: AllocationPool, to: str, kind: NatKind) -> Path:
    """Connect with another rank.

    Args:
        config: ours.
        allocations: to connect from.
        to: its name.
        kind: of our NAT.

    Raises:
        CommunicatorError: it cannot be reached; the message says why.
        WireError: it does not belong to this group.
    """
    return await _connect(_Pair(config, to, kind), allocations)


async def answer(
    config: NatConfig, allocations: AllocationPool, incoming: IncomingCall, kind: NatKind
) -> Path:
    """Connect with a rank that calls.

    Args:
        config: ours.
        allocations: to connect from.
        incoming: as the relay said.
        kind: of our NAT.

    Raises:
        CommunicatorError: the caller has gone.
        WireError: it does not belong to this group.
    """
    return await _connect(_Pair(config, incoming.caller, kind, incoming), allocations)


async def _connect(pair: _Pair, allocations: AllocationPool) -> Path:
    within_s = pair.config.within_s
    try:
        path = await asyncio.wait_for(_from_allocation(pair, allocations), within_s)
    except asyncio.TimeoutError:
        raise CommunicatorError(f"{pair.peer} was not reached within {within_s:g} s") from None
    except OSError as error:
        raise CommunicatorError(
            f"{pair.peer} went away while it was being connected: {error}"
        ) from error
    path.connection.setblocking(True)
    return path


async def _from_allocation(pair: _Pair, allocations: AllocationPool) -> Path:
    allocation, path = await allocations.take(), None
    try:
        path = await pair.establish(allocation)
        return path
    finally:
        if path is None or path.direct:
            allocation.connection.close()


@dataclass(frozen=True, slots=True)
class _Exchanged:
    """What one side has learned of the other through the relay."""

    session: bytes
    theirs: PeerCandidates


@dataclass(frozen=True, slots=True)
class _Pair:
    """One side of two that are to be connected: the callee where a call has come in."""

    config: NatConfig
    peer: str
    kind: NatKind
    incoming: IncomingCall | None = None

    async def establish(self, allocation: RelayAllocation) -> Path:
        config, private = self.config, allocation.connection.getsockname()
        mine = PeerCandidates(
            self.kind, private, allocation.address, config.punches, config.encrypts
        )
        exchanged = await self._exchange_descriptions(allocation, mine)
        channel = SealedChannel(
            allocation.connection, exchanged.session, dials=self.incoming is None
        )
        direct, reason = await self._punch(mine, exchanged)
        try:
            agreed = await self._nominate(channel, direct is not None)
        except BaseException:
            _close(direct)
            raise
        if agreed and direct is not None:
            return Path(direct, self.peer, "")
        _close(direct)
        if agreed:
            raise CommunicatorError(f"the direct connection with {self.peer} was lost at once")
        reason = reason or f"{self.peer} has no direct connection"
        self._check_encryption(mine, exchanged.theirs, reason)
        return Path(allocation.connection, self.peer, reason)

    async def _exchange_descriptions(
        self, allocation: RelayAllocation, mine: PeerCandidates
    ) -> _Exchanged:
        """Exchange offer and answer; both sides return at the moment when the relay joins them."""
        description = SessionDescription(self.config.name, self.peer, mine)
        if self.incoming is None:
            return await self._call(allocation.channel, description)
        return await self._answer(allocation.channel, description, self.incoming)

    async def _call(self, channel: SealedChannel, description: SessionDescription) -> _Exchanged:
        config, key = self.config, self.config.keys.pairing
        offer = offers.sign(description, key)
        call = Call(job=config.job, epoch=config.epoch, name=config.name, to=self.peer, offer=offer)
        await _send(channel, call)
        answer = (await expect(channel, Joined)).answer
        theirs = offers.verify(answer, key, (self.peer, config.name), offer)
        return _Exchanged(offers.session_key(key, offer, answer), theirs.candidates)

    async def _answer(
        self, channel: SealedChannel, description: SessionDescription, incoming: IncomingCall
    ) -> _Exchanged:
        config, key = self.config, self.config.keys.pairing
        request = Answer(job=config.job, epoch=config.epoch, call=incoming.call)
        try:
            theirs = offers.verify(incoming.offer, key, (self.peer, config.name))
        except WireError:
            # Without an answer in it: so the caller need not wait until its time is over.
            await _send(channel, request)
            raise
        answer = offers.sign(description, key, incoming.offer)
        await _send(channel, msgspec.structs.replace(request, answer=answer))
        await expect(channel, Joined)
        return _Exchanged(offers.session_key(key, incoming.offer, answer), theirs.candidates)

    def _check_encryption(self, mine: PeerCandidates, theirs: PeerCandidates, reason: str) -> None:
        """Both ends come to the same result, so neither waits for the other."""
        sides = {"this rank": mine, self.peer: theirs}
        lacking = [name for name, side in sides.items() if not side.encrypts]
        if lacking:
            raise CommunicatorError(
                f"no connection past the relay ({reason}), and none through it: that has to be "
                f"TLS, for which {' and '.join(lacking)} lacks the package cryptography: "
                "pip install 'elevon[tls]' on every host"
            )

    async def _punch(
        self, mine: PeerCandidates, exchanged: _Exchanged
    ) -> tuple[socket.socket | None, str]:
        if not can_punch(mine, exchanged.theirs):
            return None, f"no punching from {_describe(mine)} to {_describe(exchanged.theirs)}"
        calls, patience_s = self.incoming is None, self.config.punch_s
        plan = PunchPlan(
            port=mine.private[1],
            targets=addresses_to_dial(mine, exchanged.theirs),
            key=proof.derive(exchanged.session, "punch"),
            first=calls,
            peer=self.peer,
            # The caller must not succeed with one that has just given up.
            within_s=patience_s if calls else patience_s + LATER_S,
        )
        try:
            return await punch(plan), ""
        except (CommunicatorError, OSError) as error:
            return None, str(error)

    async def _nominate(self, channel: SealedChannel, direct: bool) -> bool:
        """The caller's outcome counts, and the other side waits for it."""
        if self.incoming is None:
            await channel.send(Nomination(direct))
            return direct
        return (await channel.receive(_NOMINATIONS)).direct


async def _send(channel: SealedChannel, request: Call | Answer) -> None:
    try:
        await channel.send(request)
    except OSError as error:
        raise CommunicatorError(f"the relay is gone: {error}") from error


def _describe(candidates: PeerCandidates) -> str:
    return f"{candidates.kind} NAT" if candidates.punches else "a rank that does not punch"


def _close(connection: socket.socket | None) -> None:
    if connection is not None:
        connection.close()
