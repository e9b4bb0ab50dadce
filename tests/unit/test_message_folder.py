"""A store of messages in a directory or a prefix of the user's: it touches only what it has made.

Everything here is older than any message may grow, so that what a sweep spares is not spared for
its age.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from elevon.comm.base.failure import FailureLatch
from elevon.comm.base.waiting import Deadline
from elevon.comm.connect.rendezvous import GroupName
from elevon.comm.mediated import MediatedWorld, open_store
from elevon.comm.mediated.file_store import FileStore
from elevon.comm.mediated.folder import MARKER, MARKER_TEXT
from elevon.errors import CommunicatorError
from tests.support.redis import redis_server
from tests.support.s3 import s3_bucket

FOLDER = f"elevon-messages-{os.geteuid()}"
MESSAGE = f"{'0' * 32}-1.c1.0-1.5.message"
#: As the store would have called it, before it kept to a folder of its own.
FORMER = "job-s.p-1/c1.0-1.5"
NOW = Deadline(0.0)


def old(path: Path, content: bytes = b"mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (0, 0))
    return path


def swept(directory: Path) -> None:
    """As by a rank that enters a world, works and leaves it."""
    world = MediatedWorld.join(f"file://{directory}", GroupName("job", 1), bytes(32), 0, 1)
    world.leave()


def message_of(directory: Path) -> Path:
    """A message that nobody takes."""
    store = FileStore(f"file://{directory}", "abandoned", 1)
    store.put([("c1.0-1.0", b"text")])
    (path,) = (directory / FOLDER).glob("*.message")
    os.utime(path, (0, 0))
    return path


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_files_of_the_user_s_are_spared(tmp_path: Path, end: str) -> None:
    names = ["a.csv", "deep/er/b.parquet", FORMER, MESSAGE, f"elevon-messages/{MESSAGE}"]
    kept = [old(tmp_path / name) for name in names]
    abandoned = message_of(tmp_path)

    swept(Path(f"{tmp_path}{end}"))

    assert [path for path in kept if not path.exists()] == []
    assert not abandoned.exists()


def test_files_of_the_user_s_inside_the_folder_are_spared(tmp_path: Path) -> None:
    head = message_of(tmp_path).read_bytes()
    folder = tmp_path / FOLDER
    kept = [
        old(folder / MESSAGE, b"has the name of a message, and is none"),
        old(folder / "begins as a message", head),
        old(folder / f"{MESSAGE}.bak", head),
        old(folder / f"mine/{MESSAGE}", head),
        old(folder / MARKER, MARKER_TEXT),
    ]
    killed = old(folder / MESSAGE.replace("c1", "c2"), head[:5])

    swept(tmp_path)

    assert [path for path in kept if not path.exists()] == []
    assert not killed.exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    head = message_of(tmp_path).read_bytes()
    file = old(tmp_path / "elsewhere" / MESSAGE, head)
    links = {
        tmp_path / FOLDER / MESSAGE: Path("../elsewhere") / MESSAGE,
        tmp_path / FOLDER / "directory": Path("../elsewhere"),
        tmp_path / FOLDER / MESSAGE.replace("c1", "c2"): Path("../elsewhere"),
    }
    for link, target in links.items():
        link.symlink_to(target)
        os.utime(link, (0, 0), follow_symlinks=False)

    swept(tmp_path)

    assert file.exists()
    assert [link for link in links if not link.is_symlink()] == []


@pytest.mark.parametrize("link", [True, False])
def test_a_folder_without_the_marker_is_left_alone(tmp_path: Path, link: bool) -> None:
    file = old(tmp_path / ("elsewhere" if link else FOLDER) / MESSAGE)
    if link:
        (tmp_path / FOLDER).symlink_to("elsewhere")

    with pytest.raises(CommunicatorError, match="not a folder of Elevon's"):
        swept(tmp_path)

    assert file.exists()
    assert sorted(path.name for path in file.parent.iterdir()) == [MESSAGE]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_link_to_a_folder_with_the_marker_is_not_followed(tmp_path: Path) -> None:
    abandoned = message_of(tmp_path / "other")
    (tmp_path / FOLDER).symlink_to(f"other/{FOLDER}")

    with pytest.raises(CommunicatorError, match="not a folder of Elevon's"):
        swept(tmp_path)

    assert abandoned.exists()


def test_another_marker_is_none(tmp_path: Path) -> None:
    old(tmp_path / FOLDER / MARKER, b"mine")

    with pytest.raises(CommunicatorError, match="move it away"):
        swept(tmp_path)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(0o755)
    assert not message_of(tmp_path).parent.stat().st_mode & 0o077


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        message = message_of(tmp_path / "made")
    finally:
        os.umask(before)

    made = [tmp_path / "made", *(tmp_path / "made").rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in made}
    assert modes[message] == modes[message.parent / MARKER] == 0o600
    assert modes[message.parent] == modes[tmp_path / "made"] == 0o700


def test_a_folder_that_was_opened_to_others_is_closed_again(tmp_path: Path) -> None:
    folder = message_of(tmp_path).parent
    folder.chmod(0o755)

    swept(tmp_path)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_ranks_that_come_at_once_share_one_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: FileStore(f"file://{tmp_path}", "job", 1), range(32)))

    stores[0].put([("c1.0-1.0", b"text")])
    assert stores[-1].take(["c1.0-1.0"], NOW, FailureLatch()) == ("c1.0-1.0", b"text")
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]
    for store in stores:
        store.close()


def test_two_jobs_share_a_directory(tmp_path: Path) -> None:
    url = f"file://{tmp_path}"
    stores = [FileStore(url, "one", 1), FileStore(url, "one", 2), FileStore(url, "other", 1)]
    for number, store in enumerate(stores):
        store.put([("c1.0-1.0", bytes([number]))])
    stores[1].sweep()

    for number, store in enumerate(stores):
        assert store.take(["c1.0-1.0"], NOW, FailureLatch()) == ("c1.0-1.0", bytes([number]))
        assert store.take(["c1.0-1.0"], NOW, FailureLatch()) is None


def test_ages_are_told_by_the_clock_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(f"file://{tmp_path}", "job", 1)
    store.put([("fresh", b"")])
    monkeypatch.setattr("time.time", lambda: 1e12)

    store.sweep()

    assert store.take(["fresh"], NOW, FailureLatch()) == ("fresh", b"")


def test_a_pipe_in_place_of_a_message_is_not_waited_for(tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}", "job", 1)
    store.put([("c1.0-1.0", b"")])
    (path,) = (tmp_path / FOLDER).glob("*.message")
    path.unlink()
    os.mkfifo(path)

    assert store.take(["c1.0-1.0"], NOW, FailureLatch()) is None


def test_a_directory_that_cannot_be_written_is_told() -> None:
    with pytest.raises(CommunicatorError, match="may read, write and delete"):
        open_store("file:///proc", "job", 1)  # where not even root may make a directory


def test_a_later_and_shorter_text_counts_without_the_end_of_the_former(tmp_path: Path) -> None:
    """Two members may leave a notice for the same third at once."""
    store = FileStore(f"file://{tmp_path}", "job", 1)
    store.put([("notice", b"short")])
    (path,) = (tmp_path / FOLDER).glob("*.message")
    with path.open("ab") as file:
        file.write(b"and the end of a longer one")

    assert store.take(["notice"], NOW, FailureLatch()) == ("notice", b"short")


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, fs.FileSystem, str]]:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with pytest.MonkeyPatch.context() as patch, s3_bucket() as url:
        for name, value in keys.items():
            patch.setenv(name, value)
        # moto keeps its objects for as long as the process lives.
        url = url.replace("some/prefix", secrets.token_hex(8))
        files, prefix = fs.FileSystem.from_uri(url)
        yield url, files, prefix


def put(files: fs.FileSystem, path: str, content: bytes) -> str:
    with files.open_output_stream(path) as stream:
        stream.write(content)
    return path


def test_objects_of_others_below_the_prefix_are_spared(
    bucket: tuple[str, fs.FileSystem, str],
) -> None:
    url, files, prefix = bucket
    store = FileStore(url, "job", 1, kept_s=-10.0)  # whatever is there has grown old
    store.put([("c1.0-1.0", b"text")])
    (message,) = messages(files, prefix)
    head = files.open_input_file(message).read()
    names = ["a.csv", FORMER, MESSAGE, f"elevon-messages-2/{MESSAGE}"]
    names += ["elevon-messages/mine", f"elevon-messages/deeper/{MESSAGE}"]
    kept = [put(files, f"{prefix}/{name}", head) for name in names]
    kept.append(put(files, f"{prefix}/elevon-messages/{MESSAGE}", b"none"))
    kept.append(f"{prefix}/elevon-messages/{MARKER}")

    store.sweep()

    assert [found.path for found in files.get_file_info(kept) if not found.is_file] == []
    assert files.get_file_info(message).type == fs.FileType.NotFound
    store.put([("c1.0-1.0", b"text")])
    assert store.take(["c1.0-1.0"], NOW, FailureLatch()) == ("c1.0-1.0", b"text")


def test_a_prefix_without_the_marker_is_left_alone(bucket: tuple[str, fs.FileSystem, str]) -> None:
    url, files, prefix = bucket
    url = url.replace("?", "/taken?")
    path = put(files, f"{prefix}/taken/elevon-messages/mine.csv", b"mine")

    with pytest.raises(CommunicatorError, match="not a folder of Elevon's"):
        open_store(url, "job", 1)

    listed = files.get_file_info(fs.FileSelector(path.rpartition("/")[0]))
    assert [found.path for found in listed] == [path]


def test_a_bucket_that_is_not_there_is_told(bucket: tuple[str, fs.FileSystem, str]) -> None:
    with pytest.raises(CommunicatorError, match="check that it is there"):
        open_store(bucket[0].replace("s3://elevon", "s3://nowhere"), "job", 1)


def messages(files: fs.FileSystem, prefix: str) -> list[str]:
    listed = files.get_file_info(fs.FileSelector(f"{prefix}/elevon-messages"))
    return [found.path for found in listed if found.path.endswith(".message")]


def test_keys_of_others_in_a_redis_are_spared(tmp_path: Path) -> None:
    redis: Any = pytest.importorskip("redis")
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("mine", "1")
        client.rpush("elevon:{another}:1:c1.0-1.0", "theirs")
        world = MediatedWorld.join(url, GroupName("job", 1), bytes(32), 0, 2)
        world.open_group((0, 1), 1, 1.0).abort("for a notice")
        world.leave()

        others = {key: client.ttl(key) for key in client.keys("*") if b"{job}" not in key}
        assert others == {b"mine": -1, b"elevon:{another}:1:c1.0-1.0": -1}
