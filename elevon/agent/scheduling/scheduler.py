"""The pure scheduler: ``step(event) -> commands``. It decides; it does nothing.

It has no clock, no socket and no random number: moments come in the events.

The cost of an event does not depend on how many tasks there are or were. Only the loss of the whole
world looks at all ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from elevon.agent.scheduling import failures
from elevon.agent.scheduling.attempts import Attempts, running_tasks
from elevon.agent.scheduling.dependencies import Dependencies
from elevon.agent.scheduling.events import (
    CancelAsked,
    Command,
    EndRank,
    Event,
    PartEnded,
    RankGone,
    RankJoined,
    Released,
    Submitted,
    TimedOut,
    WorldGone,
)
from elevon.agent.scheduling.explain import explain
from elevon.agent.scheduling.invariants import validate
from elevon.agent.scheduling.outcomes import Outcomes
from elevon.agent.scheduling.policy import Policy
from elevon.agent.scheduling.state import SchedulerState
from elevon.model.ids import RankId, TaskId
from elevon.model.states import TaskEvent, TaskState


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers about the pilot.

    Attributes:
        ranks: of the pilot.
        alive, idle, lost: of these ranks.
        submitted: tasks ever submitted.
        known: tasks that are not forgotten.
        tasks: by state; those that ended count also after they are forgotten.
        communicators: private communicators that are kept.
    """

    ranks: int
    alive: int
    idle: int
    lost: int
    submitted: int
    known: int
    tasks: dict[TaskState, int]
    communicators: int


