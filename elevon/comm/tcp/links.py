"""The connections of a rank that makes them only when a group needs them.

Of each pair the rank that joined later dials, so the other can only wait for it; both open the
group, so both connect. A group's own connections are complete before its first collective: an abort
has to reach every member at once (see
docs/decisions/0008-a-large-world-is-connected-group-by-group.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from elevon.comm.connect.rendezvous import Member
from elevon.comm.tcp.peers import PeerTable
from elevon.errors import CollectiveTimeout, CommunicatorError, MemberLost


class Links:
    """Connects peers on demand. Any thread may call ``give_up`` while another waits.

    Args:
        peers: where connections go, also those that the acceptor takes.
        members: those that were there before this rank, which it has to dial.
        dial: connects one of them and attaches it.
    """

    def __init__(
        self, peers: PeerTable, members: Iterable[Member], dial: Callable[[Member], None]
    ) -> None:
        self._peers = peers
        self._dial = dial
        self._to_dial = {member.slot: member for member in members}
        self._given_up: set[int] = set()
        self._lock = threading.Lock()

    def connect_all(self) -> None:
        """Dial all members now.

        Raises:
            CommunicatorError: one of them cannot be reached.
        """
        for slot in sorted(self._to_dial):
            self._dial_once(slot)

    def connect(self, members: Sequence[int], context: int, within_s: float | None) -> None:
        """Connect this rank with the other members of a group; returns early once given up.

        Args:
            members: slots, this rank's own among them.
            context: of the group.
            within_s: seconds that the others may take to connect, as in a collective; None is no
                limit: what has ended them ends the group, too.

        Raises:
            MemberLost: one of them cannot be reached.
            CollectiveTimeout: one of them has not come in time.
        """
        missing = self._peers.missing(members)
        if not missing:
            return
        deadline = None if within_s is None else time.monotonic() + within_s
        for slot in sorted(missing):
            try:
                self._dial_once(slot)
            except CommunicatorError as error:  # noqa: PERF203 - it is one at most
                raise MemberLost(str(error), rank=members.index(slot)) from error
        missing = self._peers.wait(missing, deadline, lambda: context in self._given_up)
        if missing and context not in self._given_up:
            raise CollectiveTimeout(
                f"slots {sorted(missing)} have not connected with slot {self._peers.own_slot}: "
                f"they did not open group {context} within {within_s:g} s",
                rank=members.index(min(missing)),
            )

    def give_up(self, context: int) -> None:
        """Wait no more for the members of a group: it has ended."""
        self._given_up.add(context)
        self._peers.wake()

    def forget(self, context: int) -> None:
        """The group is gone."""
        self._given_up.discard(context)

    def _dial_once(self, slot: int) -> None:
        # Two threads that open groups at once must not dial the same member twice.
        with self._lock:
            # Its successor may have dialed this rank in the meantime, or be about to be told that
            # it is accepted.
            if slot in self._to_dial and not self._peers.is_attached(slot):
                self._dial(self._to_dial[slot])
            self._to_dial.pop(slot, None)
