"""Local pilots whose ranks meet at a relay, or share no more than a store."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import elevon as ev
from elevon.comm.connect.nat import RelayServer
from elevon.errors import RankLost, UsageError
from tests.support.redis import redis_server
from tests.support.s3 import s3_bucket

pytestmark = [pytest.mark.no_mpi, pytest.mark.timeout(120)]

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(params=["directory", "redis", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "directory":
        yield f"file://{tmp_path}/shared"
    elif request.param == "redis":
        with redis_server(tmp_path) as url:
            yield url
    else:
        for name in KEYS:
            monkeypatch.setenv(name, "test")
        with s3_bucket() as url:
            yield url


def total(comm: Any) -> int:
    return int(comm.allreduce(np.array(comm.rank + 1)))


def die(comm: Any) -> int:
    if comm.rank == 1:
        os._exit(3)
    return total(comm)


def join(tasks: ev.TaskManager) -> None:
    left = tasks.from_arrow(pa.table({"k": range(100), "a": range(100)}), ranks=2)
    right = tasks.from_arrow(pa.table({"k": range(0, 200, 2), "b": range(100)}), ranks=2)

    joined = pa.table(tasks.join(left, right, on="k", ranks=2).result(60))

    assert sorted(joined["k"].to_pylist()) == list(range(0, 100, 2))
    assert sorted(joined["b"].to_pylist()) == list(range(50))


def test_ranks_that_share_a_store_join(store: str, tmp_path: Path) -> None:
    with ev.Session(root=tmp_path) as session:
        description = ev.PilotDescription(ranks=2, communicator=store)
        tasks = ev.TaskManager(session, pilots=[ev.PilotManager(session).submit(description)])

        join(tasks)
        if store.startswith("file:"):
            assert_a_rank_is_replaced(tasks.options(ranks=2))


def assert_a_rank_is_replaced(gang: ev.TaskManager) -> None:
    """A group's own deadline is an hour; the agent ends it at once."""
    assert isinstance(gang.submit(die).exception(30), RankLost)
    assert gang.submit(total).result(60) == 3


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[tuple[RelayServer, Path]]:
    secret = secrets.token_bytes(32)
    path = tmp_path / "secret"
    path.write_bytes(secret)
    path.chmod(0o600)
    server = RelayServer(secret)
    yield server, path
    server.close()


def test_ranks_that_meet_at_a_relay_join(relay: tuple[RelayServer, Path], tmp_path: Path) -> None:
    server, path = relay
    with ev.Session(root=tmp_path) as session:
        description = ev.PilotDescription(
            ranks=2, communicator="tcp", relay=server.address, relay_secret_file=str(path)
        )
        tasks = ev.TaskManager(session, pilots=[ev.PilotManager(session).submit(description)])

        join(tasks)

        assert server.registered == 2


def test_a_secret_that_others_can_read_is_refused(
    relay: tuple[RelayServer, Path], tmp_path: Path
) -> None:
    server, path = relay
    path.chmod(0o644)
    description = ev.PilotDescription(
        ranks=2, communicator="tcp", relay=server.address, relay_secret_file=str(path)
    )
    with (
        ev.Session(root=tmp_path) as session,
        pytest.raises(UsageError, match="others may read it: chmod 600"),
    ):
        ev.PilotManager(session).submit(description)
