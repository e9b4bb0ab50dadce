"""The agent's keeper of rank processes, with real processes and a launcher that knows no MPI."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from elevon.agent.pool.world import WorldKeeper
from elevon.agent.scheduling.events import RankGone, RankJoined, WorldGone
from elevon.errors import PilotStartFailed
from elevon.model.ids import RankId
from elevon.wire.data import socket_of_rank
from elevon.wire.messages import RankHello

SLEEPER = ("sleep", "600")
SIZE = 3
WITHIN_S = 10.0
START_TIMEOUT_S = 60.0


class Sleepers:
    """A handle and its launcher in one."""

    survives_rank_loss = replaces_ranks = True

    def __init__(self) -> None:
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.refuses = False

    def start(
        self, ranks: int, command: Sequence[str], env: Mapping[str, str], log: Path
    ) -> Sleepers:
        for slot in range(ranks):
            self.replace(slot)
        return self

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(self.running)

    def exit_code(self, pid: int) -> int | None:
        return self.running.pop(pid).poll()

    def replace(self, slot: int) -> int:
        if self.refuses:
            raise PilotStartFailed("no more processes")
        process = subprocess.Popen(SLEEPER)
        self.running[process.pid] = process
        return process.pid

    def stop(self, grace_s: float) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
        self.running.clear()


class Watched(set[Any]):
    """A poller that only remembers."""

    watch = set.add
    forget = set.discard


class Kept:
    """A keeper and what it has told."""

    def __init__(self, directory: Path, joined: int = SIZE) -> None:
        self.launcher, self.poller = Sleepers(), Watched()
        self.told: list[Any] = []
        self.failures: list[str] = []
        self.keeper = WorldKeeper(
            launcher=self.launcher,
            size=SIZE,
            command=(),
            start_timeout_s=START_TIMEOUT_S,
            directory=directory,
            poller=self.poller,  # type: ignore[arg-type]
            tell=self.told.append,
            fail=self.failures.append,
        )
        self.keeper.start()
        for rank, pid in enumerate(self.launcher.pids[:joined]):
            self.join(rank, pid)

    def join(self, rank: int, pid: int, size: int = SIZE) -> None:
        world = self.keeper.number
        hello = RankHello(
            rank=RankId(rank), world=world, pid=pid, host="h", world_size=size, data_address=""
        )
        self.keeper.joined(hello, b"work:1:%d" % rank, 0.0)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [], WITHIN_S)
        os.close(descriptor)

    def look(self, now: float = 1.0) -> None:
        ready, _, _ = select.select(list(self.poller), [], [], 0)
        self.keeper.inspect(set(ready), now)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    kept.keeper.stop(0.0)


def test_a_lost_rank_has_a_successor_and_nobody_else_is_disturbed(kept: Kept) -> None:
    """The successor's descriptor gets a number that has just told of an end."""
    first = kept.launcher.pids
    kept.kill(first[1])

    kept.look()
    kept.look()

    assert [type(event) for event in kept.told] == [RankJoined] * SIZE + [RankGone]
    (successor,) = set(kept.launcher.pids) - set(first)
    kept.join(1, successor)
    assert kept.keeper.complete
    assert isinstance(kept.told[-1], RankJoined)
    assert kept.keeper.number == 1


def test_all_ranks_at_once(kept: Kept) -> None:
    for pid in kept.launcher.pids:
        kept.kill(pid)

    kept.look()

    assert sum(isinstance(event, RankGone) for event in kept.told) == SIZE
    assert len(kept.launcher.pids) == SIZE
    assert not any(isinstance(event, WorldGone) for event in kept.told)


def test_a_successor_that_dies_before_its_first_word_costs_the_world(kept: Kept) -> None:
    first = kept.launcher.pids
    kept.kill(first[0])
    kept.look()
    (successor,) = set(kept.launcher.pids) - set(first)
    kept.kill(successor)

    kept.look()

    assert isinstance(kept.told[-1], WorldGone)
    assert kept.keeper.number == 2
    assert kept.failures == []


def test_a_successor_that_cannot_be_started_ends_the_pilot(kept: Kept) -> None:
    kept.launcher.refuses = True
    kept.kill(kept.launcher.pids[2])

    kept.look()

    assert kept.failures == ["rank 2 was lost and has no successor: no more processes"]
    kept.launcher.refuses = False


def test_a_successor_in_a_world_of_the_wrong_size_gives_a_new_world(kept: Kept) -> None:
    first = set(kept.launcher.pids)
    kept.kill(kept.launcher.pids[1])
    kept.look()
    (successor,) = set(kept.launcher.pids) - first

    kept.join(1, successor, size=SIZE - 1)

    assert kept.failures == []
    assert isinstance(kept.told[-1], WorldGone)
    assert "a world of 2, not of 3" in kept.told[-1].reason
    assert kept.keeper.number == 2


def test_ranks_that_never_found_each_other_fail_the_pilot(tmp_path: Path) -> None:
    kept = Kept(tmp_path, joined=0)

    kept.join(0, kept.launcher.pids[0], size=1)

    assert "a world of 1, not of 3: mpiexec and mpi4py" in kept.failures[0]
    kept.keeper.stop(0.0)


def test_the_sockets_of_a_world_go_with_it_and_no_other(tmp_path: Path) -> None:
    """A rank that is killed cannot remove its own."""
    kept = Kept(tmp_path)
    mine, later = (socket_of_rank(tmp_path, world, 2) for world in (1, 11))
    mine.touch()
    later.touch()

    kept.keeper.stop(0.0)

    assert list(tmp_path.glob("*.sock")) == [later]


def test_a_successor_that_never_says_a_word_costs_the_world(kept: Kept) -> None:
    """It lives, so its death tells nobody; without a limit its slot would wait for ever."""
    kept.kill(kept.launcher.pids[0])
    kept.look()
    kept.look(START_TIMEOUT_S)
    assert kept.keeper.number == 1

    kept.look(START_TIMEOUT_S + 2.0)

    assert isinstance(kept.told[-1], WorldGone)
    assert "only 2 of 3 ranks came up again" in kept.told[-1].reason
    assert kept.keeper.number == 2


def test_the_limit_of_a_new_world_counts_from_its_own_start(kept: Kept) -> None:
    kept.keeper.lose(None, "for a test", 100.0)
    for now in (100.0, 100.0 + START_TIMEOUT_S):
        kept.look(now)
    assert kept.keeper.number == 2

    for rank, pid in enumerate(kept.launcher.pids):
        kept.join(rank, pid)
    kept.look(1000.0)

    assert kept.keeper.number == 2


def test_a_world_that_was_never_whole_is_left_to_the_limit_of_the_start(tmp_path: Path) -> None:
    kept = Kept(tmp_path, joined=1)
    kept.look(1.0)

    kept.look(10 * START_TIMEOUT_S)

    assert kept.keeper.number == 1
    assert kept.told == kept.told[:1]
    kept.keeper.stop(0.0)


def test_successors_that_survivors_start_may_take_their_time(kept: Kept) -> None:
    kept.launcher.replaces_ranks = False
    kept.kill(kept.launcher.pids[0])
    kept.look()

    kept.look(10 * START_TIMEOUT_S)

    assert kept.keeper.number == 1
