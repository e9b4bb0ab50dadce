"""A Redis as a store of messages.

An object is a list of one value, because Redis can wait for a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from elevon.comm.base.failure import FailureLatch
from elevon.comm.base.waiting import Deadline
from elevon.comm.connect.redis import RedisLink
from elevon.comm.mediated.store import KEPT_S

# A failure that another thread reports is seen after this; far below the limit for an answer.
WAIT_AT_MOST_S = 0.25
# 0 would be for ever, and Redis counts in milliseconds.
WAIT_AT_LEAST_S = 0.001
SENT_AT_ONCE_BYTES = 64 * 1024 * 1024


class RedisStore:
    """See Store.

    Args:
        url: "redis://host:port/db".
        job: the job.
        epoch: of its world.
        kept_s: how long what nobody takes is kept.

    Raises:
        UsageError: the URL is none, or the client library is not installed.
        CommunicatorError: there is no Redis, or it does not let us in.
    """

    def __init__(self, url: str, job: str, epoch: int, kept_s: float = KEPT_S) -> None:
        self._link = RedisLink(url)
        with self._link.commands() as client:
            client.ping()  # told now, and not by the first collective
        self._kept_s = kept_s
        # Braces keep all of a job on one node of a cluster, where one command may wait for several.
        self._prefix = f"elevon:{{{quote(job, safe='')}}}:{epoch}:"

    @property
    def kept_s(self) -> float:
        """See Store."""
        return self._kept_s

    def put(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """See Store."""
        with self._link.commands() as client:
            for some in _by_size(objects):
                commands = client.pipeline(transaction=False)
                for name, value in some:
                    commands.rpush(self._prefix + name, value)
                    commands.pexpire(self._prefix + name, int(self._kept_s * 1000))
                commands.execute()

    def take(
        self, names: Sequence[str], deadline: Deadline, latch: FailureLatch
    ) -> tuple[str, bytes] | None:
        """See Store."""
        keys = [self._prefix + name for name in names]
        found = self._look(keys) if deadline.passed else None
        while found is None and latch.failure is None and not deadline.passed:
            wait_s = max(min(deadline.left_s, WAIT_AT_MOST_S), WAIT_AT_LEAST_S)
            with self._link.commands() as client:
                found = client.blpop(keys, timeout=wait_s)
        return None if found is None else (found[0].decode()[len(self._prefix) :], found[1])

    def _look(self, keys: list[str]) -> tuple[bytes, bytes] | None:
        # Redis ends a wait up to a tenth of a second late, so a look is no short wait.
        with self._link.commands() as client:
            for key in keys:
                value = client.lpop(key)
                if value is not None:
                    return key.encode(), value
        return None

    def sweep(self) -> None:
        """Nothing: Redis does."""

    def close(self) -> None:
        """See Store."""
        self._link.close()


def _by_size(objects: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Portions whose copies in a pipeline do not fill the memory."""
    portion: list[tuple[str, bytes]] = []
    size = 0
    for name, value in objects:
        portion.append((name, value))
        size += len(value)
        if size >= SENT_AT_ONCE_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
