"""A rank's side of a rendezvous that is a Redis.

It waits on a channel where changes are published, and looks again now and then all the same: a
lease that runs out is not published.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from elevon.comm.connect.redis import ANSWER_WITHIN_S, RedisLink
from elevon.comm.connect.rendezvous.messages import GroupName, JoinReply, JoinRequest, Member
from elevon.comm.connect.rendezvous.redis_group import (
    LEASE_S,
    Holder,
    Lease,
    Readiness,
    RedisGroup,
    as_group,
)
from elevon.comm.connect.rendezvous.registry import Registry, check
from elevon.errors import CommunicatorError, MemberLost

RENEW_EVERY_S = LEASE_S / 4
LOOK_AGAIN_S = 1.0
# A holder introduces itself right after it has claimed its slot.
INTRODUCTION_S = 0.02

_LOG = logging.getLogger(__name__)


class RedisMembership:
    """A slot of a group, held as long as this is open.

    Attributes:
        reply: the slot, and the members that were there before.
    """

    def __init__(self, link: RedisLink, name: GroupName, key: bytes, request: JoinRequest) -> None:
        self._link = link
        self._name = name
        self._size = request.size
        self._deadline = time.monotonic() + request.deadline_s
        self._group = RedisGroup(link, name, key)
        self._changes = _ChangeListener(link, self._group.channel)
        self._closed = threading.Event()
        self._lease = self._acquire_slot(request)
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewing.start()
        try:
            self.reply = self._introduce(request)
        except BaseException:
            self._give_up()
            raise

    def complete(self) -> None:
        """Say that all earlier members are connected, and wait for all others.

        Raises:
            CommunicatorError: not all came in time (the message names the missing), or Redis
                does not answer.
            WireError: the group's entry was written by one that does not know the key.
        """
        self._changes.listen()
        try:
            self._check_connected(self._await_completion())
        finally:
            self._changes.close()  # so that Redis need not publish to this rank any more

    def close(self) -> None:
        """Give the slot up."""
        if not self._closed.is_set():
            self._give_up()

    @property
    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    def _await_completion(self) -> Sequence[int]:
        """The incarnations of the complete group, by slot.

        The last rank that is ready looks at all slots, and announces what it has found.
        """
        readiness = self._group.ready(self._lease)
        self._check_ours(readiness is not Readiness.NOT_OURS)
        incarnations = self._check_completion() if readiness is Readiness.ALL_ARE else ()
        while self._lease.incarnation not in incarnations:
            if self._left_s <= 0:
                missing = as_group(self._size, self._group.look()).missing()
                raise CommunicatorError(f"group {self._name} was not complete in time: {missing}")
            changed = self._changes.wait(min(self._left_s, LOOK_AGAIN_S))
            completion = self._group.completion()
            incarnations = completion.incarnations
            if self._lease.incarnation not in incarnations and completion.all_ready and not changed:
                incarnations = self._check_completion()  # its announcer may be gone
        return incarnations

    def _check_completion(self) -> Sequence[int]:
        """The incarnations, which are announced, or nothing where the group is not complete."""
        seen = self._group.look()
        if not as_group(self._size, seen).complete:
            return ()
        incarnations = [each.incarnation for each in seen]
        self._group.announce_complete(self._lease, incarnations)
        return incarnations

    def _check_connected(self, incarnations: Sequence[int]) -> None:
        """Refuse a group with members that neither dialed this one nor were dialed by it."""
        known = {member.incarnation for member in self.reply.members}
        ours = self._lease.incarnation
        missed = [slot for slot, its in enumerate(incarnations) if its < ours and its not in known]
        if missed:
            raise CommunicatorError(
                f"group {self._name}: slots {missed} were silent when slot {self._lease.slot} "
                f"joined (no lease renewed for {LEASE_S} s) and live all the same: join again"
            )

    def _acquire_slot(self, request: JoinRequest) -> Lease:
        """The slot, after its last holder has left it or fallen silent."""
        lease = self._group.claim(request)
        while lease.held_s:
            if self._left_s <= 0:
                raise CommunicatorError(
                    f"slot {lease.slot} is held by a living rank, {self._holder(lease.slot)}"
                )
            self._changes.wait(min(self._left_s, lease.held_s, LOOK_AGAIN_S))
            lease = self._group.claim(request)
        return lease

    def _holder(self, slot: int) -> str:
        names = {each.slot: each.member.name for each in self._group.look() if each.member}
        return names.get(slot, "which has not introduced itself")

    def _introduce(self, request: JoinRequest) -> JoinReply:
        slot, incarnation = self._lease.slot, self._lease.incarnation
        member = Member(slot, incarnation, request.addresses, request.port, request.name)
        before = self._group.introduce(self._lease, member)
        self._check_ours(before is not None)
        known = {each.slot: each for each in before or ()}
        # Of two ranks the later one dials, so no earlier one may be left out.
        while silent := [each.slot for each in known.values() if each.member is None]:
            if self._left_s <= 0:
                raise CommunicatorError(f"slots {silent} are taken by ranks that stay silent")
            self._changes.wait(INTRODUCTION_S)
            self._ask_again(known, silent)
        return JoinReply(
            slot, incarnation, tuple(each.member for each in known.values() if each.member)
        )

    def _ask_again(self, known: dict[int, Holder], silent: list[int]) -> None:
        """Look at the holders that had not introduced themselves; later ones will dial us."""
        for slot in silent:
            del known[slot]
        for each in self._group.look(*silent):
            if each.incarnation < self._lease.incarnation:
                known[each.slot] = each

    def _check_ours(self, ours: bool) -> None:
        if not ours:
            raise MemberLost(
                f"slot {self._lease.slot} of group {self._name} was taken over by another rank: "
                f"this one did not renew its lease for {LEASE_S} s"
            )

    def _renew(self) -> None:
        while not self._closed.wait(RENEW_EVERY_S) and self._still_ours():
            pass

    def _still_ours(self) -> bool:
        try:
            self._check_ours(self._group.renew(self._lease))
        except CommunicatorError as error:
            # The connections between ranks live without Redis, and the next rank in this slot
            # replaces them; so this is no reason to stop working.
            _LOG.warning("cannot renew the lease of slot %d: %s", self._lease.slot, error)
            return not isinstance(error, MemberLost)
        return True

    def _give_up(self) -> None:
        self._closed.set()
        self._renewing.join()
        try:
            self._group.release(self._lease)
        except CommunicatorError as error:
            _LOG.warning("slot %d stays leased for a while: %s", self._lease.slot, error)
        self._changes.close()
        self._link.close()


class _ChangeListener:
    """Hears of changes of the group; made before the first look, so that none is missed."""

    def __init__(self, link: RedisLink, channel: str) -> None:
        self._link = link
        self._channel = channel
        self._listening: Any = None
        self.listen()

    def listen(self) -> None:
        """Listen from now on; safe to call twice."""
        if self._listening is None:
            with self._link.commands() as client:
                self._listening = client.pubsub(ignore_subscribe_messages=True)
                self._listening.subscribe(self._channel)
                # The answer to that; what is published before it would not be heard.
                self._listening.get_message(timeout=ANSWER_WITHIN_S)

    def wait(self, longest_s: float) -> bool:
        """Wait for a change, but at most ``longest_s``; whether there was one."""
        with self._link.commands():
            return self._listening.get_message(timeout=max(longest_s, 0.0)) is not None

    def close(self) -> None:
        """Listen no more; safe to call twice."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None


def join(address: str, name: GroupName, key: bytes, request: JoinRequest) -> RedisMembership:
    """Join a group at a Redis; see ``client.join``.

    Args:
        address: "redis://host:port/db".
        name: the group.
        key: its joining key.
        request: what this rank wants.

    Returns:
        The membership; its reply names the members to dial.

    Raises:
        UsageError: a field of ``request`` is out of bounds, or the client library is missing.
        CommunicatorError: there is no place, or Redis does not answer.
        WireError: the group's entry was written by one that does not know the key.
    """
    check(request)
    rules = Registry()
    rules.slot_for(rules.group(name, request.size, 0.0), request)
    link = RedisLink(address, min(ANSWER_WITHIN_S, request.deadline_s))
    try:
        return RedisMembership(link, name, key, request)
    except BaseException:
        link.close()
        raise
