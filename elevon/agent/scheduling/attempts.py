"""One attempt of a task: a gang starts, its parts end or fail, the rest is made to leave.

The first failure that is not the consequence of another one is the cause. A member that left only
because the group was aborted says nothing of the cause, so the attempt then waits for the others:
one of them has failed, and says why, or is dead, and the shell says so.

Order of starts: a gang starts only when all its members are idle, in one command, and a rank runs
its parts in the order of the commands. So any two gangs that share ranks come to all of these in
the same order, and the opening of a communicator, which blocks until all members are there, cannot
wait in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from elevon.agent.scheduling import failures, placement
from elevon.agent.scheduling.dependencies import Dependencies
from elevon.agent.scheduling.events import AbortGang, PartEnded, StartGang
from elevon.agent.scheduling.outcomes import Outcomes
from elevon.agent.scheduling.records import Attempt, TaskRecord
from elevon.agent.scheduling.state import SchedulerState
from elevon.model.ids import RankId
from elevon.model.outcomes import Failure, FailureKind
from elevon.model.states import (
    ATTEMPT_LIFE,
    ENDS,
    STOPS,
    AttemptEvent,
    AttemptState,
    TaskEvent,
)
from elevon.model.transitions import by_event

# Looked up once: an enum's member costs more to find than a transition to make.
_STARTED: Final = TaskEvent.STARTED
_AFTER_ALL_ENDED: Final = by_event(ATTEMPT_LIFE, AttemptEvent.ALL_ENDED)
_WORKING: Final = AttemptState.WORKING
_SUCCEEDED: Final = AttemptState.SUCCEEDED
# The states in which no member has been told to leave.
_UNTOLD: Final = (AttemptState.WORKING, AttemptState.LEAVING)


class Attempts:
    """Starts gangs and follows them to their end.

    Args:
        state: what is known.
        dependencies: where outputs and readers are counted.
        outcomes: where tasks end.
        evict_rank: takes a rank that others cannot reach, and why, out of the pilot.
    """

    def __init__(
        self,
        state: SchedulerState,
        dependencies: Dependencies,
        outcomes: Outcomes,
        evict_rank: Callable[[RankId, str], None],
    ) -> None:
        self._state = state
        self._dependencies = dependencies
        self._outcomes = outcomes
        self._evict_rank = evict_rank

    # ------------------------------------------------------------ start

    def start(self, record: TaskRecord) -> None:
        """Start a READY task; at least as many ranks as it needs are idle."""
        state = self._state
        state.queue.remove(record)
        state.tasks.move(record, _STARTED)
        inputs = placement.slice_inputs(record)
        gang = placement.choose_gang(state.ranks.idle, record.size, inputs)
        communicator_id, evict = state.communicators.open(gang)
        self._begin(record, gang, communicator_id)
        state.commands.append(
            StartGang(
                record.submission,
                record.attempts,
                gang,
                communicator_id,
                evict,
                inputs,
                tuple([placement.input_value(producer) for producer in record.inputs]),
                tuple([producer.schema for producer in record.inputs]),
            )
        )

    def _begin(self, record: TaskRecord, gang: tuple[RankId, ...], communicator_id: int) -> None:
        size = record.size
        record.attempts += 1
        record.placed_s = self._state.at
        record.overtaken = 0
        record.attempt = Attempt(gang, communicator_id, self._state.step, size, [None] * size)
        for producer in record.producers:
            producer.readers += 1
        self._state.ranks.assign(gang, record)

    # ------------------------------------------------------------ news

    def part_ended(self, event: PartEnded) -> None:
        """A part has ended. What is not about the rank's present work is a late word: ignored."""
        ranks = self._state.ranks
        record = ranks.work[event.rank]
        if record is None or record.task != event.task or record.attempts != event.attempt:
            return
        attempt = record.attempt
        assert attempt is not None, "a rank works for attempts only"
        ranks.free(event.rank)
        group_rank = ranks.group_rank[event.rank]
        attempt.running -= 1
        attempt.parts[group_rank] = event.outcome
        if event.outcome.failure is not None:
            self._part_failed(record, attempt, group_rank, event.outcome.failure)
        elif record.dataset:
            self._dependencies.keep(record, event.rank)
        if not attempt.running:
            self._over(record, attempt)

    def rank_lost(self, record: TaskRecord, rank: RankId, reason: str) -> None:
        """A rank that ran a part of this task is gone, and has no work any more."""
        attempt = record.attempt
        assert attempt is not None, "a rank works for attempts only"
        attempt.running -= 1
        self._member_lost(record, attempt, rank, reason)
        if not attempt.running:
            self._over(record, attempt)

    def output_lost(self, record: TaskRecord, rank: RankId, reason: str) -> None:
        """A rank is gone that may hold a part of the output of this task, which still runs."""
        attempt = record.attempt
        if attempt is None or rank not in attempt.gang:
            return  # what it held was a leftover of an earlier attempt
        self._member_lost(record, attempt, rank, reason)

    def world_lost(self, record: TaskRecord, culprit: RankId | None, reason: str) -> None:
        """All ranks of this attempt are gone; only the culprit's task is to blame."""
        attempt = record.attempt
        assert attempt is not None, "a rank works for attempts only"
        attempt.running = 0
        if culprit is not None:
            self._member_lost(record, attempt, culprit, reason)
        self._advance(record, attempt, AttemptEvent.WORLD_GONE)
        self._conclude(record, attempt)

    def cancel(self, record: TaskRecord, reason: str) -> None:
        """A client does not want this running task any more."""
        attempt = record.attempt
        assert attempt is not None, "a running task has an attempt"
        before = self._advance(record, attempt, AttemptEvent.CANCEL)
        attempt.cancel = attempt.cancel or reason
        if before in _UNTOLD:
            self._abort(record, attempt, f"canceled: {reason}")

    def time_out(self, record: TaskRecord) -> None:
        """The time limit of this running attempt has passed."""
        attempt = record.attempt
        assert attempt is not None, "a running task has an attempt"
        if self._advance(record, attempt, AttemptEvent.TIME_OVER) in _UNTOLD:
            attempt.cause = failures.timed_out(record)
            self._abort(record, attempt, "its time limit has passed")

    # ------------------------------------------------------------ failure

    def _member_lost(self, record: TaskRecord, attempt: Attempt, rank: RankId, reason: str) -> None:
        group_rank = attempt.gang.index(rank)
        node = self._state.ranks.node(rank)
        failure = failures.rank_lost(record, group_rank, rank, node, reason)
        self._part_failed(record, attempt, group_rank, failure)

    def _part_failed(
        self, record: TaskRecord, attempt: Attempt, group_rank: int, failure: Failure
    ) -> None:
        if failure.kind is FailureKind.ABORTED:
            self._advance(record, attempt, AttemptEvent.MEMBER_LEFT)
        elif self._advance(record, attempt, AttemptEvent.MEMBER_FAILED) in _UNTOLD:
            node = self._state.ranks.node(attempt.gang[group_rank])
            attempt.cause = failures.own_failure(failure, group_rank, node)
            lost = failure.kind is FailureKind.RANK_LOST
            self._abort(record, attempt, failures.first_line(failure), group_rank, lost)

    def _advance(self, record: TaskRecord, attempt: Attempt, event: AttemptEvent) -> AttemptState:
        """Advance the attempt and, where that stops it, its task; returns where it was before."""
        before = self._state.tasks.move_attempt(record, attempt, event)
        if before is _WORKING:
            self._state.tasks.move(record, STOPS[event])
            self._state.communicators.retire(attempt.communicator_id)
        return before

    def _abort(
        self,
        record: TaskRecord,
        attempt: Attempt,
        reason: str,
        group_rank: int = -1,
        lost: bool = False,
    ) -> None:
        """Tell the members that still run to leave, and which member is to blame."""
        work = self._state.ranks.work
        running = tuple(rank for rank in attempt.gang if work[rank] is record)
        if running:
            self._state.commands.append(
                AbortGang(record.task, record.attempts, running, reason, group_rank, lost)
            )

    # ------------------------------------------------------------ end

    def _over(self, record: TaskRecord, attempt: Attempt) -> None:
        """All members have ended."""
        ended = _AFTER_ALL_ENDED.get(attempt.state)
        if ended is None:
            self._state.tasks.refuse(record, attempt.state, AttemptEvent.ALL_ENDED)
        attempt.state = ended
        if ended is _SUCCEEDED:
            if record.producers:
                self._dependencies.leave(record)
            self._outcomes.succeed(record, attempt)
        else:
            self._conclude(record, attempt)

    def _conclude(self, record: TaskRecord, attempt: Attempt) -> None:
        """The attempt has ended, but not well."""
        if attempt.state is AttemptState.FAILED:
            self._failed(record, attempt)
        elif attempt.state is AttemptState.CANCELED:
            assert attempt.cancel is not None, "only a client cancels"
            self._end(record, attempt, failures.canceled(record, attempt.cancel))
        else:
            self._try_again(record)

    def _end(self, record: TaskRecord, attempt: Attempt, failure: Failure) -> None:
        self._dependencies.leave(record)
        self._outcomes.fail(record, failure, ENDS[attempt.state])

    def _failed(self, record: TaskRecord, attempt: Attempt) -> None:
        accused = failures.unreachable(attempt)
        if accused is not None:
            self._evict_rank(attempt.gang[accused], "other ranks have lost their connection to it")
        failure = failures.cause_of(record, attempt, self._state.ranks)
        if failures.may_retry(record, failure):
            record.retries += 1
            self._try_again(record)
        elif self._was_false_start(record, attempt, failure):
            self._try_again(record)
        else:
            self._end(record, attempt, failure)

    def _was_false_start(self, record: TaskRecord, attempt: Attempt, failure: Failure) -> bool:
        """Whether the attempt could not work for a reason that will be gone next time."""
        ranks = self._state.ranks
        if failure.kind is FailureKind.DATA_LOST:
            explained = not all(producer.available for producer in record.producers)
        elif failures.nobody_began(attempt):
            explained = ranks.not_opened()
        else:
            return False
        if not explained:
            record.false_starts += 1
        return record.false_starts <= failures.FALSE_STARTS

    def _try_again(self, record: TaskRecord) -> None:
        record.attempt = None
        self._state.tasks.move(record, TaskEvent.RETRY)
        self._dependencies.leave(record)
        self._dependencies.await_inputs(record)


def running_tasks(work: Sequence[TaskRecord | None]) -> list[TaskRecord]:
    """The tasks that ranks work for, each once, by their first rank."""
    return list(dict.fromkeys(record for record in work if record is not None))
