"""What a mediated group promises beyond the contract: order in the store, limits, no trust."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elevon.comm.base.failure import FailureLatch
from elevon.comm.base.waiting import Deadline
from elevon.comm.connect.rendezvous import GroupName
from elevon.comm.mediated import MediatedCommunicator, MediatedWorld, Store, mailbox, open_store
from elevon.comm.mediated.file_store import FileStore
from elevon.comm.mediated.folder import MARKER
from elevon.errors import (
    CollectiveTimeout,
    CommunicatorError,
    GroupAborted,
    MemberLost,
    UsageError,
    WireError,
)
from tests.support.redis import redis_server

GROUP = GroupName("../a job", 3)
SECRET = bytes(range(32))
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["files", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "files":
        return f"file://{tmp_path}/store"
    return f"{request.getfixturevalue('redis_url')}"


def opened(url: str, size: int, context: int, **other: Any) -> list[MediatedCommunicator]:
    worlds = [MediatedWorld.join(url, GROUP, SECRET, slot, size) for slot in range(size)]
    limits = {"timeout_s": PATIENCE_S, **other}
    return [world.open_group(world.slots, context, **limits) for world in worlds]


def together(*calls: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.exception(PATIENCE_S) or future.result() for future in futures]


def files_of(directory: Path) -> list[Path]:
    found = (directory / "store").rglob("*")
    return [path for path in found if path.is_file() and path.name != MARKER]


def test_what_is_large_travels_in_pieces(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "PIECE_BYTES", 1000)
    data = np.arange(1001)
    one, other = opened(url, 2, 1)

    received = together(
        lambda: one.alltoallv([data, data]), lambda: other.alltoallv([data[:0], data[:125]])
    )

    assert [len(part) for part in received[0]] == [1001, 0]
    assert received[1][0].tolist() == data.tolist()


def test_a_context_goes_on_where_it_was_left(url: str) -> None:
    worlds = [MediatedWorld.join(url, GROUP, SECRET, slot, 2) for slot in (0, 1)]
    for _ in range(3):
        comms = [world.open_group((1, 0), 2, PATIENCE_S) for world in worlds]
        totals = together(*(lambda comm=comm: comm.allreduce(np.array(2)) for comm in comms))
        assert totals == [4, 4]
        for comm in comms:
            comm.close()


def test_the_one_who_is_missing_is_named_to_all(url: str) -> None:
    comms = opened(url, 3, 3, timeout_s=1.0)

    for error in together(comms[0].barrier, comms[1].barrier):
        assert isinstance(error, CollectiveTimeout)
        assert error.rank == 2
        assert "barrier: rank 2 did not come within 1.0 s" in str(error)
    with pytest.raises(CollectiveTimeout):  # who comes too late is told at once
        comms[2].barrier()


def test_members_in_different_collectives_are_told(url: str) -> None:
    one, other = opened(url, 2, 4)

    told = together(lambda: one.bcast(np.ones(3), root=1), lambda: other.gather(np.ones(3), root=0))

    assert isinstance(told[0], GroupAborted)
    assert "rank 0 is in bcast of 24 bytes while rank 1 sent 24 bytes of gather" in str(told[0])
    with pytest.raises(GroupAborted, match="sent 24 bytes of gather"):
        other.barrier()


def test_an_interrupt_ends_a_wait(url: str) -> None:
    worlds = [MediatedWorld.join(url, GROUP, SECRET, slot, 2) for slot in (0, 1)]
    comms = [world.open_group(world.slots, 5, PATIENCE_S) for world in worlds]
    timer = threading.Timer(0.1, worlds[0].interrupt, (5, "its host is gone", 1, True))
    started = time.monotonic()
    timer.start()

    with pytest.raises(MemberLost, match="its host is gone") as caught:
        comms[0].barrier()

    assert caught.value.rank == 1
    assert time.monotonic() - started < PATIENCE_S / 4
    timer.join()
    worlds[1].interrupt(6, "before it was opened")
    with pytest.raises(GroupAborted, match="before it was opened"):
        worlds[1].open_group(worlds[1].slots, 6, PATIENCE_S)


def test_another_secret_is_not_believed(url: str) -> None:
    worlds = [
        MediatedWorld.join(url, GROUP, secret, slot, 2)
        for slot, secret in enumerate((SECRET, bytes(32)))
    ]
    comms = [world.open_group(world.slots, 7, PATIENCE_S) for world in worlds]

    told = together(*(comm.barrier for comm in comms))

    assert all(isinstance(error, GroupAborted) for error in told), told
    assert "does not come from a member of this group" in str(told[0])
    assert isinstance(told[0].__cause__, WireError)


def test_nothing_is_left_of_what_was_taken(tmp_path: Path, redis_url: str) -> None:
    import redis

    for url in (f"file://{tmp_path}/store", redis_url):
        comms = opened(url, 3, 8)
        together(*(lambda comm=comm: comm.allgatherv(np.ones(comm.rank)) for comm in comms))
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys("*:3:c8.*") == []
    assert files_of(tmp_path) == []


def test_what_nobody_takes_expires(tmp_path: Path, redis_url: str) -> None:
    import redis

    for url in (f"file://{tmp_path}/store", redis_url):
        opened(url, 2, 9)[1].gather(np.ones(1), root=0)
    (left,) = files_of(tmp_path)
    with redis.Redis.from_url(redis_url) as client:
        (key,) = client.keys("*:3:c9.*")
        assert 0 < client.ttl(key) <= 3600

    MediatedWorld.join(f"file://{tmp_path}/store", GroupName("later", 1), SECRET, 0, 1)
    assert left.exists()
    os.utime(left, (0, 0))
    MediatedWorld.join(f"file://{tmp_path}/store", GroupName("later", 2), SECRET, 0, 1)
    assert not left.exists()


def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}/store", "j", 1)
    store.put([("whole", b"0123456789")])
    (path,) = files_of(tmp_path)
    content = path.read_bytes()

    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert store.take(["whole"], Deadline(0.0), FailureLatch()) is None
    path.write_bytes(content)

    assert store.take(["no", "whole"], Deadline(0.0), FailureLatch()) == ("whole", b"0123456789")


def test_a_store_that_goes_away_ends_the_group(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as url:
        comm = opened(url, 2, 10)[0]
    with pytest.raises(GroupAborted, match=r"rank 0 failed in barrier .* no answer from Redis"):
        comm.barrier()
    assert "the other members are not told" in caplog.text


@pytest.mark.parametrize("url", ["nothing://here", "file://relative", "redis://host:port/0", ""])
def test_what_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        open_store(url, "job", 1)


def test_a_redis_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        gone = url
    with pytest.raises(CommunicatorError, match="no answer from Redis"):
        open_store(gone, "job", 1)


def test_a_directory_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(CommunicatorError, match="check that it is there"):
        open_store(f"file://{tmp_path}/file", "job", 1)


class Nowhere(Store):
    """A store that nothing may reach."""

    kept_s = 60.0


def test_groups_that_cannot_be_are_refused() -> None:
    world = MediatedWorld(Nowhere(), bytes(32), 0, 3)
    assert world.open_group((0, 1), 1).timeout_s == 60.0
    for slots, context, timeout_s, said in [
        ((0, 2), 1, None, "context 1 is the group of slots"),
        ((1, 2), 2, None, "no member"),
        ((0, 0), 2, None, "named twice"),
        ((0, 3), 2, None, r"no slots \[3\]"),
        ((0, 1), 2, 61.0, "at most 60.0"),
        ((0, 1), 2, 0.0, "more than 0"),
    ]:
        with pytest.raises(UsageError, match=said):
            world.open_group(slots, context, timeout_s)
    with pytest.raises(UsageError, match="no slot 3"):
        MediatedWorld(Nowhere(), bytes(32), 3, 3)


def test_a_group_of_one_needs_no_store() -> None:
    world = MediatedWorld(Nowhere(), bytes(32), 0, 1)
    comm = world.open_group((0,), 0, 1.0)

    comm.barrier()

    assert comm.allreduce(np.array(5)) == 5
    assert comm.gather(np.array(5)).tolist() == [5]
