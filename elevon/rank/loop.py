"""A rank: one worker process, its two channels and its loop.

The main thread runs tasks and blocks on its work channel in between, never inside MPI, where it
would spin. The control thread answers heartbeats and interrupts while a task runs, and ends the
process when the agent is gone: an orphaned rank must not live on.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from elevon.errors import DescriptionError, WireError
from elevon.model.ids import RankId
from elevon.model.outcomes import PartOutcome
from elevon.rank.executor import Executor, World
from elevon.rank.parent_death import die_with_parent
from elevon.rank.store import PartitionStore
from elevon.wire.channels import Dealer, Poller, Unreadable, encode, end_context, new_context
from elevon.wire.data import socket_of_rank
from elevon.wire.keys import ConnectionFile
from elevon.wire.messages import (
    AgentAlive,
    ControlMessage,
    Drop,
    Exit,
    Interrupt,
    PartDone,
    RankAlive,
    RankHello,
    RankMessage,
    Repair,
    Repaired,
    RunTask,
    WorkMessage,
)
from elevon.wire.refusals import part_done, unreadable

if TYPE_CHECKING:
    from elevon.comm.connect.rendezvous import GroupName

HEARTBEAT_S = 1.0
# The agent beats once a second; a rank that has heard nothing for this long is an orphan.
ORPHANED_AFTER_S = 15.0
ORPHANED_EXIT_CODE = 75
CONTROL_LOST_EXIT_CODE = 76
CUT_OFF_EXIT_CODE = 77
# Ranks of a larger TCP world connect when a task first brings them together.
CONNECTED_AT_ONCE = 32


class Channels:
    """The two connections of a rank: work (main thread) and control (control thread)."""

    def __init__(self, context: Any, connection: ConnectionFile, rank: RankId, world: int) -> None:
        def dial(kind: str, incoming: Any) -> Dealer[Any, RankMessage]:
            return Dealer(
                context,
                connection.ranks_endpoint,
                identity=f"{kind}:{world}:{rank}".encode(),
                keys=connection.keys.rank,
                server_public=connection.keys.agent.public,
                incoming=incoming,
            )

        self.work: Dealer[WorkMessage, RankMessage] = dial("work", WorkMessage)
        self.control: Dealer[ControlMessage, RankMessage] = dial("control", ControlMessage)


class ControlThread(threading.Thread):
    """Serves the control channel until the process ends."""

    def __init__(
        self,
        channel: Dealer[ControlMessage, RankMessage],
        executor: Executor,
        store: PartitionStore,
        world: RankWorld,
        agent: int | None,
    ) -> None:
        super().__init__(name="control", daemon=True)
        self._agent = agent
        self._channel = channel
        self._executor = executor
        self._store = store
        self._world = world

    def run(self) -> None:
        """Serve; a rank whose control thread is gone could hang unseen, so it ends with it."""
        try:
            self._serve()
        except BaseException:  # noqa: BLE001 - the border: told in the log, and by dying
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(CONTROL_LOST_EXIT_CODE)

    def _serve(self) -> None:
        poller = Poller()
        poller.watch(self._channel)
        if self._agent is not None:
            poller.watch(self._agent)
        self._channel.send(RankAlive())
        _preload()
        heard = beat = time.monotonic()
        while True:
            ready = poller.wait(HEARTBEAT_S / 2)
            now = time.monotonic()
            while messages := self._channel.receive_nowait():
                heard = now
                for message in messages:
                    self._obey(message)
            if now - beat >= HEARTBEAT_S:
                self._channel.send(RankAlive())
                beat = now
                self._end_if_cut_off(now)
            if self._agent in ready or now - heard > ORPHANED_AFTER_S:
                print(f"agent dead or silent ({now - heard:.0f} s): ending", file=sys.stderr)
                sys.stderr.flush()
                os._exit(ORPHANED_EXIT_CODE)

    def _end_if_cut_off(self, now: float) -> None:
        reason = self._world.cut_off(now)
        if reason:
            print(f"{reason}: ending", file=sys.stderr)
            sys.stderr.flush()
            os._exit(CUT_OFF_EXIT_CODE)

    def _obey(self, message: ControlMessage | Unreadable) -> None:
        match message:
            case Unreadable():
                # What it wanted to end or drop is ended by force, or stays until this rank ends.
                print(f"control channel: {message}", file=sys.stderr, flush=True)
            case Interrupt():
                self._executor.interrupt(message)
            case Drop():
                self._store.drop(message.tasks)
            case Exit():
                os._exit(0)
            case AgentAlive():
                pass


def _agent_pidfd(connection: ConnectionFile) -> int | None:
    """A descriptor that tells of the agent's death, where it is a process of this host."""
    if connection.agent_host != socket.gethostname():
        return None
    try:
        return os.pidfd_open(connection.agent_pid)
    except ProcessLookupError:
        return None  # in another process namespace, or dead already: its silence will tell


