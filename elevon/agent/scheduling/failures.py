"""Why a task did not succeed, in words for a person, and whether it may be started again.

Every message says what, where, why and what to do.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from elevon.agent.scheduling.ranks import RankTable
from elevon.agent.scheduling.records import Attempt, TaskRecord
from elevon.model.ids import RankId, TaskId
from elevon.model.outcomes import Failure, FailureKind

# A fetch, or the opening of a communicator, can fail because a rank died a moment before the agent
# hears of it: the task is started again, at no cost to its retries. Three times are enough for that
# moment (a start and a refused fetch take milliseconds, the news of a death about one); a partition
# that is really missing must not keep its consumer busy for ever.
FALSE_STARTS = 3
# The loss of a whole world should not make a message of a thousand lines.
_RANKS_NAMED = 3
# A failure that others quote, in characters: each of a million descendants carries it.
_QUOTED = 1_000


def label(record: TaskRecord) -> str:
    """How messages name a task: its id, and its name in reports."""
    return f"{record.task} ({record.submission.description.name})"


def ranks_of(count: int) -> str:
    """``1 rank``, ``2 ranks``."""
    return f"{count} rank" if count == 1 else f"{count} ranks"


def first_line(failure: Failure) -> str:
    """A failure in one line of bounded length; of a consequence, this is the root's text."""
    line = failure.message.partition("\n")[0]
    return line if len(line) <= _QUOTED else line[: _QUOTED - 3] + "..."


def too_large(record: TaskRecord, ranks: RankTable) -> Failure:
    """The gang is larger than the pilot will ever be."""
    return Failure(
        kind=FailureKind.RESOURCES,
        message=(
            f"task {label(record)} asks for {ranks_of(record.size)}, but the pilot has "
            f"{ranks.total}: ask for fewer ranks, or start a larger pilot"
        ),
    )


def unknown_input(record: TaskRecord, task: TaskId) -> Failure:
    """An id in inputs or after that the agent does not know."""
    return Failure(
        kind=FailureKind.DEPENDENCY,
        message=(
            f"task {label(record)} needs {task}, which this agent does not know: it was never "
            "submitted here, or its result was released; submit it to this pilot, and keep its "
            "Task or Dataset until its consumers are submitted"
        ),
    )


def no_dataset(record: TaskRecord, producer: TaskRecord) -> Failure:
    """A frame operation on a value."""
    return Failure(
        kind=FailureKind.DEPENDENCY,
        message=(
            f"task {label(record)} needs a dataset, but its input {label(producer)} returns a "
            'value: submit that function with options(returns="dataset")'
        ),
    )


def dependency(record: TaskRecord, failed: TaskRecord) -> Failure:
    """A task that this one needs has ended without a result.

    However long the chain of consequences, each names its root, quotes it once, in the first line,
    and says how far away it is; so the failures of a chain take space in proportion to its length.
    """
    failure = failed.failure
    assert failure is not None, "only what has failed is inherited"
    root = failed.task if failure.cause is None else failure.cause
    distance = failure.distance + 1
    where = f" ({distance} steps after {root}, which failed first)" if distance > 1 else ""
    return Failure(
        kind=FailureKind.DEPENDENCY,
        message=(
            f"{first_line(failure)}\ntask {label(record)} cannot run because {label(failed)}, "
            f"which it needs, did not succeed{where}"
        ),
        cause=root,
        distance=distance,
    )


def rank_lost(record: TaskRecord, group_rank: int, rank: RankId, node: str, reason: str) -> Failure:
    """A member of the gang is gone."""
    retries = record.submission.description.options.retries
    advice = "options(retries=1) would have it started again"
    if retries:
        advice = f"after {retries} retries it is given up: look into that rank's log and memory"
    return Failure(
        kind=FailureKind.RANK_LOST,
        message=(
            f"task {label(record)} lost rank {rank} (number {group_rank} of its "
            f"{record.size}) on {node}: {reason}; {advice}"
        ),
        rank=group_rank,
        host=node,
    )


