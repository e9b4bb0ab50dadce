"""A connection to a Redis, and its failures as our errors.

The client library is an extra and is loaded here only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from elevon.errors import CommunicatorError, UsageError

SCHEMES = ("redis", "rediss")
# Of one answer. A Redis that needs longer is not one to wait for others at.
ANSWER_WITHIN_S = 5.0


def is_redis(address: str) -> bool:
    """Whether an address is the URL of a Redis."""
    return address.partition("://")[0] in SCHEMES


class RedisLink:
    """A Redis, asked without a second try: an answer that is lost may have been a deed.

    Args:
        url: "redis://[user:password@]host[:port][/db]", or "rediss://..." for TLS.
        within_s: seconds for a connection and for each answer.

    Raises:
        UsageError: the URL is not one of a Redis, or the client library is not installed.
    """

    def __init__(self, url: str, within_s: float = ANSWER_WITHIN_S) -> None:
        redis = _library()
        self.where = _without_password(url)
        self._failures = (redis.RedisError, OSError)
        try:
            self.client: Any = redis.Redis.from_url(
                url,
                socket_timeout=within_s,
                socket_connect_timeout=within_s,
                retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            )
        except ValueError as error:
            raise UsageError(f"{self.where} is not the URL of a Redis: {error}") from error

    @contextlib.contextmanager
    def commands(self) -> Iterator[Any]:
        """The client, for some commands.

        Raises:
            CommunicatorError: the Redis is away, too slow, or refuses.
        """
        try:
            yield self.client
        except self._failures as error:
            raise CommunicatorError(
                f"no answer from Redis at {self.where}: {error}; check that it runs, lets this "
                "host in, and has memory left"
            ) from error

    def close(self) -> None:
        """Give its connections up."""
        self.client.close()


def _library() -> Any:
    try:
        import redis
        import redis.backoff
        import redis.retry
    except ImportError as error:
        raise UsageError("a Redis needs its client library: pip install 'elevon[redis]'") from error
    return redis


def _without_password(url: str) -> str:
    """For messages."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