def _preload() -> None:
    """Import what most tasks need while the rank is idle: the first task should not pay for it."""
    import pyarrow.compute

    import elevon.frames.join_sort.distributed

    pyarrow.set_cpu_count(1)
    assert elevon.frames.join_sort.distributed


class RankWorld(World, Protocol):
    """All ranks that can form groups, as one of them sees it."""

    @property
    def slot(self) -> int:
        """The agent's number of this rank."""

    @property
    def size(self) -> int:
        """How many ranks there are."""

    def cut_off(self, now: float) -> str:
        """Why this rank should be replaced although it lives, or ""."""

    def repair(self, lost: Sequence[int], command: Sequence[str] | None = None) -> None:
        """Do this rank's part in the replacement of others."""

    def leave(self) -> None:
        """Give all groups up."""


class Rank:
    """The worker loop."""

    def __init__(self, connection: ConnectionFile, world: int, entered: RankWorld) -> None:
        self._connection = connection
        self._world_number = world
        self.world = entered
        self.rank = RankId(self.world.slot)
        host = socket.gethostname()
        directory = Path(connection.directory)
        self._store = PartitionStore(socket_of_rank(directory, world, self.rank))
        self._executor = Executor(self.world, self._store, host)
        self._context = new_context()
        self._channels = Channels(self._context, connection, self.rank, world)
        self._hello = RankHello(
            rank=self.rank,
            world=world,
            pid=os.getpid(),
            host=host,
            world_size=self.world.size,
            data_address=self._store.address,
        )

    def serve(self) -> None:
        """Run tasks until told to exit."""
        self._channels.work.send(self._hello)
        agent = _agent_pidfd(self._connection)
        control = self._channels.control
        ControlThread(control, self._executor, self._store, self.world, agent).start()
        while True:
            for message in self._channels.work.receive():
                match message:
                    case RunTask():
                        self._run(message)
                    case Repair():
                        self._repair(message)
                    case Exit():
                        self._close()
                        return
                    case Unreadable():
                        self._refuse(message)

    def _run(self, message: RunTask) -> None:
        outcome = self._executor.run(message, time.monotonic())
        try:
            done = encode(PartDone(message.task, message.attempt, outcome))
        except DescriptionError as error:  # a field that the task's own code has filled
            failure = unreadable(f"the end of {message.task}", str(error))
            done = encode(PartDone(message.task, message.attempt, PartOutcome(failure=failure)))
        self._channels.work.send(done)

    def _refuse(self, message: Unreadable) -> None:
        """The agent waits for the end of what it believes to run here.

        Raises:
            WireError: which task that is cannot be told; the loss of this rank will tell.
        """
        done = part_done(message)
        if done is None:
            raise WireError(str(message))
        self._channels.work.send(done)

    def _repair(self, message: Repair) -> None:
        try:
            self.world.repair(message.lost, message.command)
            answer = Repaired("")
        except Exception as error:  # noqa: BLE001 - the border: told to the agent
            answer = Repaired(f"{type(error).__name__}: {error}")
        self._channels.work.send(answer)

    def _close(self) -> None:
        self._store.close()
        end_context(self._context, deadline_s=1.0)
        self.world.leave()


def enter_world(connection: ConnectionFile, number: int, where: Sequence[str]) -> RankWorld:
    """Come into the world that this process was started for.

    Args:
        connection: of the pilot.
        number: of the world.
        where: rendezvous, slot and number of ranks, or nothing in a world of MPI.
    """
    if not where:
        from elevon.comm.mpi import MpiWorld

        return MpiWorld.join()
    from elevon.comm.connect.rendezvous import GroupName

    # Without mpiexec, nobody but the agent would end this process with it.
    die_with_parent(parent=connection.agent_pid)
    # Relays and stores serve many sessions, whose pilots have the same names.
    group = GroupName(f"{connection.session}.{connection.pilot}", number)
    rendezvous, slot, ranks = where
    if connection.store:
        return _enter_by_store(connection, group, int(slot), int(ranks))
    from elevon.comm.tcp import JoinConfig, join_world

    config = JoinConfig(
        rendezvous,
        group,
        f"rank {slot}",
        int(slot),
        int(ranks),
        relay=connection.relay,
        relay_secret=connection.relay_secret,
        tls=connection.tls,
        lazy=int(ranks) > CONNECTED_AT_ONCE,
    )
    return join_world(config, connection.keys.group_secret)


def _enter_by_store(
    connection: ConnectionFile, group: GroupName, slot: int, ranks: int
) -> RankWorld:
    from elevon.comm.mediated import MediatedWorld

    secret = connection.keys.group_secret
    return MediatedWorld.join(connection.store, group, secret, slot, ranks)
