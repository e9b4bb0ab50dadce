"""A rank's side of a rendezvous that is a Redis.

Before it: ``redis_board``. After it: ``anywhere`` picks it for a Redis' URL. It waits on a channel
where changes are told, and looks again now and then all the same: nobody tells of a lease that
has run out.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import msgspec

from elevon.comm.redis_link import ANSWER_WITHIN_S, RedisLink
from elevon.comm.rendezvous.messages import GroupName, Joining, Member, Welcome
from elevon.comm.rendezvous.redis_board import LEASE_S, Board, Claim, Seen, as_group
from elevon.comm.rendezvous.registry import Registry, check
from elevon.errors import CommunicatorError, MemberLost

RENEW_EVERY_S = LEASE_S / 4
LOOK_AGAIN_S = 1.0
# A holder says who it is right after it has claimed its slot.
INTRODUCTION_S = 0.02

_LOG = logging.getLogger(__name__)


class RedisMembership:
    """A slot of a group, held as long as this is open.

    Attributes:
        welcome: the slot, and who was there before.
    """

    def __init__(self, link: RedisLink, name: GroupName, key: bytes, joining: Joining) -> None:
        self._link = link
        self._name = name
        self._size = joining.size
        self._deadline = time.monotonic() + joining.deadline_s
        self._board = Board(link, name, key)
        self._bell = _Bell(link, self._board.channel)
        self._closed = threading.Event()
        self._claim = self._win(joining)
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewing.start()
        try:
            self.welcome = self._introduce(joining)
        except BaseException:
            self._give_up()
            raise

    def complete(self) -> None:
        """Say that all who were there before are connected, and wait for all others.

        Raises:
            CommunicatorError: not all came in time (the message names who is missing), or Redis
                does not answer.
            WireError: somebody who does not know the key has written to the group's entry.
        """
        self._say("ready")
        seen = self._board.look()
        while not (group := as_group(self._size, seen)).complete:
            if self._left_s <= 0:
                raise CommunicatorError(
                    f"group {self._name} was not complete in time: {group.missing()}"
                )
            self._bell.wait(min(self._left_s, LOOK_AGAIN_S))
            seen = self._board.look()
        self._check_met(seen)

    def close(self) -> None:
        """Give the slot up."""
        if not self._closed.is_set():
            self._give_up()

    @property
    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    def _check_met(self, seen: list[Seen]) -> None:
        """Refuse a group with members that neither dialed this one nor were dialed by it."""
        met = {member.incarnation for member in self.welcome.members}
        earlier = [each for each in seen if each.incarnation < self._claim.incarnation]
        missed = [each.slot for each in earlier if each.incarnation not in met]
        if missed:
            raise CommunicatorError(
                f"group {self._name}: slots {missed} were silent when slot {self._claim.slot} "
                f"joined (no lease renewed for {LEASE_S} s) and live all the same: join again"
            )

    def _win(self, joining: Joining) -> Claim:
        """The slot, after its last holder has left it or fallen silent."""
        claim = self._board.claim(joining)
        while claim.held_s:
            if self._left_s <= 0:
                raise CommunicatorError(
                    f"slot {claim.slot} is held by a living rank, {self._holder(claim.slot)}"
                )
            self._bell.wait(min(self._left_s, claim.held_s, LOOK_AGAIN_S))
            claim = self._board.claim(joining)
        return claim

    def _holder(self, slot: int) -> str:
        names = {each.slot: each.member.name for each in self._board.look() if each.member}
        return names.get(slot, "which has not said who it is")

    def _introduce(self, joining: Joining) -> Welcome:
        slot, incarnation = self._claim.slot, self._claim.incarnation
        member = Member(slot, incarnation, joining.addresses, joining.port, joining.name)
        self._say("member", msgspec.msgpack.encode(member))
        before = self._before()
        # Of two ranks the later one dials, so nobody who came before may be passed over.
        while any(each.member is None for each in before):
            if self._left_s <= 0:
                silent = [each.slot for each in before if each.member is None]
                raise CommunicatorError(f"slots {silent} are taken by ranks that do not say more")
            self._bell.wait(INTRODUCTION_S)
            before = self._before()
        return Welcome(slot, incarnation, tuple(each.member for each in before if each.member))

    def _before(self) -> list[Seen]:
        return [each for each in self._board.look() if each.incarnation < self._claim.incarnation]

    def _say(self, what: str, payload: bytes = b"") -> None:
        if not self._board.say(self._claim, what, payload):
            raise MemberLost(
                f"slot {self._claim.slot} of group {self._name} was taken over by another rank: "
                f"this one did not renew its lease for {LEASE_S} s"
            )

    def _renew(self) -> None:
        while not self._closed.wait(RENEW_EVERY_S) and self._still_ours():
            pass

    def _still_ours(self) -> bool:
        try:
            self._say("")
        except CommunicatorError as error:
            # The connections between ranks live without Redis, and whoever comes next into this
            # slot replaces them; so this is no reason to stop working.
            _LOG.warning("cannot renew the lease of slot %d: %s", self._claim.slot, error)
            return not isinstance(error, MemberLost)
        return True

    def _give_up(self) -> None:
        self._closed.set()
        self._renewing.join()
        try:
            self._board.release(self._claim)
        except CommunicatorError as error:
            _LOG.warning("slot %d stays leased for a while: %s", self._claim.slot, error)
        self._bell.close()
        self._link.close()


class _Bell:
    """Rings when something has changed; made before the first look, so that nothing is missed."""

    def __init__(self, link: RedisLink, channel: str) -> None:
        self._link = link
        with link.asking() as client:
            self._listening: Any = client.pubsub(ignore_subscribe_messages=True)
            self._listening.subscribe(channel)

    def wait(self, longest_s: float) -> None:
        """Return when it rings, or after ``longest_s``."""
        with self._link.asking():
            self._listening.get_message(timeout=max(longest_s, 0.0))

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()


def join(address: str, name: GroupName, key: bytes, joining: Joining) -> RedisMembership:
    """Join a group at a Redis; see ``client.join``.

    Args:
        address: "redis://host:port/db".
        name: the group.
        key: its joining key.
        joining: who we are.

    Returns:
        The membership; its welcome names the members to dial.

    Raises:
        UsageError: a field of ``joining`` is out of bounds, or the client library is missing.
        CommunicatorError: there is no place, or Redis does not answer.
        WireError: somebody who does not know the key has written to the group's entry.
    """
    check(joining)
    rules = Registry()
    rules.wanted(rules.group(name, joining.size, 0.0), joining)
    link = RedisLink(address, min(ANSWER_WITHIN_S, joining.deadline_s))
    try:
        return RedisMembership(link, name, key, joining)
    except BaseException:
        link.close()
        raise