def data_lost(record: TaskRecord, damaged: TaskRecord, blocker: TaskRecord) -> Failure:
    """An input is gone and cannot be made again, because of ``blocker``."""
    lost = list((blocker.lost or damaged.lost or {}).items())
    where = "; ".join(f"rank {rank}: {reason}" for rank, reason in lost[:_RANKS_NAMED])
    if len(lost) > _RANKS_NAMED:
        where += f"; and {len(lost) - _RANKS_NAMED} more ranks"
    return Failure(
        kind=FailureKind.DATA_LOST,
        message=(
            f"task {label(record)} needs dataset {label(damaged)}, of which partitions are lost "
            f"({where or 'it was dropped after its release'}), and {_why_not_again(blocker)}"
        ),
    )


def recompute_failed(record: TaskRecord, damaged: TaskRecord, failure: Failure) -> Failure:
    """An input was lost, and running its producer again failed.

    For its client the producer had ended well: so this failure, and not that one, is the root of
    what follows. It quotes it in its first line, as consequences do.
    """
    own = failure.kind is FailureKind.ERROR
    return Failure(
        kind=FailureKind.DATA_LOST,
        message=(
            f"{first_line(failure)}\ntask {label(record)} needs dataset {label(damaged)}, which "
            "was lost with its rank, and running it again failed"
        ),
        traceback=failure.traceback if own else "",
    )


def canceled(record: TaskRecord, reason: str) -> Failure:
    """A client does not want it any more."""
    return Failure(
        kind=FailureKind.CANCELED, message=f"task {label(record)} was canceled: {reason}"
    )


def timed_out(record: TaskRecord) -> Failure:
    """The attempt took too long."""
    limit = record.submission.description.options.timeout_s
    return Failure(
        kind=FailureKind.TIMEOUT,
        message=(
            f"task {label(record)} ran longer than its timeout_s={limit:g}: raise the limit or "
            "give it more ranks"
            if limit is not None
            else f"task {label(record)} ran longer than it may"
        ),
    )


def own_failure(failure: Failure, group_rank: int, node: str) -> Failure:
    """What a member reported, with its number in the gang and its host filled in."""
    return msgspec.structs.replace(failure, rank=group_rank, host=failure.host or node)


def cause_of(record: TaskRecord, attempt: Attempt, ranks: RankTable) -> Failure:
    """The cause of an attempt that failed and that all members have left."""
    if attempt.cause is not None:
        return attempt.cause
    for group_rank, rank in enumerate(attempt.gang):
        reason = ranks.lost_since(rank, attempt.started_step)
        if reason is not None:
            return rank_lost(record, group_rank, rank, ranks.node(rank), reason)
    return _nobody_said_why(record, attempt)


def unreachable(attempt: Attempt) -> int | None:
    """The member that most of the others could not reach, where no other cause is known.

    Of the two ends of one broken connection either will do.
    """
    if attempt.cause is not None:
        return None
    failures = ((m, part.failure) for m, part in enumerate(attempt.parts) if part is not None)
    named = ((m, f.unreachable) for m, f in failures if f is not None)
    votes = Counter(other for m, other in named if other is not None and other != m)
    return max(votes, key=lambda other: (votes[other], other), default=None)


def nobody_began(attempt: Attempt) -> bool:
    """Whether no member came to its work and none says why: the communicator did not open."""
    parts = attempt.parts
    return attempt.cause is None and all(part and not part.entered_s for part in parts)


def may_retry(record: TaskRecord, failure: Failure) -> bool:
    """Whether a failure of this kind may cost the task another retry."""
    options = record.submission.description.options
    retried = failure.kind is FailureKind.RANK_LOST or (
        failure.kind is FailureKind.ERROR and options.retry_errors
    )
    return retried and record.retries < options.retries


def _nobody_said_why(record: TaskRecord, attempt: Attempt) -> Failure:
    parts = enumerate(attempt.parts)
    group_rank, first = next((m, p.failure) for m, p in parts if p is not None and p.failure)
    return msgspec.structs.replace(
        first,
        kind=FailureKind.ERROR,
        rank=group_rank,
        message=(
            f"every failed member of task {label(record)} left because another had failed, and "
            f"none said why; member {group_rank} said: {first.message}"
        ),
    )


def _why_not_again(blocker: TaskRecord) -> str:
    operation = blocker.submission.description.operation
    if blocker.failure is not None:
        return f"{label(blocker)} failed when it ran again: {first_line(blocker.failure)}"
    assert not operation.repeatable, "nothing else keeps a task from running again"
    return (
        f"{label(blocker)} is not run again, because a function may have effects and a "
        "client's table may be gone: submit it and its consumers again"
    )
