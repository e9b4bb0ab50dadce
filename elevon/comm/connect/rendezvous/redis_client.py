"""A rank's side of a rendezvous that is a Redis.

It waits on a channel where changes are told, and looks again now and then all the same: nobody
tells of a lease that has run out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from elevon.comm.connect.redis import ANSWER_WITHIN_S, RedisLink
from elevon.comm.connect.rendezvous.messages import GroupName, Joining, Member, Welcome
from elevon.comm.connect.rendezvous.redis_board import (
    LEASE_S,
    Board,
    Claim,
    Readiness,
    Seen,
    as_group,
)
from elevon.comm.connect.rendezvous.registry import Registry, check
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
        self._bell.listen()
        try:
            self._check_met(self._roster())
        finally:
            self._bell.close()  # Redis has better to do than to ring where nobody listens

    def close(self) -> None:
        """Give the slot up."""
        if not self._closed.is_set():
            self._give_up()

    @property
    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    def _roster(self) -> Sequence[int]:
        """The incarnations of the complete group, by slot.

        The last one that is ready looks at all, and tells the others.
        """
        readiness = self._board.ready(self._claim)
        self._check_ours(readiness is not Readiness.NOT_OURS)
        roster = self._look() if readiness is Readiness.ALL_ARE else ()
        while self._claim.incarnation not in roster:
            if self._left_s <= 0:
                missing = as_group(self._size, self._board.look()).missing()
                raise CommunicatorError(f"group {self._name} was not complete in time: {missing}")
            rang = self._bell.wait(min(self._left_s, LOOK_AGAIN_S))
            conclusion = self._board.conclusion()
            roster = conclusion.roster
            if self._claim.incarnation not in roster and conclusion.all_ready and not rang:
                roster = self._look()  # whoever was to tell may be gone
        return roster

    def _look(self) -> Sequence[int]:
        """The roster, which all are told, or nothing where the group is not complete."""
        seen = self._board.look()
        if not as_group(self._size, seen).complete:
            return ()
        roster = [each.incarnation for each in seen]
        self._board.conclude(self._claim, roster)
        return roster

    def _check_met(self, roster: Sequence[int]) -> None:
        """Refuse a group with members that neither dialed this one nor were dialed by it."""
        known = {member.incarnation for member in self.welcome.members}
        ours = self._claim.incarnation
        missed = [slot for slot, its in enumerate(roster) if its < ours and its not in known]
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
        before = self._board.introduce(self._claim, member)
        self._check_ours(before is not None)
        known = {each.slot: each for each in before or ()}
        # Of two ranks the later one dials, so nobody who came before may be passed over.
        while silent := [each.slot for each in known.values() if each.member is None]:
            if self._left_s <= 0:
                raise CommunicatorError(f"slots {silent} are taken by ranks that do not say more")
            self._bell.wait(INTRODUCTION_S)
            self._ask_again(known, silent)
        return Welcome(
            slot, incarnation, tuple(each.member for each in known.values() if each.member)
        )

    def _ask_again(self, known: dict[int, Seen], silent: list[int]) -> None:
        """Look at those who had not said who they are; whoever came after us dials us."""
        for slot in silent:
            del known[slot]
        for each in self._board.look(*silent):
            if each.incarnation < self._claim.incarnation:
                known[each.slot] = each

    def _check_ours(self, ours: bool) -> None:
        if not ours:
            raise MemberLost(
                f"slot {self._claim.slot} of group {self._name} was taken over by another rank: "
                f"this one did not renew its lease for {LEASE_S} s"
            )

    def _renew(self) -> None:
        while not self._closed.wait(RENEW_EVERY_S) and self._still_ours():
            pass

    def _still_ours(self) -> bool:
        try:
            self._check_ours(self._board.renew(self._claim))
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
        self._channel = channel
        self._listening: Any = None
        self.listen()

    def listen(self) -> None:
        """Listen from now on; safe to call twice."""
        if self._listening is None:
            with self._link.asking() as client:
                self._listening = client.pubsub(ignore_subscribe_messages=True)
                self._listening.subscribe(self._channel)
                # The answer to that; what is told before it would not be heard.
                self._listening.get_message(timeout=ANSWER_WITHIN_S)

    def wait(self, longest_s: float) -> bool:
        """Return when it rings, or after ``longest_s``; whether it rang."""
        with self._link.asking():
            return self._listening.get_message(timeout=max(longest_s, 0.0)) is not None

    def close(self) -> None:
        """Listen no more; safe to call twice."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None


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
