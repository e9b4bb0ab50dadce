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

from elevon.agent.scheduling import failures, placement
from elevon.agent.scheduling.dependencies import Dataflow
from elevon.agent.scheduling.events import AbortGang, PartEnded, StartGang
from elevon.agent.scheduling.outcomes import Endings
from elevon.agent.scheduling.records import Attempt, TaskRecord
from elevon.agent.scheduling.state import Board
from elevon.model.ids import RankId
from elevon.model.outcomes import Failure, FailureKind
from elevon.model.states import TaskEvent, TaskState


class Attempts:
    """Starts gangs and follows them to their end.

    Args:
        board: what is known.
        dataflow: where outputs and readers are counted.
        endings: where tasks end.
        convict: takes a rank that others cannot reach, and why, out of the pilot.
    """

    def __init__(
        self,
        board: Board,
        dataflow: Dataflow,
        endings: Endings,
        convict: Callable[[RankId, str], None],
    ) -> None:
        self._board = board
        self._dataflow = dataflow
        self._endings = endings
        self._convict = convict

    # ------------------------------------------------------------ start

    def start(self, record: TaskRecord) -> None:
        """Start a READY task; at least as many ranks as it needs are idle."""
        board = self._board
        board.queue.remove(record)
        board.book.move(record, TaskEvent.STARTED)
        inputs = placement.slice_inputs(record)
        gang = placement.choose_gang(board.slots.idle, record.size, inputs)
        context, evict = board.contexts.open(gang)
        self._begin(record, gang, context)
        board.commands.append(
            StartGang(
                record.submission,
                record.attempts,
                gang,
                context,
                evict,
                inputs,
                tuple([placement.input_value(producer) for producer in record.inputs]),
                tuple([producer.schema for producer in record.inputs]),
            )
        )

    def _begin(self, record: TaskRecord, gang: tuple[RankId, ...], context: int) -> None:
        size = record.size
        record.attempts += 1
        record.placed_s = self._board.at
        record.overtaken = 0
        record.attempt = Attempt(
            record.attempts, gang, context, self._board.step, size, [None] * size
        )
        for producer in record.producers:
            producer.readers += 1
        self._board.slots.assign(gang, record)

    # ------------------------------------------------------------ news

    def part_ended(self, event: PartEnded) -> None:
        """A part has ended. What is not about the rank's present work is a late word: ignored."""
        slots = self._board.slots
        record = slots.work[event.rank]
        if record is None or record.task != event.task or record.attempts != event.attempt:
            return
        attempt = record.attempt
        assert attempt is not None, "a rank works for attempts only"
        slots.free(event.rank)
        member = slots.member[event.rank]
        attempt.running -= 1
        attempt.parts[member] = event.outcome
        if event.outcome.failure is not None:
            self._part_failed(record, attempt, member, event.outcome.failure)
        elif record.dataset:
            self._dataflow.keep(record, event.rank)
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
        if attempt.cause is None and attempt.cancel is None:
            self._stopping(record, attempt, TaskEvent.PART_FAILED)
            self._try_again(record)
        else:
            self._over(record, attempt)

    def cancel(self, record: TaskRecord, reason: str) -> None:
        """A client does not want this running task any more."""
        attempt = record.attempt
        assert attempt is not None, "a running task has an attempt"
        attempt.cancel = attempt.cancel or reason
        self._stopping(record, attempt, TaskEvent.CANCEL)
        self._abort(record, attempt, f"canceled: {reason}")

    def time_out(self, record: TaskRecord) -> None:
        """The time limit of this running attempt has passed."""
        attempt = record.attempt
        assert attempt is not None, "a running task has an attempt"
        if attempt.cause is None and attempt.cancel is None:
            attempt.cause = failures.timed_out(record)
            self._stopping(record, attempt, TaskEvent.TIME_OVER)
            self._abort(record, attempt, "its time limit has passed")

    # ------------------------------------------------------------ failure

    def _member_lost(self, record: TaskRecord, attempt: Attempt, rank: RankId, reason: str) -> None:
        member = attempt.gang.index(rank)
        node = self._board.slots.node(rank)
        failure = failures.rank_lost(record, member, rank, node, reason)
        self._part_failed(record, attempt, member, failure)

    def _part_failed(
        self, record: TaskRecord, attempt: Attempt, member: int, failure: Failure
    ) -> None:
        self._stopping(record, attempt, TaskEvent.PART_FAILED)
        if failure.kind is FailureKind.ABORTED or attempt.cause is not None:
            return
        node = self._board.slots.node(attempt.gang[member])
        attempt.cause = failures.own_failure(failure, member, node)
        lost = failure.kind is FailureKind.RANK_LOST
        self._abort(record, attempt, failures.first_line(failure), member, lost)

    def _stopping(self, record: TaskRecord, attempt: Attempt, event: TaskEvent) -> None:
        self._board.book.move(record, event)
        self._board.contexts.retire(attempt.context)

    def _abort(
        self,
        record: TaskRecord,
        attempt: Attempt,
        reason: str,
        culprit: int = -1,
        lost: bool = False,
    ) -> None:
        """Tell the members that still run to leave, once, and who is to blame."""
        work = self._board.slots.work
        running = tuple(rank for rank in attempt.gang if work[rank] is record)
        if running and not attempt.abort_sent:
            attempt.abort_sent = True
            self._board.commands.append(
                AbortGang(record.task, attempt.number, running, reason, culprit, lost)
            )

    # ------------------------------------------------------------ end

    def _over(self, record: TaskRecord, attempt: Attempt) -> None:
        """No part runs any more."""
        if record.state is TaskState.RUNNING:
            self._dataflow.leave(record)
            self._endings.succeed(record, attempt)
        elif attempt.cancel is not None:
            self._dataflow.leave(record)
            failure = failures.canceled(record, attempt.cancel)
            self._endings.fail(record, failure, TaskEvent.CANCELED_PARTS_LEFT)
        else:
            self._failed(record, attempt)

    def _failed(self, record: TaskRecord, attempt: Attempt) -> None:
        accused = failures.unreachable(attempt)
        if accused is not None:
            self._convict(attempt.gang[accused], "other ranks have lost their connection to it")
        failure = failures.cause_of(record, attempt, self._board.slots)
        if failures.may_retry(record, failure):
            record.retries += 1
            self._try_again(record)
        elif self._was_false_start(record, attempt, failure):
            self._try_again(record)
        else:
            self._dataflow.leave(record)
            self._endings.fail(record, failure, TaskEvent.ALL_PARTS_LEFT)

    def _was_false_start(self, record: TaskRecord, attempt: Attempt, failure: Failure) -> bool:
        """Whether the attempt could not work for a reason that will be gone next time."""
        slots = self._board.slots
        if failure.kind is FailureKind.DATA_LOST:
            explained = not all(producer.available for producer in record.producers)
        elif failures.nobody_began(attempt):
            explained = slots.unfit = bool(slots.lost)
        else:
            return False
        if not explained:
            record.false_starts += 1
        return record.false_starts <= failures.FALSE_STARTS

    def _try_again(self, record: TaskRecord) -> None:
        record.attempt = None
        self._board.book.move(record, TaskEvent.RETRY)
        self._dataflow.leave(record)
        self._dataflow.await_inputs(record)


def running_tasks(work: Sequence[TaskRecord | None]) -> list[TaskRecord]:
    """The tasks that ranks work for, each once, by their first rank."""
    return list(dict.fromkeys(record for record in work if record is not None))
