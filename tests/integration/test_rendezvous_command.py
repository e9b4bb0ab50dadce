"""``elevon rendezvous`` serves ranks that are started elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner

from elevon.cli.rendezvous import command, read_secret
from elevon.comm.connect.rendezvous import GroupName, rendezvous_secret
from elevon.comm.security.proof import derive
from elevon.comm.tcp import JoinConfig, join_world
from elevon.errors import CommunicatorError, UsageError

pytestmark = pytest.mark.no_mpi

SESSION = b"s" * 32
WITHIN_S = 20.0


@pytest.fixture
def served(tmp_path):
    """The address of a rendezvous that has this session's joining secret."""
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_bytes(rendezvous_secret(SESSION))
    process = subprocess.Popen(
        [sys.executable, "-m", "elevon", "rendezvous", "--secret-file", str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0


def test_ranks_meet_at_it(served):
    def rank(slot):
        group = GroupName("somewhere", 1)
        world = join_world(
            JoinConfig(served, group, f"w{slot}", slot, 3, deadline_s=WITHIN_S), SESSION
        )
        total = world.open_group(world.slots, 1, WITHIN_S).allreduce(np.array(slot))
        world.leave()
        return int(total)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(rank, range(3))) == [3, 3, 3]
    with pytest.raises(CommunicatorError, match=r"slots \[1\] never joined"):
        join_world(JoinConfig(served, GroupName("alone", 1), "w0", 0, 2, deadline_s=0.3), SESSION)


def test_a_secret_is_made_for_its_owner_only(tmp_path):
    path = tmp_path / "secret"

    made = read_secret(path)

    assert read_secret(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(derive(made, "fit for use")) == 32


@pytest.mark.parametrize(
    ("content", "mode", "said"), [(b"s" * 32, 0o644, "others may read"), (b"s" * 31, 0o600, "31")]
)
def test_a_bad_secret_is_refused(tmp_path, content, mode, said):
    path = tmp_path / "secret"
    path.write_bytes(content)
    os.chmod(path, mode)

    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(command, ["--secret-file", str(path)], catch_exceptions=False)
