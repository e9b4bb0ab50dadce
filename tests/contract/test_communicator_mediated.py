"""The Communicator contract through stores: a real Redis, a directory, and an S3."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from elevon.testing.communicators import CONTRACT
from tests.support.redis import redis_server
from tests.support.s3 import s3_bucket

MEMBER = Path(__file__).with_name("mediated_member.py")
ROOT = Path(__file__).parents[2]
# Sizes in turn: what differs between the stores knows nothing of sizes.
ON_REDIS, ON_FILES = (1, 3), (2, 4)
CASES = [*(("redis", size) for size in ON_REDIS), *(("files", size) for size in ON_FILES)]
LIMIT_S = 100.0

pytestmark = pytest.mark.no_mpi

# One of each kind: an S3 on one's own machine costs milliseconds a request as well.
ON_S3 = ("rank and size", "not a number", "abort of a parent", "abort in gatherv")
ON_S3 += ("timeout in alltoall",)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, int], list[str]]]:
    """What the groups printed. All at once: much of it is waiting for deadlines."""
    directory = tmp_path_factory.mktemp("mediated")
    with ExitStack() as running:
        redis = running.enter_context(redis_server(directory))
        s3 = running.enter_context(s3_bucket())
        asked = {("redis", size): (redis, ()) for size in ON_REDIS}
        asked |= {("files", size): (f"file://{directory}/files", ()) for size in ON_FILES}
        asked["s3", 3] = (s3, ON_S3)
        groups = {
            which: start(running, url, which[1], *names) for which, (url, names) in asked.items()
        }
        yield {which: said(process) for which, process in groups.items()}
    left = list((directory / "files").rglob("*.message"))
    # Of a group that ends, what was on its way is left to time; of the others nothing.
    assert all(".abort." in path.name or context(path) in ENDING for path in left), left


ENDING = {
    number
    for number, clause in enumerate(CONTRACT)
    if "abort" in clause.name or "timeout" in clause.name
}


def context(path: Path) -> int:
    return int(path.name.split(".")[1].removeprefix("c"))


def start(running: ExitStack, url: str, size: int, *names: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(MEMBER), url, str(size), *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    )
    running.callback(process.communicate)
    running.callback(process.kill)
    return process


def said(process: subprocess.Popen[str]) -> list[str]:
    return process.communicate(timeout=LIMIT_S)[0].splitlines()


@pytest.mark.parametrize(("store", "size"), CASES)
def test_contract(store: str, size: int, told: dict[tuple[str, int], list[str]]) -> None:
    assert told[store, size] == [f"ok {clause}" for clause in CONTRACT]


def test_contract_on_s3(told: dict[tuple[str, int], list[str]]) -> None:
    assert told["s3", 3] == [f"ok {clause}" for clause in CONTRACT if clause.name in ON_S3]
