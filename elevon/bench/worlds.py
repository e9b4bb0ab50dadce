"""Worlds of ranks without a pilot, for what is measured of ranks alone."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from elevon.agent.pool.launchers.mpi import MpiLauncher
from elevon.agent.pool.launchers.processes import ProcessLauncher
from elevon.agent.pool.launchers.protocol import Launcher, LaunchHandle
from elevon.cli.common import ends_within
from elevon.cli.rendezvous import read_secret
from elevon.comm.connect.rendezvous import GroupName, RendezvousServer, rendezvous_secret
from elevon.comm.protocol import Communicator
from elevon.comm.tcp import JoinConfig, join_world
from elevon.errors import ElevonError

KINDS: Final = ("mpi", "tcp", "tcp-sockets")
CONTEXT: Final = 1


def run(kind: str, ranks: int, program: str, order: bytes, within_s: float) -> bytes:
    """Start a world, wait for its end, and hand back what one of its ranks has answered.

    Args:
        kind: one of KINDS; between ranks of "tcp-sockets" nothing goes around the sockets.
        ranks: how many.
        program: the module that each rank runs.
        order: what ``place`` is to find; UTF-8.
        within_s: how long it may take.

    Raises:
        click.ClickException: it could not start, ended without an answer, or took too long.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as cleanup:
        directory = Path(name)
        command = [sys.executable, "-m", program, kind, name, order.decode()]
        try:
            launcher = _launcher(kind, directory, cleanup)
            handle = launcher.start(ranks, command, {}, directory / "log")
        except ElevonError as error:
            raise click.ClickException(str(error)) from error
        cleanup.callback(handle.stop, 0.0)
        ended = _all_end(handle, time.monotonic() + within_s)
        answer = directory / "answer"
        if not ended or not answer.exists():
            why = "ended without an answer" if ended else f"ran over {within_s:g} s"
            said = (directory / "log").read_text(errors="replace").strip()
            raise click.ClickException(f"the world of {ranks} {kind} ranks {why}; it said:\n{said}")
        return answer.read_bytes()


def _launcher(kind: str, directory: Path, cleanup: contextlib.ExitStack) -> Launcher:
    if kind == "mpi":
        return MpiLauncher()
    secret = read_secret(directory / "secret")  # there is none yet, so it makes one
    server = RendezvousServer(rendezvous_secret(secret))
    cleanup.callback(server.close)
    return ProcessLauncher(server)


def _all_end(handle: LaunchHandle, until: float) -> bool:
    return all(ends_within(pid, max(until - time.monotonic(), 0.0)) for pid in handle.pids)


@dataclass(frozen=True, slots=True)
class Place:
    """A rank's place in a world of ``run``.

    Attributes:
        kind: of the world.
        comm: of all ranks.
        order: what ``run`` was given.
        directory: that all ranks of the world have.
    """

    kind: str
    comm: Communicator
    order: bytes
    directory: Path

    def answer(self, answer: bytes) -> None:
        """Leave what ``run`` is to return."""
        (self.directory / "answer").write_bytes(answer)


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """The calling process's place, by its command line; the world is left at the end."""
    kind, name, order, *where = sys.argv[1:]
    world = _enter(kind, Path(name), where)
    comm = world.open_group(world.slots, CONTEXT, None)
    # What a failure leaves undone ends with the process, which the others then know to be lost.
    yield Place(kind, comm, order.encode(), Path(name))
    comm.close()
    world.leave()


def _enter(kind: str, directory: Path, where: Sequence[str]) -> Any:
    if kind == "mpi":
        from elevon.comm.mpi import MpiWorld  # where there is no MPI, TCP is measured without

        return MpiWorld.join()
    rendezvous, slot, size = where
    config = JoinConfig(
        rendezvous=rendezvous,
        group=GroupName(directory.name, 1),
        worker=f"rank {slot}",
        slot=int(slot),
        size=int(size),
        shares_memory=kind != "tcp-sockets",
    )
    return join_world(config, read_secret(directory / "secret"))
