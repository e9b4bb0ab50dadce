"""The pure scheduler: ``step(event) -> commands``. It decides; it does nothing.

It has no clock, no socket and no random number: moments come in the events.

The cost of an event does not depend on how many tasks there are or were. Only the loss of the whole
world and the end of a repair look at all ranks or tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from elevon.agent.scheduling import failures
from elevon.agent.scheduling.attempts import Attempts, running_tasks
from elevon.agent.scheduling.dependencies import Dataflow
from elevon.agent.scheduling.events import (
    CancelAsked,
    Command,
    EndRank,
    Event,
    PartEnded,
    RankGone,
    RankJoined,
    Released,
    RepairFailed,
    Submitted,
    TimedOut,
    WorldGone,
)
from elevon.agent.scheduling.explain import explain
from elevon.agent.scheduling.outcomes import Endings
from elevon.agent.scheduling.policy import Policy
from elevon.agent.scheduling.state import Board
from elevon.model.ids import RankId, TaskId
from elevon.model.states import TaskEvent, TaskState


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers about the pilot.

    Attributes:
        ranks: of the pilot.
        alive, idle, lost, given_up: of these ranks.
        submitted: tasks ever submitted.
        known: tasks that are not forgotten.
        tasks: by state; those that ended count also after they are forgotten.
        contexts: private communicators that are kept.
    """

    ranks: int
    alive: int
    idle: int
    lost: int
    given_up: int
    submitted: int
    known: int
    tasks: dict[TaskState, int]
    contexts: int


