"""Ranks in a NAT laboratory, as processes that a test talks to line by line."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.nat_lab import Place

ROOT = Path(__file__).parents[2]
SECRET = bytes(range(32))
PATIENCE_S = 100.0


class Member:
    """A process in a place; its words are JSON objects."""

    def __init__(self, place: Place, script: Path, settings: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            place.command(sys.executable, str(script), json.dumps(settings)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        self._pending = b""

    def hear(self, key: str) -> Any:
        """What the next word says under ``key``; words without it are passed over."""
        while True:
            word = json.loads(self._line())
            if key in word:
                return word[key]
            if "error" in word:
                raise AssertionError(word["error"])

    def say(self, text: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Let it come to its end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE_S
        while b"\n" not in self._pending:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"{self.process.args} says nothing")
            said = os.read(self.process.stdout.fileno(), 1 << 16)
            if not said:
                raise AssertionError(f"{self.process.args} has ended")
            self._pending += said
        first, _, self._pending = self._pending.partition(b"\n")
        return first


class Crew:
    """Starts members, and ends them."""

    def __init__(self, cleanup: contextlib.ExitStack, relay: Member) -> None:
        self._cleanup = cleanup
        self.relay = relay
        word = json.loads(relay._line())
        self.address: list[Any] = word["relay"]
        self.rendezvous: str = word["rendezvous"]
        self.recorder: list[Any] = word["recorder"]

    def start(self, place: Place, **settings: Any) -> Member:
        script = ROOT / "tests/support/nat_member.py"
        defaults = {"does": "visit", "relay": self.address, "secret": SECRET.hex(), "name": "0"}
        member = Member(place, script, {**defaults, "calls": [], "expects": 0, **settings})
        self._cleanup.callback(member.kill)
        return member

    def everybody(self, places: list[Place], **settings: Any) -> list[Member]:
        """One member in each place; each calls all before it."""
        last = len(places) - 1
        members = []
        for slot, place in enumerate(places):
            calls = [str(other) for other in range(slot)]
            own = {"name": str(slot), "calls": calls, "expects": last - slot}
            members.append(self.start(place, **own, **settings))
        return members

    def relays(self, expected: int) -> bool:
        """Whether the relay comes to move bytes for so many pairs; it learns late of an end."""
        return self.comes_to("pairs", expected)

    def comes_to(self, what: str, expected: Any) -> bool:
        """Whether the relay comes to say this of itself; each answer takes it a moment."""
        deadline = time.monotonic() + PATIENCE_S / 10
        while (now := self.ask(what)) != expected and time.monotonic() < deadline:
            pass
        return bool(now == expected)

    def ask(self, what: str) -> Any:
        """What the relay says of itself at this moment."""
        self.relay.say()
        return self.relay.hear(what)


@contextlib.contextmanager
def crew(public: Place) -> Iterator[Crew]:
    """A relay on the public side, and whom it serves."""
    with contextlib.ExitStack() as cleanup:
        settings = {"host": public.address, "secret": SECRET.hex()}
        relay = Member(public, ROOT / "tests/support/nat_relay.py", settings)
        cleanup.callback(relay.kill)
        yield Crew(cleanup, relay)
