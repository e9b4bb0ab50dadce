"""Which task starts next, which is held back, and when the world is repaired.

The first task in the queue (greatest priority, then order of submission) starts as soon as it fits.
While it does not fit, smaller ones behind it may overtake it, so that ranks do not idle; but not
for ever: once they have been given ``OVERTAKES`` times the pilot's ranks, freed ranks are kept for
the first task until it fits. Reservations by run time, as batch systems have them, need estimates
that there are none of: ``timeout_s`` says when a task ends at the latest, and to overtake without
delay one would have to know when the running ones end at the earliest.
"""

from __future__ import annotations

from elevon.agent.scheduling.events import RepairWorld
from elevon.agent.scheduling.records import TaskRecord
from elevon.agent.scheduling.state import SchedulerState
from elevon.model.states import WorldState

# Twice the pilot: enough that small tasks fill the gaps for as long as a gang usually takes to
# gather its ranks, and every rank is given to another task twice at most before it is kept.
OVERTAKES = 2


class Policy:
    """Decides on starts."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        self._most_overtakes = OVERTAKES * state.ranks.total

    def next_start(self) -> TaskRecord | None:
        """The task to start now on ranks that are idle, of which there are some.

        That it overtakes the first in the queue is counted.
        """
        ranks = self._state.ranks
        idle = ranks.idle.count
        if ranks.lost and not self._may_start_damaged():
            return None
        first = self._state.queue.first()
        if first is None or first.size <= idle:
            return first
        if self.keeps_ranks_for(first):
            return None
        behind = self._state.queue.first_up_to(idle)
        if behind is not None:
            first.overtaken += behind.size
        return behind

    def keeps_ranks_for(self, first: TaskRecord) -> bool:
        """Whether the first task has been overtaken so much that it is not any more."""
        return first.overtaken >= self._most_overtakes

    def draining(self) -> bool:
        """Whether nothing starts, so that a damaged world that is too small comes to its repair."""
        ranks = self._state.ranks
        if not ranks.lost:
            return False
        return ranks.world is WorldState.UNFIT or self._state.queue.any_above(ranks.alive)

    def repair_if_idle(self) -> None:
        """Ranks are lost: ask for their replacement once no rank works, and once for each loss."""
        ranks = self._state.ranks
        if not ranks.busy and (lost := ranks.ask_repair()):
            self._state.commands.append(RepairWorld(lost))

    def _may_start_damaged(self) -> bool:
        """Whether tasks may start while ranks are lost: not during a repair, nor before it."""
        return self._state.ranks.world is not WorldState.REPAIRING and not self.draining()
