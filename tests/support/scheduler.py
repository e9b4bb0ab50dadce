"""A scheduler with short words for its events and a memory for its commands."""

from __future__ import annotations

from elevon.agent.scheduling.events import (
    AbortGang,
    CancelAsked,
    Command,
    DropData,
    EndTask,
    Event,
    PartEnded,
    RankGone,
    RankJoined,
    Released,
    RepairWorld,
    StartGang,
    Submitted,
    TimedOut,
    WorldGone,
)
from elevon.agent.scheduling.scheduler import Scheduler
from elevon.model.ids import RankId, TaskId
from elevon.model.operations import Call, Join, Operation, Read, Sort
from elevon.model.outcomes import Failure, FailureKind, PartOutcome, TaskOutcome
from elevon.model.states import TaskState
from elevon.model.tasks import TaskDescription, TaskOptions, TaskSubmission

READ = Read(paths=("a.parquet",))
SORT = Sort(by=("x",), ascending=(True,))
JOIN = Join(left_on=("x",), right_on=("x",))


class Rig:
    """Ranks, nodes and clients in one: each call is one event, one second after the last.

    Args:
        ranks: of the pilot.
        cache: communicators that are kept.
        per_node: ranks on each node.
        join: whether all ranks join at once.
        validates: whether the invariants are asked after every event, not only when a test does.
    """

    def __init__(self, ranks=4, cache=8, per_node=4, join=True, validates=True):
        self.scheduler = Scheduler(ranks=ranks, communicator_cache=cache, validates=validates)
        self.per_node = per_node
        self.now = 0.0
        self.events: list[Event] = []
        self.log: list[Command] = []
        self.starts: dict[str, list[StartGang]] = {}
        self.ends: dict[str, list[TaskOutcome]] = {}
        if join:
            for rank in range(ranks):
                self.join(rank)

    def tell(self, event: Event) -> list[Command]:
        """One event; what it leads to is remembered."""
        self.events.append(event)
        commands = self.scheduler.step(event)
        for command in commands:
            if isinstance(command, StartGang):
                self.starts.setdefault(command.submission.task, []).append(command)
            elif isinstance(command, EndTask):
                self.ends.setdefault(command.task, []).append(command.outcome)
        self.log += commands
        return commands

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    # what ranks do

    def join(self, rank, node=None):
        node = node or f"node{rank // self.per_node}"
        return self.tell(RankJoined(RankId(rank), node, f"{node}:{rank}:{self.now}", self.tick()))

    def gone(self, rank, reason="killed"):
        return self.tell(RankGone(RankId(rank), reason, self.tick()))

    def world_gone(self, culprit=None, reason="mpiexec ended"):
        return self.tell(WorldGone(culprit, reason, self.tick()))

    def part(self, task, member, failure=None, attempt=None, **outcome):
        """A member of the last attempt ends."""
        start = self.starts[task][-1]
        message = PartEnded(
            TaskId(task),
            start.attempt if attempt is None else attempt,
            start.ranks[member],
            PartOutcome(failure=failure, **{"entered_s": 1.0, **outcome}),
            self.tick(),
        )
        return self.tell(message)

    def finish(self, task, rows=None, values=None, schema=b"schema"):
        """All members of the last attempt end well."""
        commands = []
        for member in range(len(self.starts[task][-1].ranks)):
            commands += self.part(
                task,
                member,
                rows=rows[member] if rows else 10,
                nbytes=8,
                value=values[member] if values else b"",
                schema=schema if member == 0 else b"",
            )
        return commands

    def fail(
        self,
        task,
        member,
        kind=FailureKind.ERROR,
        text="boom",
        unreachable=None,
        traceback="",
        **outcome,
    ):
        """A member of the last attempt fails."""
        failure = Failure(kind=kind, message=text, unreachable=unreachable, traceback=traceback)
        return self.part(task, member, failure, **outcome)

    # what clients say

    def submit(self, task, operation: Operation, *inputs, **options):
        description = TaskDescription(
            operation=operation, inputs=tuple(inputs), options=TaskOptions(**options)
        )
        submission = TaskSubmission(TaskId(task), description, self.now)
        return self.tell(Submitted(submission, self.tick()))

    def read(self, task, ranks=1, **options):
        return self.submit(task, READ, ranks=ranks, **options)

    def sort(self, task, source, ranks=1, **options):
        return self.submit(task, SORT, source, ranks=ranks, **options)

    def join_tables(self, task, left, right, ranks=1, **options):
        return self.submit(task, JOIN, left, right, ranks=ranks, **options)

    def call(self, task, *inputs, ranks=1, returns="rank0", **options):
        operation = Call("f", b"", number_of_inputs=len(inputs), returns=returns)
        return self.submit(task, operation, *inputs, ranks=ranks, returns=returns, **options)

    def cancel(self, task):
        return self.tell(CancelAsked(TaskId(task), "not needed", self.tick()))

    def time_out(self, task, attempt=1):
        return self.tell(TimedOut(TaskId(task), attempt, self.tick()))

    def release(self, task):
        return self.tell(Released(TaskId(task), self.tick()))

    # what there is to see

    def state(self, task) -> TaskState:
        return self.scheduler.state_of(TaskId(task))

    def why(self, task) -> str:
        return self.scheduler.explain(TaskId(task))

    def gang(self, task):
        return self.starts[task][-1].ranks

    def failure(self, task) -> Failure:
        failure = self.ends[task][-1].failure
        assert failure is not None, f"{task} has succeeded"
        return failure

    def known(self):
        return self.scheduler.statistics().known


def only(commands, kind):
    """The commands of one kind."""
    return [command for command in commands if isinstance(command, kind)]


def started(commands):
    return [command.submission.task for command in only(commands, StartGang)]


def ended(commands):
    return [command.task for command in only(commands, EndTask)]


def dropped(commands):
    return [(command.task, command.ranks) for command in only(commands, DropData)]


def aborted(commands):
    return [command.ranks for command in only(commands, AbortGang)]


def repairs(commands):
    return [command.lost for command in only(commands, RepairWorld)]
