"""The agent's shell: one thread, one loop, between the sockets and the pure scheduler.

Every message becomes an event, every command becomes messages; what goes to one peer in one turn of
the loop goes in one frame.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from elevon.agent.client_requests import ClientRequests
from elevon.agent.clients import ClientTable
from elevon.agent.dispatch import FunctionStore, run_messages
from elevon.agent.endpoints import Endpoints
from elevon.agent.journal import Journal
from elevon.agent.pool.launchers.protocol import Launcher
from elevon.agent.pool.world import WorldKeeper, rank_command
from elevon.agent.scheduling.events import (
    AbortGang,
    Command,
    DropData,
    EndRank,
    EndTask,
    Event,
    PartEnded,
    RepairWorld,
    StartGang,
    TimedOut,
)
from elevon.agent.scheduling.scheduler import Scheduler
from elevon.agent.timers import Timers
from elevon.model.ids import RankId, TaskId
from elevon.model.pilots import PilotDescription
from elevon.model.states import PILOT_LIFE, PilotEvent, PilotState
from elevon.model.transitions import History
from elevon.wire import refusals
from elevon.wire.channels import Poller, Unreadable
from elevon.wire.keys import ConnectionFile, write_private
from elevon.wire.messages import (
    AgentAlive,
    Drop,
    Exit,
    Interrupt,
    PartDone,
    PilotChanged,
    RankAlive,
    RankHello,
    RankMessage,
    Repair,
    Repaired,
    TaskEnded,
)

TICK_S = 0.25
HEARTBEAT_S = 1.0
REPAIR_WITHIN_S = 20.0
# How long a failed agent waits for a client that it can tell why.
TELL_WITHIN_S = 5.0


class Reactor:
    """One pilot's agent.

    Args:
        connection: keys and directory; the endpoints are filled in here.
        description: the pilot.
        launcher: how ranks are started.
        ready: called once the sockets are bound and the connection file is written.
        clock: the host's monotonic clock.
        validates: whether the scheduler asks its invariants after every event.
    """

    def __init__(
        self,
        connection: ConnectionFile,
        description: PilotDescription,
        launcher: Launcher,
        ready: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        validates: bool = False,
    ) -> None:
        self._clock = clock
        self._description = description
        self._directory = Path(connection.directory)
        self._endpoints = Endpoints(connection)
        connection_file = self._directory / "connection.json"
        write_private(connection_file, self._endpoints.connection)
        self._ready = ready
        self._poller = Poller()
        self._timers = Timers()
        self._scheduler = Scheduler(
            ranks=description.ranks,
            communicator_cache=description.communicator_cache,
            validates=validates,
        )
        self._journal = Journal(self._directory / "journal.sqlite")
        self._journal_batch: list[Event] = []
        self._clients = ClientTable(description.client_grace_s, clock())
        self._functions = FunctionStore()
        self._requests = ClientRequests(
            endpoints=self._endpoints,
            clients=self._clients,
            functions=self._functions,
            step=self._step,
            explain=self._scheduler.explain,
            shut_down=partial(self._finish, PilotEvent.CANCEL),
            status=self._pilot_changed,
            clock=clock,
        )
        self._awaiting_repair: set[RankId] = set()
        self._state = PilotState.STARTING
        self._history = History()
        self._reason = ""
        self._world = WorldKeeper(
            launcher=launcher,
            size=description.ranks,
            command=rank_command(connection_file),
            start_timeout_s=description.start_timeout_s,
            directory=self._directory,
            poller=self._poller,
            tell=self._step,
            fail=self._fail,
        )

    # -------------------------------------------------------------- life

    def run(self) -> None:
        """Serve until the pilot has ended; whatever happens, no rank outlives this call."""
        wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._poller.watch(wake)
        self._poller.watch(self._endpoints.clients)
        self._poller.watch(self._endpoints.ranks)
        try:
            self._world.start()
            self._ready()
            self._arm()
            self._loop(wake)
        finally:
            self._end()

    def _arm(self) -> None:
        now = self._clock()
        self._tick()
        self._beat()
        self._timers.at(now + self._description.start_timeout_s, self._check_started)
        if self._description.walltime_s is not None:
            over = partial(self._finish, PilotEvent.WALLTIME, "its walltime is over")
            self._timers.at(now + self._description.walltime_s, over)

    def _loop(self, wake: int) -> None:
        while not self._state.final:
            ready = self._poller.wait(self._timers.wait_s(self._clock()))
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 512)
            # What a rank said before it died comes first: a part that had ended has ended.
            self._receive_from_ranks()
            self._world.inspect(ready, self._clock())
            self._requests.receive()
            self._timers.run_due(self._clock())
            self._flush()

    def _end(self) -> None:
        for process in self._world.ranks:
            busy = self._scheduler.work_of(process.hello.rank) is not None
            self._endpoints.ranks.send(process.control if busy else process.work, Exit())
        self._world.stop(grace_s=1.0)
        self._tell_clients_of_the_end()
        self._journal.append(self._journal_batch)
        self._journal.close()
        self._endpoints.close()

    def _tell_clients_of_the_end(self) -> None:
        deadline = self._clock() + (TELL_WITHIN_S if self._state is PilotState.FAILED else 0.0)
        while not self._clients.present() and self._clock() < deadline:
            self._poller.wait(TICK_S)
            self._requests.receive()
        for client in self._clients.present():
            self._endpoints.clients.send(client, self._pilot_changed())

    def _on_signal(self, number: int, _: object) -> None:
        self._finish(PilotEvent.CANCEL, f"the agent got {signal.Signals(number).name}")

    def _finish(self, event: PilotEvent, reason: str) -> None:
        if not self._state.final:
            self._advance(event)
            self._reason = reason

    def _advance(self, event: PilotEvent) -> None:
        self._state = self._history.advance(PILOT_LIFE, "the pilot", self._state, event)

    def _fail(self, reason: str) -> None:
        starting = self._state is PilotState.STARTING
        self._finish(PilotEvent.START_FAILED if starting else PilotEvent.LOST, reason)

    def _pilot_changed(self) -> PilotChanged:
        return PilotChanged(self._state, len(self._world.ranks), self._reason)

    # -------------------------------------------------------------- timers

    def _tick(self) -> None:
        now = self._clock()
        for rank, reason in self._world.ranks.unwell(now):
            self._world.kill(rank, reason)
        self._clients.forget_silent(now)
        if self._clients.abandoned(now):
            self._finish(PilotEvent.CANCEL, "its last client is gone")
        self._timers.at(now + TICK_S, self._tick)

    def _beat(self) -> None:
        for client in self._clients.present():
            self._endpoints.to_client(client, AgentAlive())
        for process in self._world.ranks:
            self._endpoints.to_rank(process.control, AgentAlive())
        self._timers.at(self._clock() + HEARTBEAT_S, self._beat)

    def _check_started(self) -> None:
        if self._state is PilotState.STARTING:
            self._fail(
                f"only {len(self._world.ranks)} of {self._description.ranks} ranks came up within "
                f"start_timeout_s={self._description.start_timeout_s:g}. {self._world.log_tail()}"
            )

    # -------------------------------------------------------------- messages in

    def _receive_from_ranks(self) -> None:
        while (frame := self._endpoints.ranks.receive_nowait()) is not None:
            peer, messages = frame
            for message in messages:
                self._on_rank_message(peer, message)

    def _on_rank_message(self, peer: bytes, message: RankMessage | Unreadable) -> None:
        now = self._clock()
        match message:
            case Unreadable():
                self._refuse_rank(peer, message, now)
            case PartDone():
                self._part_done(peer, message, now)
            case RankAlive():
                self._world.ranks.heard(peer, now)
            case RankHello():
                self._awaiting_repair.discard(message.rank)
                self._world.joined(message, peer, now)
                self._check_active()
            case Repaired() if message.error:
                self._repair_failed(message.error)

    def _part_done(self, peer: bytes, message: PartDone, now: float) -> None:
        _, world, number = peer.split(b":")
        rank = RankId(int(number))
        if int(world) != self._world.number or rank not in self._world.ranks:
            return  # a late word from a world that is gone
        self._step(PartEnded(message.task, message.attempt, rank, message.outcome, now))

    def _refuse_rank(self, peer: bytes, message: Unreadable, now: float) -> None:
        done = refusals.part_done(message)
        if done is not None:
            self._part_done(peer, done, now)
            return
        _, world, number = peer.split(b":")
        if int(world) == self._world.number:
            self._world.kill(RankId(int(number)), str(message))

    def _check_active(self) -> None:
        if self._world.complete and self._state is PilotState.STARTING:
            self._advance(PilotEvent.RANKS_UP)
            for client in self._clients.present():
                self._endpoints.to_client(client, self._pilot_changed())

    # -------------------------------------------------------------- commands out

    def _step(self, event: Event) -> None:
        self._journal_batch.append(event)
        for command in self._scheduler.step(event):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case StartGang():
                self._start_gang(command)
            case EndTask():
                owner = self._clients.owner(command.task)
                if owner is not None:
                    self._endpoints.to_client(owner, TaskEnded(command.task, command.outcome))
            case AbortGang():
                self._abort_gang(command)
            case EndRank():
                self._world.kill(command.rank, command.reason)
            case DropData():
                self._drop(command)
            case RepairWorld():
                self._repair(command)

    def _start_gang(self, command: StartGang) -> None:
        task, attempt = command.submission.task, command.attempt
        for process, message in run_messages(command, self._world.ranks, self._functions):
            self._endpoints.to_rank(process.work, message)
        timeout_s = command.submission.description.options.timeout_s
        if timeout_s is not None:
            self._timers.at(self._clock() + timeout_s, partial(self._time_out, task, attempt))

    def _time_out(self, task: TaskId, attempt: int) -> None:
        if self._scheduler.is_running(task, attempt):
            self._step(TimedOut(task, attempt, self._clock()))

    def _abort_gang(self, command: AbortGang) -> None:
        interrupt = Interrupt(
            command.task, command.attempt, command.reason, command.group_rank, command.lost
        )
        for rank in command.ranks:
            if rank in self._world.ranks:
                self._endpoints.to_rank(self._world.ranks[rank].control, interrupt)
        grace_s = self._description.abort_grace_s
        self._timers.at(self._clock() + grace_s, partial(self._force_out, command))

    def _force_out(self, command: AbortGang) -> None:
        for rank in command.ranks:
            if self._scheduler.work_of(rank) == (command.task, command.attempt):
                late = f"it did not leave the task within {self._description.abort_grace_s:g} s of"
                self._world.kill(rank, f"{late}: {command.reason}")

    def _drop(self, command: DropData) -> None:
        for rank in command.ranks:
            if rank in self._world.ranks:
                self._endpoints.to_rank(self._world.ranks[rank].control, Drop((command.task,)))

    def _repair(self, command: RepairWorld) -> None:
        self._awaiting_repair = awaited = set(command.lost)
        if not self._world.replaces_ranks:  # otherwise they are on their way
            message = Repair(command.lost, self._world.rank_command)
            for process in self._world.ranks:
                self._endpoints.to_rank(process.work, message)
        self._timers.at(self._clock() + REPAIR_WITHIN_S, partial(self._repair_late, awaited))

    def _repair_late(self, awaited: set[RankId]) -> None:
        if awaited is self._awaiting_repair:  # and not those of a later repair
            self._repair_failed(f"no new world within {REPAIR_WITHIN_S:g} s")

    def _repair_failed(self, reason: str) -> None:
        if self._awaiting_repair:
            self._awaiting_repair.clear()
            self._world.lose(None, f"lost ranks could not be replaced: {reason}", self._clock())

    def _flush(self) -> None:
        self._endpoints.flush()
        if self._journal_batch:
            self._journal.append(self._journal_batch)
            self._journal_batch = []
