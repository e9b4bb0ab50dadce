"""Which rows of which partition a member of a gang reads: decided by the agent, read by a rank."""

from __future__ import annotations

import msgspec

from elevon.model.ids import RankId, TaskId


class Slice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Rows ``offset`` to ``offset + rows`` of one partition.

    By position on the wire, like the messages that carry it.

    Attributes:
        task: the task whose output the partition is a part of.
        address: where the partition is served.
        offset, rows: within the partition.
        rank: the rank that holds it, None where a client serves a table of its own.
    """

    task: TaskId
    address: str
    offset: int
    rows: int
    rank: RankId | None = None
