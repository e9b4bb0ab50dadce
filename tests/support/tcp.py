"""Ranks that are connected on loopback, as processes, and as threads of one."""

from __future__ import annotations

import builtins
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elevon._native import Group, Mesh

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0
EVERYBODY = 1


def connected_pair(source: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection; the first has another address where ``source`` says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), source_address=(source, 0))
        other, _ = listener.accept()
    for end in (one, other):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


def without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment without the extra "tls"."""
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)


class Net:
    """Connected meshes, by slot."""

    def __init__(self, size: int, shares_memory: bool = True) -> None:
        self.meshes = [Mesh(slot, size, shares_memory) for slot in range(size)]
        for one in range(size):
            for other in range(one):
                self.connect(one, other)

    def connect(self, one: int, other: int) -> None:
        ends = connected_pair()
        self.meshes[one].attach(other, ends[0].detach(), f"slot {other}")
        self.meshes[other].attach(one, ends[1].detach(), f"slot {one}")

    def open(self, context: int = EVERYBODY, slots: list[int] | None = None) -> list[Group]:
        slots = list(range(len(self.meshes))) if slots is None else slots
        return [self.meshes[at].open(context, 0, slots, str(context)) for at in slots]


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Results or exceptions of calls that run at once."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.exception(PATIENCE_S) or future.result() for future in futures]


@contextlib.contextmanager
def sockets_of(size: int) -> Iterator[list[list[socket.socket | None]]]:
    """For each of ``size`` ranks its sockets, by peer."""
    table: list[list[socket.socket | None]] = [[None] * size for _ in range(size)]
    for one in range(size):
        for other in range(one):
            table[one][other], table[other][one] = connected_pair()
    try:
        yield table
    finally:
        for end in (end for row in table for end in row if end is not None):
            end.close()


@contextlib.contextmanager
def ranks(size: int, script: Path, *arguments: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that run ``script SLOT DESCRIPTORS ARGUMENTS`` and are gone at the end."""
    processes: list[subprocess.Popen[str]] = []
    with contextlib.ExitStack() as cleanup:
        with sockets_of(size) as table:
            for slot, row in enumerate(table):
                process = _start(script, slot, row, arguments)
                cleanup.callback(_end, process)
                processes.append(process)
        yield processes


def _start(
    script: Path, slot: int, row: Sequence[socket.socket | None], arguments: Sequence[str]
) -> subprocess.Popen[str]:
    descriptors = [None if end is None else end.fileno() for end in row]
    return subprocess.Popen(
        [sys.executable, str(script), str(slot), json.dumps(descriptors), *arguments],
        pass_fds=[descriptor for descriptor in descriptors if descriptor is not None],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
