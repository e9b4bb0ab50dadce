"""The Communicator contract on TCP: real processes, connected on loopback."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from elevon.comm.connect.rendezvous import RendezvousServer, rendezvous_secret
from tests.contract.tcp_member import clauses_for
from tests.support.tcp import ranks

# Tens of processes that compute for seconds each, on as many cores as there are.
pytestmark = [pytest.mark.no_mpi, pytest.mark.timeout(300)]

MEMBER = Path(__file__).with_name("tcp_member.py")
#: How messages go, and the size of the group.
SMALL = [
    *(("memory", size) for size in (1, 2, 3, 4, 7)),
    ("sockets", 2),
    ("sockets", 4),
    ("tls", 3),
]
LARGE = [("memory", 16)]
LIMIT_S = 250.0

Said = list[tuple[str, str]]


@pytest.fixture(scope="module")
def meeting() -> Iterator[tuple[str, str]]:
    """Where the ranks of a group with TLS find each other, and the secret of their session."""
    secret = secrets.token_bytes(32)
    server = RendezvousServer(rendezvous_secret(secret))
    yield server.address, secret.hex()
    server.close()


def run(groups: list[tuple[str, int]], meeting: tuple[str, str]) -> dict[tuple[str, int], Said]:
    """What the ranks of each group print."""
    with ExitStack() as running:
        processes = {
            (way, size): running.enter_context(ranks(size, MEMBER, way, *meeting))
            for way, size in groups
        }
        return {
            group: [process.communicate(timeout=LIMIT_S) for process in its]
            for group, its in processes.items()
        }


# All small groups are one test: much of it is waiting for deadlines, which they do together, and
# every worker of pytest-xdist would run a fixture that several tests shared.
@pytest.mark.parametrize("groups", [SMALL, LARGE], ids=["small groups", "a large group"])
def test_contract(groups: list[tuple[str, int]], meeting: tuple[str, str]) -> None:
    for group, said in run(groups, meeting).items():
        expected = [f"ok {clause}" for clause in clauses_for(len(said))]
        assert [out.splitlines() for out, _ in said] == [expected] * len(said), (group, said)
