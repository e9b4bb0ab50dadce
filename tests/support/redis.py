"""A Redis of a test's own: real, on loopback, gone at the end."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TRIES = 5


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """Run one; gives its URL. Skips where there is none, which CI does not allow."""
    pytest.importorskip("redis", reason="the client library of Redis is not installed")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    for _ in range(TRIES):  # somebody may take the port between our look and Redis' own
        port = _free_port()
        process = _start(program, directory, port)
        try:
            if _is_ready(process):
                yield f"redis://127.0.0.1:{port}/0"
                return
        finally:
            process.kill()
            process.communicate()
    raise AssertionError(f"redis-server did not start in {TRIES} tries")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _start(program: str, directory: Path, port: int) -> subprocess.Popen[str]:
    options = {"bind": "127.0.0.1", "port": str(port), "dir": str(directory), "save": ""}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return subprocess.Popen(
        [program, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _is_ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return any("Ready to accept connections" in line for line in process.stdout)