class Scheduler:
    """The mind of one agent.

    Args:
        ranks: how many the pilot has; they are numbered from 0.
        communicator_cache: how many private communicators are kept for gangs that come again.
        validates: whether the invariants are asked after every event. O(tasks + ranks) each time.
    """

    def __init__(self, ranks: int, communicator_cache: int, validates: bool = False) -> None:
        self._validates = validates
        self._state = SchedulerState(ranks, communicator_cache)
        self._dependencies = Dependencies(self._state)
        self._outcomes = Outcomes(self._state, self._dependencies)
        self._attempts = Attempts(self._state, self._dependencies, self._outcomes, self._evict_rank)
        self._policy = Policy(self._state)
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Submitted: self._submitted,
            PartEnded: self._attempts.part_ended,
            Released: self._released,
            RankJoined: self._rank_joined,
            CancelAsked: self._cancel_asked,
            TimedOut: self._timed_out,
            RankGone: self._rank_gone,
            WorldGone: self._world_gone,
        }

    def step(self, event: Event) -> list[Command]:
        """What follows from one event, in the order in which it is to be carried out.

        Raises:
            ValueError: the event names a rank that the pilot does not have.
        """
        state = self._state
        state.at = event.at
        state.step += 1
        commands: list[Command] = []
        state.commands = commands
        self._handlers[type(event)](event)
        if state.unrunnable:
            self._outcomes.end_unrunnable()
        if state.ranks.lost:
            self._policy.repair_if_idle()
        idle = state.ranks.idle
        while idle.count and (record := self._policy.next_start()) is not None:
            self._attempts.start(record)
        if self._validates:
            self.validate()
        return commands

    def validate(self) -> None:
        """Ask all invariants.

        Raises:
            InvariantBroken: one does not hold: a defect of the scheduler.
        """
        validate(self._state)

    # ------------------------------------------------------------ views

    def state_of(self, task: TaskId) -> TaskState:
        """The state of a task.

        Raises:
            KeyError: the task was never submitted, or is forgotten (it ended and was released).
        """
        return self._state.tasks.records[task].state

    def explain(self, task: TaskId) -> str:
        """Why a task is pending, in words: which inputs, how many ranks, what is ahead."""
        return explain(self._state, self._policy, task)

    def work_of(self, rank: RankId) -> tuple[TaskId, int] | None:
        """The task and attempt whose part a rank runs; None: it is idle, or not there."""
        record = self._state.ranks.work[rank]
        return None if record is None else (record.task, record.attempts)

    def is_running(self, task: TaskId, attempt: int) -> bool:
        """Whether a part of this attempt has not ended."""
        record = self._state.tasks.records.get(task)
        return record is not None and record.attempt is not None and record.attempts == attempt

    def statistics(self) -> Statistics:
        """Numbers about ranks and tasks."""
        ranks, tasks = self._state.ranks, self._state.tasks
        return Statistics(
            ranks=ranks.total,
            alive=ranks.alive,
            idle=ranks.idle.count,
            lost=len(ranks.lost),
            submitted=tasks.submitted,
            known=len(tasks.records),
            tasks=dict(tasks.in_state),
            communicators=len(self._state.communicators),
        )

    def snapshot(self) -> tuple[object, ...]:
        """The whole state as values; two schedulers with equal ones decide alike. O(all)."""
        return self._state.snapshot()

    # ------------------------------------------------------------ what clients say

    def _submitted(self, event: Submitted) -> None:
        tasks = self._state.tasks
        if event.submission.task in tasks.records:
            return  # a client that reconnects sends again what was not confirmed
        record = tasks.enter(event.submission, event.at)
        if record.size > self._state.ranks.total:
            failure = failures.too_large(record, self._state.ranks)
            self._outcomes.fail(record, failure, TaskEvent.GIVE_UP)
        elif refusal := self._dependencies.admit(record):
            self._outcomes.fail(record, refusal, TaskEvent.GIVE_UP)

    def _released(self, event: Released) -> None:
        record = self._state.tasks.records.get(event.task)
        if record is not None:
            self._dependencies.release(record)

    def _cancel_asked(self, event: CancelAsked) -> None:
        record = self._state.tasks.records.get(event.task)
        if record is None or record.told:
            return  # what has ended once is not undone, even if it runs again to restore its data
        if record.attempt is not None:
            self._attempts.cancel(record, event.reason)
        else:
            failure = failures.canceled(record, event.reason)
            self._outcomes.fail(record, failure, TaskEvent.CANCEL)

    def _timed_out(self, event: TimedOut) -> None:
        if self.is_running(event.task, event.attempt):
            self._attempts.time_out(self._state.tasks.records[event.task])

    # ------------------------------------------------------------ what happens to ranks

    def _rank_joined(self, event: RankJoined) -> None:
        ranks = self._state.ranks
        ranks.check(event.rank)
        if ranks.is_up(event.rank):
            self._lose_rank(event.rank, "another process took its place before its end was noticed")
        ranks.join(event.rank, event.node, event.address)

    def _rank_gone(self, event: RankGone) -> None:
        ranks = self._state.ranks
        ranks.check(event.rank)
        if ranks.is_up(event.rank):
            self._lose_rank(event.rank, event.reason)
        else:
            ranks.lose(event.rank, event.reason, self._state.step)

    def _evict_rank(self, rank: RankId, reason: str) -> None:
        """A rank that may live, but is no use to others: it is ended and replaced."""
        ranks = self._state.ranks
        if ranks.is_up(rank):
            self._state.commands.append(EndRank(rank, reason))
            self._lose_rank(rank, reason)

    def _lose_rank(self, rank: RankId, reason: str) -> None:
        """Order matters: what is lost is known everywhere before anything runs again."""
        record = self._state.ranks.lose(rank, reason, self._state.step)
        self._state.communicators.lose_rank(rank)
        hit = self._dependencies.lose([rank], reason)
        for resident in hit:
            self._attempts.output_lost(resident, rank, reason)
        if record is not None:
            self._attempts.rank_lost(record, rank, reason)
        for resident in hit:
            self._dependencies.recover(resident)

    def _world_gone(self, event: WorldGone) -> None:
        ranks, up = self._state.ranks, self._state.ranks.all_up()
        blamed = None
        if event.culprit is not None:
            ranks.check(event.culprit)
            blamed = ranks.work[event.culprit]
        stopped = running_tasks(ranks.work)
        ranks.lose_world(event.reason, self._state.step)
        self._state.communicators.clear()
        hit = self._dependencies.lose(up, event.reason)
        for record in stopped:
            culprit = event.culprit if record is blamed else None
            self._attempts.world_lost(record, culprit, event.reason)
        for record in hit:
            self._dependencies.recover(record)
