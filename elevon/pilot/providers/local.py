"""Pilots on this machine: the agent is a process of its own, in a session of its own.

The agent is told by a pipe when to speak and by its directory what to be; no key is on its command
line.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from elevon.errors import PilotStartFailed
from elevon.wire.keys import ConnectionFile, PilotFile, read_connection, write_private

LOG_TAIL_BYTES = 4000


class LocalProvider:
    """Starts agents as children of this process."""

    def start(
        self, pilot: PilotFile, directory: Path, on_end: Callable[[str], None]
    ) -> LocalAcquisition:
        """Start an agent; returns at once.

        Args:
            pilot: what the agent is to be; written to ``directory`` with mode 0600.
            directory: the pilot's own, mode 0700.
            on_end: called with the reason, on another thread, when the agent's process has ended.
        """
        write_private(directory / "pilot.json", pilot)
        return LocalAcquisition(directory, pilot.description.start_timeout_s, on_end)


class LocalAcquisition:
    """One agent process.

    Attributes:
        connection: resolves when the agent can be talked to, or fails with PilotStartFailed.
    """

    def __init__(
        self, directory: Path, start_timeout_s: float, on_end: Callable[[str], None]
    ) -> None:
        self.connection: Future[ConnectionFile] = Future()
        self._directory = directory
        self._log = directory / "agent.log"
        self._on_end = on_end
        ready, told = os.pipe()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "elevon.agent", str(directory), "--ready-fd", str(told)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C at the terminal is the client's business: the agent is told by it.
                start_new_session=True,
                pass_fds=(told,),
                env={**os.environ, "PYTHONPATH": _python_path()},
            )
        os.close(told)
        deadline = time.monotonic() + start_timeout_s
        threading.Thread(
            target=self._watch, args=(ready, deadline), name=f"watch {directory.name}", daemon=True
        ).start()

    @property
    def pid(self) -> int:
        """The agent's process id."""
        return self._process.pid

    def stop(self, grace_s: float) -> None:
        """Wait for the agent to end, then end it: SIGTERM, at last SIGKILL."""
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
                return

    def _watch(self, ready: int, deadline: float) -> None:
        with os.fdopen(ready, "rb") as pipe:
            waiting, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            told = pipe.readline() if waiting else b""
        if told:
            self.connection.set_result(read_connection(self._directory / "connection.json"))
        else:
            # At the end of the pipe the process is ending; without it, it is stuck.
            self.stop(grace_s=1.0)
            reason = f"the agent did not start. {self._log_tail()}"
            self.connection.set_exception(PilotStartFailed(reason))
        code = self._process.wait()
        self._on_end(f"the agent (pid {self.pid}) ended with code {code}. {self._log_tail()}")

    def _log_tail(self) -> str:
        text = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"The end of {self._log}:\n{text}" if text else f"Its log {self._log} is empty."


def _python_path() -> str:
    """What the ranks need on their path to import what the user's script imports by name."""
    here = [entry for entry in sys.path if entry and Path(entry).is_dir()]
    inherited = os.environ.get("PYTHONPATH", "")
    outside = [entry for entry in here if not entry.startswith((sys.prefix, sys.base_prefix))]
    return os.pathsep.join(dict.fromkeys([*outside, *filter(None, inherited.split(os.pathsep))]))