class Scheduler:
    """The mind of one agent.

    Args:
        ranks: how many the pilot has; they are numbered from 0.
        communicator_cache: how many private communicators are kept for gangs that come again.
    """

    def __init__(self, ranks: int, communicator_cache: int) -> None:
        self._board = Board(ranks, communicator_cache)
        self._dataflow = Dataflow(self._board)
        self._endings = Endings(self._board, self._dataflow)
        self._attempts = Attempts(self._board, self._dataflow, self._endings, self._convict)
        self._policy = Policy(self._board)
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Submitted: self._submitted,
            PartEnded: self._attempts.part_ended,
            Released: self._released,
            RankJoined: self._rank_joined,
            CancelAsked: self._cancel_asked,
            TimedOut: self._timed_out,
            RankGone: self._rank_gone,
            WorldGone: self._world_gone,
            RepairFailed: self._repair_failed,
        }

    def step(self, event: Event) -> list[Command]:
        """What follows from one event, in the order in which it is to be carried out.

        Raises:
            ValueError: the event names a rank that the pilot does not have.
        """
        board = self._board
        board.at = event.at
        board.step += 1
        commands: list[Command] = []
        board.commands = commands
        self._handlers[type(event)](event)
        if board.doomed:
            self._endings.end_doomed()
        if board.slots.lost:
            self._policy.repair_if_idle()
        idle = board.slots.idle
        while idle.count and (record := self._policy.next_start()) is not None:
            self._attempts.start(record)
        return commands

    # ------------------------------------------------------------ views

    def state_of(self, task: TaskId) -> TaskState:
        """The state of a task.

        Raises:
            KeyError: the task was never submitted, or is forgotten (it ended and was released).
        """
        return self._board.book.records[task].state

    def explain(self, task: TaskId) -> str:
        """Why a task is pending, in words: which inputs, how many ranks, who is ahead."""
        return explain(self._board, self._policy, task)

    def statistics(self) -> Statistics:
        """Numbers about ranks and tasks."""
        slots, book = self._board.slots, self._board.book
        return Statistics(
            ranks=slots.total,
            alive=slots.alive,
            idle=slots.idle.count,
            lost=len(slots.lost),
            given_up=len(slots.given_up),
            submitted=book.submitted,
            known=len(book.records),
            tasks=dict(book.in_state),
            contexts=len(self._board.contexts),
        )

    def snapshot(self) -> tuple[object, ...]:
        """The whole state as values; two schedulers with equal ones decide alike. O(all)."""
        return self._board.snapshot()

    # ------------------------------------------------------------ what clients say

    def _submitted(self, event: Submitted) -> None:
        book = self._board.book
        if event.submission.task in book.records:
            return  # a client that reconnects sends again what was not confirmed
        record = book.enter(event.submission, event.at)
        if record.size > self._board.slots.capacity:
            failure = failures.too_large(record, self._board.slots)
            self._endings.fail(record, failure, TaskEvent.GIVE_UP)
        elif refusal := self._dataflow.admit(record):
            self._endings.fail(record, refusal, TaskEvent.GIVE_UP)

    def _released(self, event: Released) -> None:
        record = self._board.book.records.get(event.task)
        if record is not None:
            self._dataflow.release(record)

    def _cancel_asked(self, event: CancelAsked) -> None:
        record = self._board.book.records.get(event.task)
        if record is None or record.told:
            return  # what has ended once is not undone, even if it runs again to restore its data
        if record.attempt is not None:
            self._attempts.cancel(record, event.reason)
        else:
            failure = failures.canceled(record, event.reason)
            self._endings.fail(record, failure, TaskEvent.CANCEL)

    def _timed_out(self, event: TimedOut) -> None:
        record = self._board.book.records.get(event.task)
        if record is not None and record.attempt is not None and record.attempts == event.attempt:
            self._attempts.time_out(record)

    # ------------------------------------------------------------ what happens to ranks

    def _rank_joined(self, event: RankJoined) -> None:
        slots = self._board.slots
        slots.check(event.rank)
        if slots.is_up(event.rank):
            self._lose_rank(event.rank, "another process took its place before its end was noticed")
        slots.join(event.rank, event.node, event.address)

    def _rank_gone(self, event: RankGone) -> None:
        slots = self._board.slots
        slots.check(event.rank)
        if slots.is_up(event.rank):
            self._lose_rank(event.rank, event.reason)
        if event.rank not in slots.given_up:
            slots.lost[event.rank] = event.reason

    def _convict(self, rank: RankId, reason: str) -> None:
        """A rank that may live, but is no use to others: it is ended and replaced."""
        slots = self._board.slots
        if slots.is_up(rank):
            self._board.commands.append(EndRank(rank, reason))
            slots.lost[rank] = reason
            self._lose_rank(rank, reason)

    def _lose_rank(self, rank: RankId, reason: str) -> None:
        """Order matters: what is lost is known everywhere before anything runs again."""
        record = self._board.slots.lose(rank, reason, self._board.step)
        self._board.contexts.lose_rank(rank)
        hit = self._dataflow.lose([rank], reason)
        for resident in hit:
            self._attempts.output_lost(resident, rank, reason)
        if record is not None:
            self._attempts.rank_lost(record, rank, reason)
        for resident in hit:
            self._dataflow.recover(resident)

    def _world_gone(self, event: WorldGone) -> None:
        slots, up = self._board.slots, self._board.slots.all_up()
        blamed = None
        if event.culprit is not None:
            slots.check(event.culprit)
            blamed = slots.work[event.culprit]
        stopped = running_tasks(slots.work)
        for rank in up:
            slots.lose(rank, event.reason, self._board.step)
        slots.end_repair()  # the shell starts a whole new world: there is nothing to repair
        self._board.contexts.clear()
        hit = self._dataflow.lose(up, event.reason)
        for record in stopped:
            culprit = event.culprit if record is blamed else None
            self._attempts.world_lost(record, culprit, event.reason)
        for record in hit:
            self._dataflow.recover(record)

    def _repair_failed(self, event: RepairFailed) -> None:
        slots = self._board.slots
        slots.give_up()
        for record in self._board.book.records.values():
            unstarted = record.state is TaskState.WAITING or record.state is TaskState.READY
            if unstarted and record.size > slots.capacity:
                self._board.doom(record, failures.too_large(record, slots))
