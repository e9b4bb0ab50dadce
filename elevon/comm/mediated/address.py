"""The store that a URL names."""

from __future__ import annotations

from elevon.comm.connect.redis import is_redis
from elevon.comm.mediated.store import Store


def open_store(url: str, job: str, epoch: int) -> Store:
    """The store that a URL names.

    Args:
        url: "redis://host:port/db", or a URL of pyarrow's file systems: "s3://bucket/prefix",
            "file:///a/directory/that/all/hosts/mount".
        job: the job; what it puts lies apart from other jobs'.
        epoch: how many times its world was started anew.

    Raises:
        UsageError: the URL is of no such kind, or its library is not installed.
        CommunicatorError: the store is away or refuses, or its folder of messages is not ours.
    """
    # Loaded here: each of the two needs a library that the other does without.
    if is_redis(url):
        from elevon.comm.mediated.redis_store import RedisStore

        return RedisStore(url, job, epoch)
    from elevon.comm.mediated.file_store import FileStore

    return FileStore(url, job, epoch)
