"""What holds between any two events: each invariant once, under its name.

O(tasks + ranks), so tests ask after every step, and an agent only where ELEVON_VALIDATE=1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from elevon.agent.scheduling.records import TaskRecord
from elevon.agent.scheduling.state import SchedulerState
from elevon.model.ids import RankId
from elevon.model.states import TOGETHER, OutputState, RankState, TaskState, WorldState
from elevon.model.transitions import InvariantBroken, Key

# What is wrong, and with which task or rank.
Breach: TypeAlias = tuple[Key, str]

_WORLD: Final = "the world of ranks"


def validate(state: SchedulerState) -> None:
    """Ask every invariant.

    Raises:
        InvariantBroken: one does not hold; the message names it, and tells the story of its key.
    """
    for invariant in INVARIANTS:
        for key, problem in invariant(state):
            raise InvariantBroken(
                f"{invariant.__name__.replace('_', ' ')}: {key}: {problem}; "
                f"{state.history.story(key)}. This is a defect of Elevon: please report it with "
                "this message"
            )


def machines_of_a_task_go_together(state: SchedulerState) -> Iterator[Breach]:
    """Task, attempt and output are in states that ``TOGETHER`` allows."""
    for record in _records(state):
        attempts, outputs = TOGETHER[record.state]
        now = record.attempt.state if record.attempt is not None else None
        if (now not in attempts) if attempts else (now is not None):
            yield record.task, f"{record.state.value} with the attempt {now}"
        if record.output not in outputs:
            yield record.task, f"{record.state.value} with the output {record.output.value}"


def unfinished_tasks_are_counted(state: SchedulerState) -> Iterator[Breach]:
    """The counts by state are those of the records; tasks that have ended may be forgotten."""
    counted = Counter(record.state for record in _records(state))
    for task_state, number in state.tasks.in_state.items():
        if number < counted[task_state] or (not task_state.final and number != counted[task_state]):
            yield "", f"{number} tasks {task_state.value}, {counted[task_state]} records"


def the_queue_holds_ready_tasks(state: SchedulerState) -> Iterator[Breach]:
    """All of them, and no other."""
    queued, ready = set(state.queue.keys()), TaskState.READY
    for record in _records(state):
        if (record.state is ready) != (record.key in queued):
            yield record.task, f"{record.state.value}, queued: {record.key in queued}"


def ranks_do_what_their_state_says(state: SchedulerState) -> Iterator[Breach]:
    """Busy ones work for an attempt that has them, idle ones can be taken, no other does either."""
    ranks = state.ranks
    for number, now in enumerate(ranks.states):
        rank, work = RankId(number), ranks.work[number]
        if (now is RankState.BUSY) != (work is not None):
            yield rank, f"{now.value}, with work: {work is not None}"
        if (now is RankState.IDLE) != ranks.idle.is_idle(rank):
            yield rank, f"{now.value}, idle: {ranks.idle.is_idle(rank)}"
        if work is not None and not _is_member(work, rank, ranks.group_rank[number]):
            yield rank, f"works for {work.task}, which does not know it"


def ranks_are_counted(state: SchedulerState) -> Iterator[Breach]:
    """The numbers of idle and of busy ranks are those of their states."""
    counted = Counter(state.ranks.states)
    if state.ranks.idle.count != counted[RankState.IDLE]:
        yield _WORLD, f"{state.ranks.idle.count} counted, {counted[RankState.IDLE]} idle"
    if state.ranks.busy != counted[RankState.BUSY]:
        yield _WORLD, f"{state.ranks.busy} counted, {counted[RankState.BUSY]} busy"


def attempts_count_the_parts_that_run(state: SchedulerState) -> Iterator[Breach]:
    """``running`` is the number of ranks that work for the task."""
    working = Counter(work.task for work in state.ranks.work if work is not None)
    for record in _records(state):
        running = record.attempt.running if record.attempt is not None else 0
        if running != working[record.task]:
            yield record.task, f"{running} parts run, {working[record.task]} ranks work"


def lost_ranks_damage_the_world(state: SchedulerState) -> Iterator[Breach]:
    """The lost ones are those that are to be replaced, and the world is intact without any."""
    ranks = state.ranks
    gone = {r for r, now in enumerate(ranks.states) if now in (RankState.LOST, RankState.AWAITED)}
    for rank in gone ^ set(ranks.lost):
        yield rank, f"{ranks.states[rank].value}, to be replaced: {rank in ranks.lost}"
    if (ranks.world is WorldState.INTACT) != (not gone):
        yield _WORLD, f"{ranks.world.value} with {len(gone)} lost ranks"


def a_world_in_repair_awaits_all_that_are_lost(state: SchedulerState) -> Iterator[Breach]:
    """Their replacement was asked for, and nothing runs meanwhile; otherwise none is awaited."""
    ranks = state.ranks
    repairing = ranks.world is WorldState.REPAIRING
    for rank in ranks.lost:
        if repairing != (ranks.states[rank] is RankState.AWAITED):
            yield rank, f"{ranks.states[rank].value} in a world that is {ranks.world.value}"
    if repairing and ranks.busy:
        yield _WORLD, f"{ranks.busy} ranks are busy during a repair"


def readers_are_running_attempts(state: SchedulerState) -> Iterator[Breach]:
    """``readers`` is the number of attempts that read a task's output."""
    reading = Counter(
        producer.task
        for record in _records(state)
        if record.attempt is not None
        for producer in record.producers
    )
    for record in _records(state):
        if record.readers != reading[record.task]:
            yield record.task, f"{record.readers} readers, {reading[record.task]} attempts"


