"""The scheduler against a simulated world: ranks that work, fail, die and come back, in any order.

The world checks every command against what its ranks really do and hold. After each run everything
is brought to its end: then every task has ended, nothing is left on any rank, nothing is
remembered, and a second scheduler that is told the same events has decided the same.
"""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from elevon.agent.scheduling.events import (
    AbortGang,
    DropData,
    EndTask,
    Event,
    PartEnded,
    RepairWorld,
    StartGang,
)
from elevon.agent.scheduling.scheduler import Scheduler
from elevon.model.ids import TaskId
from elevon.model.outcomes import FailureKind, PartOutcome
from elevon.model.states import OutputState, TaskState
from tests.support.scheduler import Rig

numbers = st.integers(0, 2**16)
# Rules are drawn about equally often; what is rare in a real world happens one time in so many.
sometimes = st.sampled_from([False, False, True])
seldom = st.sampled_from([False] * 7 + [True])


class Part(msgspec.Struct, frozen=True):
    """What a rank works on, its communicator, and what it reads: (rank, task)."""

    task: str
    attempt: int
    member: int
    size: int
    communicator_id: int
    reads: frozenset[tuple[int, str]]


class World:
    """Ranks with stores and communicators. Every command is checked before it is carried out."""

    def __init__(self, rig: Rig, ranks: int, cache: int) -> None:
        self.rig = rig
        self.cache = cache
        self.ranks = ranks
        self.running: dict[int, Part] = {}
        self.alive: set[int] = set()
        self.lost: set[int] = set()
        self.repairing: set[int] = set()
        self.stores: dict[int, dict[str, int]] = {rank: {} for rank in range(ranks)}
        self.communicators: dict[int, dict[int, tuple[int, ...]]] = {r: {} for r in range(ranks)}
        self.spoiled: set[int] = set()
        self.rows: dict[tuple[str, int], dict[int, int]] = {}
        self.whole: dict[str, tuple[tuple[int, int], ...]] = {}
        self.attempts: dict[str, int] = {}
        self.released: set[str] = set()
        self.submitted: list[str] = []
        self.datasets: set[str] = set()

    def carry_out(self, commands) -> None:
        for command in commands:
            match command:
                case StartGang():
                    self._start(command)
                case AbortGang():
                    self._abort(command)
                case EndTask():
                    self._end(command)
                case DropData():
                    self._drop(command)
                case RepairWorld():
                    self._repair(command)

    def lose(self, rank: int) -> None:
        self.alive.discard(rank)
        if rank in self.running:
            self.spoiled.add(self.running.pop(rank).communicator_id)
        self.stores[rank].clear()
        self.spoiled.update(self.communicators[rank])
        self.communicators[rank].clear()

    def part_ended(self, rank: int, rows: int | None) -> Part:
        """``rows``: of the partition that it keeps, None where it failed."""
        part = self.running.pop(rank)
        if rows is None:
            self.spoiled.add(part.communicator_id)
        if rows is not None and part.task in self.datasets:
            self.stores[rank][part.task] = part.attempt
            self.rows.setdefault((part.task, part.attempt), {})[part.member] = rows
        return part

    def _start(self, start: StartGang) -> None:
        task, gang = start.submission.task, start.ranks
        options = start.submission.description.options
        assert not self.repairing, "nothing starts during a repair"
        assert len(gang) == len(set(gang)) == options.ranks
        assert set(gang) <= self.alive
        assert not set(gang) & self.running.keys(), "two tasks on one rank"
        assert start.attempt == self.attempts.get(task, 0) + 1
        self.attempts[task] = start.attempt
        assert all(task not in {t for _, t in p.reads} for p in self.running.values()), "readers"
        for name in options.after:
            assert self.rig.ends[name][0].failure is None
        reads = self._check_inputs(start)
        self._open(gang, start.communicator_id, start.evict)
        assert not start.communicator_id or start.communicator_id not in self.spoiled, (
            "it was aborted"
        )
        for member, rank in enumerate(gang):
            mine = frozenset((s.rank, s.task) for ss in start.inputs[member] for s in ss)
            assert mine <= reads
            part = Part(task, start.attempt, member, len(gang), start.communicator_id, mine)
            self.running[rank] = part

    def _check_inputs(self, start: StartGang) -> set[tuple[int, str]]:
        names = start.submission.description.inputs
        reads = set()
        for index, name in enumerate(names):
            if name not in self.datasets:
                assert start.values[index] == b"value"
                continue
            owners = self.whole[name]
            assert start.schemas[index] == b"schema"
            slices = [start.inputs[member][index] for member in range(len(start.ranks))]
            for piece in (piece for share in slices for piece in share):
                assert piece.task == name
                assert piece.rank in [rank for rank, _ in owners]
                assert piece.rank in self.alive
                assert name in self.stores[piece.rank], "dropped or lost data is used"
                assert piece.address == self.rig.addresses[piece.rank]
                reads.add((piece.rank, name))
            self._check_rows(owners, slices)
        return reads

    def _check_rows(self, owners, slices) -> None:
        covered = [
            (piece.rank, row)
            for share in slices
            for piece in share
            for row in range(piece.offset, piece.offset + piece.rows)
        ]
        assert covered == [(p, row) for p, count in owners for row in range(count)]
        if len(owners) == len(slices):
            whole = [((p, 0, count),) if count else () for p, count in owners]
            assert [tuple((s.rank, s.offset, s.rows) for s in ss) for ss in slices] == whole

    def _open(self, gang, communicator_id, evict) -> None:
        for rank in gang:
            held = self.communicators[rank]
            for number in evict:
                held.pop(number, None)
            assert len(held) <= self.cache, "what is not kept is freed"
            if communicator_id:
                assert held.setdefault(communicator_id, gang) == gang, "a number means one gang"
        assert bool(communicator_id) == (len(gang) > 1)

    def _abort(self, command: AbortGang) -> None:
        assert command.ranks
        for rank in command.ranks:
            part = self.running[rank]
            assert (part.task, part.attempt) == (command.task, command.attempt)
            self.spoiled.add(part.communicator_id)

    def _end(self, command: EndTask) -> None:
        task, outcome = command.task, command.outcome
        assert not any(part.task == task for part in self.running.values())
        if len(self.rig.ends[task]) > 1:
            assert self.rig.ends[task][0].failure is None
            assert task in self.datasets, "only a dataset that was made again is told again"
            assert task not in self.released
        if outcome.failure is None and task in self.datasets:
            assert [p.rank for p in outcome.partitions] == list(self.rig.gang(task))
            assert [p.rows for p in outcome.partitions] == [r for _, r in self.whole[task]]

    def settle(self, part: Part, gang) -> None:
        """Before the scheduler is told of the last part: the dataset it would make."""
        rows = self.rows.get((part.task, part.attempt), {})
        if part.task in self.datasets and len(rows) == part.size:
            self.whole[part.task] = tuple((gang[m], rows[m]) for m in range(part.size))

    def _drop(self, command: DropData) -> None:
        assert command.ranks
        for rank in command.ranks:
            assert rank in self.alive, "the dead have nothing to drop"
            read = any((rank, command.task) in part.reads for part in self.running.values())
            assert not read, "what is read is not dropped"
            del self.stores[rank][command.task]

    def _repair(self, command: RepairWorld) -> None:
        assert not self.running, "a world is repaired when it is idle"
        assert set(command.lost) == self.lost
        self.repairing = set(command.lost)


