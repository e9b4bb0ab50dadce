"""How a state follows another: by a table only, and with a memory of what has happened.

A life is a table ``{(state, event): next state}``. An event that the table does not have in a state
is a defect of this program: it raises, changes nothing, and the error tells the story of its key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias, TypeVar

from elevon.errors import ElevonError

# What advances: a task or a pilot by its id, a rank by its number.
Key: TypeAlias = str | int

_State = TypeVar("_State", bound=Enum)
_Event = TypeVar("_Event", bound=Enum)

# Of all keys together. A longer memory would be colder: with 4,096 the scheduler is 15 % slower,
# because what leaves the ring has left the processor's caches long before.
_KEPT = 512
_TOLD = 8


class IllegalTransition(ElevonError):
    """An event arrived in a state that has no transition for it: a defect, not a user's error."""


class InvariantBroken(ElevonError):
    """Two facts that must agree do not: a defect, not a user's error."""


class History:
    """Advances states and remembers the last transitions, all keys in one ring.

    The scheduler makes ten transitions for every task, and a call costs as much as all the rest of
    one. Where it counts, the next state is looked up in a table of one event (``by_event``), and
    ``note`` and ``refusal`` do what ``advance`` does. What the tables let follow from what is
    noted (a part has ended, an attempt has ended well, an output is made, a client told) is not.

    Attributes:
        note: remembers (key, or all keys of a gang; state before; event).
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._ring: deque[tuple[Key | tuple[int, ...], Enum, Enum]] = deque(maxlen=kept)
        self.note = self._ring.append

    def advance(
        self, life: Mapping[tuple[_State, _Event], _State], key: Key, state: _State, event: _Event
    ) -> _State:
        """The state after ``event``.

        Raises:
            IllegalTransition: the table has no such transition; nothing has changed.
        """
        after = life.get((state, event))
        if after is None:
            raise self.refusal(key, state, event)
        self.note((key, state, event))
        return after

    def refusal(self, key: Key, state: Enum, event: Enum) -> IllegalTransition:
        """The error for an event that a table does not have in a state."""
        return IllegalTransition(
            f"{_name(key)} ({type(state).__name__}): no way from {state.value!r} by "
            f"{event.value!r}; {self.story(key)}. This is a defect of Elevon: please report it "
            "with this message"
        )

    def story(self, key: Key) -> str:
        """The last transitions of a key, in words."""
        mine = [step for step in self._ring if step[0] == key or _has(step[0], key)]
        if not mine:
            return "nothing is remembered of it"
        steps = [f"{event.value} (when {state.value})" for _, state, event in mine[-_TOLD:]]
        return f"what happened to it before: {', '.join(steps)}"


def by_event(life: Mapping[tuple[_State, _Event], _State], event: _Event) -> dict[_State, _State]:
    """The part of a table that is about one event: ``{state: next state}``."""
    return {state: after for (state, known), after in life.items() if known is event}


def _has(keys: object, key: Key) -> bool:
    return isinstance(keys, tuple) and key in keys


def _name(key: Key) -> str:
    return f"rank {key}" if isinstance(key, int) else key
