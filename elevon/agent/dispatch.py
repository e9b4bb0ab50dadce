"""From the scheduler's StartGang to one RunTask per member.

Functions are kept here by content hash and travel to each rank once.
"""

from __future__ import annotations

from collections.abc import Iterator

from elevon.agent.pool.processes import ProcessTable, RankProcess
from elevon.agent.scheduling.events import StartGang
from elevon.model.operations import Call
from elevon.wire.messages import RunTask


class FunctionStore:
    """Pickled functions by content hash."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put(self, digest: str, blob: bytes) -> None:
        """Keep a function."""
        self._blobs[digest] = blob

    def blob_for(self, process: RankProcess, digest: str) -> bytes:
        """The function, or b"" where the rank has had it already."""
        blob = self._blobs.get(digest, b"")
        if not blob or digest in process.functions:
            return b""
        process.functions.add(digest)
        return blob


def run_messages(
    command: StartGang, ranks: ProcessTable, functions: FunctionStore
) -> Iterator[tuple[RankProcess, RunTask]]:
    """The messages that start an attempt, one per member, in gang order."""
    description = command.submission.description
    for group_rank, rank in enumerate(command.ranks):
        process = ranks[rank]
        function = b""
        if isinstance(description.operation, Call):
            function = functions.blob_for(process, description.operation.function)
        yield (
            process,
            RunTask(
                task=command.submission.task,
                name=description.name,
                attempt=command.attempt,
                operation=description.operation,
                members=command.ranks,
                group_rank=group_rank,
                communicator_id=command.communicator_id,
                evict=command.evict,
                inputs=command.inputs[group_rank],
                values=command.values,
                schemas=command.schemas,
                function=function,
                threads=description.options.cores_per_rank,
                timeout_s=description.options.timeout_s,
                memory_bytes=description.options.memory_per_rank,
            ),
        )