class Story(RuleBasedStateMachine):
    """Events in any order that a real world could bring."""

    @initialize(
        ranks=st.integers(1, 6),
        cache=st.integers(0, 3),
        per_node=st.integers(1, 3),
    )
    def begin(self, ranks, cache, per_node):
        self.ranks, self.cache = ranks, cache
        self.rig = Rig(ranks=ranks, cache=cache, per_node=per_node, join=False)
        self.rig.addresses = {}
        self.world = World(self.rig, ranks, cache)
        self._everybody_joins()

    # ---------------------------------------------------------------- clients

    @rule(
        kind=st.sampled_from(["read", "sort", "join", "call", "frame"]),
        ranks=st.integers(0, 12),
        inputs=st.tuples(numbers, numbers),
        after=st.lists(numbers, max_size=1),
        options=st.fixed_dictionaries(
            {
                "priority": st.integers(-1, 1),
                "retries": st.integers(0, 2),
                "retry_errors": st.booleans(),
            }
        ),
    )
    def submit(self, kind, ranks, inputs, after, options):
        rig, world = self.rig, self.world
        ranks = self.ranks + 1 if ranks == 12 else ranks % self.ranks + 1
        held = [task for task in world.submitted if task not in world.released]
        tables = [task for task in held if task in world.datasets]
        options["after"] = tuple(held[n % len(held)] for n in after if held)
        task = f"t{len(world.submitted)}"
        world.submitted.append(task)
        if kind != "call":
            world.datasets.add(task)
        sources = tables if kind in ("sort", "join") else held
        chosen = [sources[n % len(sources)] for n in inputs] if sources else []
        if kind == "sort" and chosen:
            commands = rig.sort(task, chosen[0], ranks=ranks, **options)
        elif kind == "join" and chosen:
            commands = rig.join_tables(task, *chosen, ranks=ranks, **options)
        elif kind == "call":
            commands = rig.call(task, *chosen[:1], ranks=ranks, **options)
        elif kind == "frame":
            commands = rig.call(task, *chosen, ranks=ranks, returns="dataset", **options)
        else:
            commands = rig.read(task, ranks=ranks, **options)
        world.carry_out(commands)

    @precondition(lambda self: self.world.submitted)
    @rule(which=numbers)
    def submit_again(self, which):
        task = self.world.submitted[which % len(self.world.submitted)]
        if task not in self.world.released:
            assert self.rig.read(task) == []

    @precondition(lambda self: self.world.submitted)
    @rule(which=numbers, really=sometimes)
    def cancel(self, which, really):
        if really:
            self.world.carry_out(self.rig.cancel(self._any_task(which)))

    @precondition(lambda self: self.world.submitted)
    @rule(which=numbers)
    def release(self, which):
        task = self._any_task(which)
        self.world.released.add(task)
        self.world.carry_out(self.rig.release(task))

    @precondition(lambda self: self.world.submitted)
    @rule(which=numbers, attempt=st.integers(1, 3), really=sometimes)
    def time_out(self, which, attempt, really):
        if really:
            self.world.carry_out(self.rig.time_out(self._any_task(which), attempt))

    # ---------------------------------------------------------------- ranks

    @precondition(lambda self: self.world.running)
    @rule(which=numbers, rows=st.integers(0, 9))
    def part_ends_well(self, which, rows):
        self._end_part(self._busy(which), None, rows)

    @precondition(lambda self: self.world.running)
    @rule(which=numbers, rows=st.lists(st.integers(0, 9), min_size=1))
    def task_ends_well(self, which, rows):
        task = self.world.running[self._busy(which)].task
        while ranks := [rank for rank, part in self.world.running.items() if part.task == task]:
            rank = ranks[which % len(ranks)]
            attempt = self.world.running[rank].attempt
            self._end_part(rank, None, rows[rank % len(rows)])
            if self.rig.starts[task][-1].attempt != attempt:
                break

    @precondition(lambda self: self.world.running)
    @rule(
        which=numbers,
        kind=st.sampled_from([FailureKind.ERROR, FailureKind.ABORTED, FailureKind.DATA_LOST]),
        entered=st.booleans(),
        really=sometimes,
    )
    def part_fails(self, which, kind, entered, really):
        if really:
            self._end_part(self._busy(which), kind, None, entered_s=float(entered))

    @precondition(lambda self: self.rig.starts)
    @rule(which=numbers)
    def late_word(self, which):
        """About an attempt that is over: nothing follows."""
        task = list(self.rig.starts)[which % len(self.rig.starts)]
        start = self.rig.starts[task][0]
        busy = self.world.running.get(start.ranks[0])
        if busy is None or (busy.task, busy.attempt) != (task, start.attempt):
            late = PartEnded(TaskId(task), start.attempt, start.ranks[0], PartOutcome(), 0.0)
            assert self.rig.tell(late) == []

    @rule(which=numbers)
    def join(self, which):
        absent = self._can_join()
        if absent:
            self._join(absent[which % len(absent)])

    @rule()
    def everybody_joins(self):
        self._everybody_joins()

    @precondition(lambda self: self.world.alive)
    @rule(which=numbers, really=sometimes)
    def die(self, which, really):
        if not really:
            return
        alive = sorted(self.world.alive)
        rank = alive[which % len(alive)]
        self.world.lose(rank)
        self.world.lost.add(rank)
        self.world.carry_out(self.rig.gone(rank))

    @precondition(lambda self: self.world.alive)
    @rule(which=numbers, blamed=st.booleans(), really=seldom)
    def world_ends(self, which, blamed, really):
        if not really:
            return
        world, alive = self.world, sorted(self.world.alive)
        for rank in alive:
            world.lose(rank)
        world.lost.clear()
        world.repairing.clear()
        world.carry_out(self.rig.world_gone(alive[which % len(alive)] if blamed else None))

    # ---------------------------------------------------------------- what always holds

    @invariant()
    def numbers_agree(self):
        if not hasattr(self, "world"):
            return
        numbers, world = self.rig.scheduler.statistics(), self.world
        assert numbers.alive == len(world.alive)
        assert numbers.idle == len(world.alive) - len(world.running)
        assert numbers.lost == len(world.lost)
        assert numbers.submitted == len(world.submitted)
        assert numbers.communicators <= self.cache

    @invariant()
    def the_first_in_the_queue_does_not_fit_what_is_idle(self):
        if not hasattr(self, "world") or self.world.lost:
            return
        ready = [r for r in self._records() if r.state is TaskState.READY]
        idle = len(self.world.alive) - len(self.world.running)
        if ready:
            first = min(ready, key=lambda r: (-self._options(r).priority, r.number))
            assert first.size > idle

    @invariant()
    def tasks_wait_for_what_is_not_there(self):
        for record in self._records() if hasattr(self, "world") else ():
            absent = sum(not producer.available for producer in record.producers)
            if record.state is TaskState.WAITING:
                before = map(self._record, dict.fromkeys(self._options(record).after))
                absent += sum(record in (r.followers or ()) for r in before if r)
                assert record.missing == absent > 0
                assert "waits for" in self.rig.why(record.task)
            elif record.state is TaskState.READY:
                assert absent == 0
                assert "is ready and needs" in self.rig.why(record.task)

    @invariant()
    def data_is_available_where_it_is(self):
        for record in self._records() if hasattr(self, "world") else ():
            if record.state is TaskState.DONE and record.dataset:
                owners = self.world.whole[record.task]
                there = all(record.task in self.world.stores[rank] for rank, _ in owners)
                assert record.available == (there and record.output is not OutputState.DROPPED)

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self._bring_to_an_end()
        for task in self.world.submitted:
            assert self.rig.ends[task], f"{task} has not ended"
        for task in self.world.submitted:
            self.world.released.add(task)
            self.world.carry_out(self.rig.release(task))
        assert self.rig.known() == 0, "all is ended and released, and yet remembered"
        assert not any(self.world.stores.values()), "data that nobody needs is left"
        self._replay()

    # ---------------------------------------------------------------- helpers

    def _bring_to_an_end(self):
        """All ranks come back and all parts end well: nothing may wait for ever."""
        for _ in range(200 * (1 + len(self.world.submitted))):
            self._everybody_joins()
            if not self.world.running:
                break
            self._end_part(min(self.world.running), None, 3)
        unfinished = [r.task for r in self._records() if not r.final]
        assert not unfinished, [self.rig.why(task) for task in unfinished]

    def _replay(self):
        again = Scheduler(ranks=self.ranks, communicator_cache=self.cache)
        encode, decode = msgspec.msgpack.encode, msgspec.msgpack.Decoder(Event).decode
        log = [c for event in self.rig.events for c in again.step(decode(encode(event)))]
        assert log == self.rig.log
        assert again.snapshot() == self.rig.scheduler.snapshot()

    def _can_join(self):
        """Who may come: those of a new world, and the lost once their replacement is asked for."""
        world = self.world
        waiting = world.lost - world.repairing
        return sorted(set(range(self.ranks)) - world.alive - waiting)

    def _everybody_joins(self):
        for rank in self._can_join():
            self._join(rank)

    def _join(self, rank):
        world = self.world
        world.alive.add(rank)
        world.lost.discard(rank)
        world.repairing.discard(rank)
        node = f"node{rank // self.rig.per_node}"
        self.rig.addresses[rank] = f"{node}:{rank}:{self.rig.now}"
        world.carry_out(self.rig.join(rank))

    def _end_part(self, rank, kind, rows, **outcome):
        part = self.world.part_ended(rank, rows)
        gang = self.rig.gang(part.task)
        if kind is None:
            self.world.settle(part, gang)
            schema = b"schema" if part.member == 0 else b""
            value = b"value"
            commands = self.rig.part(
                part.task, part.member, rows=rows, value=value, schema=schema, **outcome
            )
        else:
            commands = self.rig.fail(part.task, part.member, kind=kind, **outcome)
        self.world.carry_out(commands)

    def _any_task(self, which):
        return self.world.submitted[which % len(self.world.submitted)]

    def _busy(self, which):
        running = sorted(self.world.running)
        return running[which % len(running)]

    def _records(self):
        return list(self.rig.scheduler._state.tasks.records.values())

    def _record(self, task):
        return self.rig.scheduler._state.tasks.records.get(task)

    def _options(self, record):
        return record.submission.description.options


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=150, stateful_step_count=50)
