"""``elevon relay`` serves ranks that are started elsewhere."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from elevon.cli.relay import command
from elevon.comm.connect.nat import NatConfig, NatEndpoint, NatKeys, relay_secret
from elevon.errors import UsageError

SESSION = secrets.token_bytes(32)
PATIENCE_S = 30.0


def test_two_ranks_meet_at_the_command(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_bytes(relay_secret(SESSION))
    arguments = ["-m", "elevon", "relay", "--secret-file", str(path)]
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as relay:
        try:
            assert relay.stdout is not None
            host, _, port = relay.stdout.readline().strip().rpartition(":")
            keys = NatKeys.of(SESSION, "job", 1)
            configs = [
                NatConfig((host, int(port)), "job", 1, name, keys, punches=False) for name in "ab"
            ]
            one, other = (NatEndpoint(config) for config in configs)
            here = one.reach("b").connection
            there = other.accept(PATIENCE_S).connection
            with here, there:
                here.sendall(b"through it")
                assert there.recv(100) == b"through it"
            one.close()
            other.close()
        finally:
            relay.send_signal(signal.SIGTERM)
        assert relay.wait(PATIENCE_S) == 0


def test_an_address_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    arguments = ["--host", "203.0.113.77", "--secret-file", str(tmp_path / "new")]
    told = CliRunner().invoke(command, arguments)

    assert isinstance(told.exception, UsageError)
    assert "cannot listen on 203.0.113.77" in str(told.exception)