def consumers_are_unfinished_tasks(state: SchedulerState) -> Iterator[Breach]:
    """Each unfinished task is known to its producers as a consumer, and nobody else is."""
    for record in _records(state):
        for producer in record.producers:
            if not record.final and record not in (producer.consumers or ()):
                yield record.task, f"no consumer of {producer.task}, which it needs"
        for consumer in record.consumers or ():
            if consumer.final or record not in consumer.producers:
                yield record.task, f"has the consumer {consumer.task}, which does not need it"


def tasks_wait_for_what_is_not_there(state: SchedulerState) -> Iterator[Breach]:
    """``missing`` counts it: outputs that are not whole, and tasks that must have ended first."""
    follows = Counter(task for record in _records(state) for task in record.followers or ())
    for record in _records(state):
        if record.state is not TaskState.WAITING and record.state is not TaskState.READY:
            continue
        absent = sum(not producer.available for producer in record.producers) + follows[record]
        if record.missing != absent or (record.state is TaskState.READY) != (not absent):
            yield record.task, f"{record.state.value} for {record.missing}, {absent} are not there"


def holders_are_counted(state: SchedulerState) -> Iterator[Breach]:
    """``holders`` is the number of records that have it as a producer, or follow it."""
    held = Counter(producer for record in _records(state) for producer in record.producers)
    for record in _records(state):
        holders = held[record] + len(record.followers or ())
        if record.holders != holders:
            yield record.task, f"{record.holders} holders, {holders} records"


def ranks_and_tasks_agree_on_what_is_resident(state: SchedulerState) -> Iterator[Breach]:
    """``resident`` and ``kept_on`` are two indexes of one fact, and only living ranks hold data."""
    resident = state.ranks.resident
    for number, held in enumerate(resident):
        rank = RankId(number)
        if held and not state.ranks.is_up(rank):
            yield rank, f"{state.ranks.states[rank].value}, and holds {len(held)} outputs"
        for record in held:
            if rank not in (record.kept_on or ()):
                yield record.task, f"is on rank {rank}, which its record does not know"
    for record in _records(state):
        for rank in record.kept_on or ():
            if record not in resident[rank]:
                yield record.task, f"is said to be on rank {rank}, which does not hold it"


def whole_datasets_are_on_their_ranks(state: SchedulerState) -> Iterator[Breach]:
    """All partitions; where one is not, a rank has taken it along, and the output is damaged."""
    for record in _records(state):
        if record.output is OutputState.WHOLE and record.dataset:
            for partition in record.partitions:
                if partition.rank not in (record.kept_on or ()):
                    yield record.task, f"nothing of it is on rank {partition.rank}"
        elif record.output is OutputState.DAMAGED and not record.lost:
            yield record.task, "damaged, but no rank is lost that held it"


def ends_are_told(state: SchedulerState) -> Iterator[Breach]:
    """A client knows of the end of each task that has ended."""
    for record in _records(state):
        if record.final and not record.told:
            yield record.task, f"{record.state.value}, and its handle is {record.handle.value}"


def what_is_not_needed_is_forgotten(state: SchedulerState) -> Iterator[Breach]:
    """A task that has ended, is released and held by none; and none is left to be ended."""
    for record in _records(state):
        if record.final and record.released and not record.holders:
            yield record.task, f"{record.state.value}, released and held by none, yet remembered"
    for record, _ in state.unrunnable:
        yield record.task, "can never run, and was not ended"


def communicators_have_living_members(state: SchedulerState) -> Iterator[Breach]:
    """A communicator with a dead member is never used again."""
    for gang in state.communicators.gangs():
        for rank in gang:
            if not state.ranks.is_up(rank):
                yield rank, f"dead, and in the communicator of {gang}"
    for rank in state.communicators.unfreed():
        if not state.ranks.is_up(rank):
            yield rank, "dead, and has communicators to free"


INVARIANTS: Final[tuple[Callable[[SchedulerState], Iterator[Breach]], ...]] = (
    machines_of_a_task_go_together,
    unfinished_tasks_are_counted,
    the_queue_holds_ready_tasks,
    ranks_do_what_their_state_says,
    ranks_are_counted,
    attempts_count_the_parts_that_run,
    lost_ranks_damage_the_world,
    a_world_in_repair_awaits_all_that_are_lost,
    readers_are_running_attempts,
    consumers_are_unfinished_tasks,
    tasks_wait_for_what_is_not_there,
    holders_are_counted,
    ranks_and_tasks_agree_on_what_is_resident,
    whole_datasets_are_on_their_ranks,
    ends_are_told,
    what_is_not_needed_is_forgotten,
    communicators_have_living_members,
)


def _records(state: SchedulerState) -> Iterator[TaskRecord]:
    return iter(state.tasks.records.values())


def _is_member(record: TaskRecord, rank: RankId, group_rank: int) -> bool:
    gang = record.attempt.gang if record.attempt is not None else ()
    return group_rank < len(gang) and gang[group_rank] == rank
