"""One decision for the whole group before any row moves.

A rank that finds a wrong column must not raise alone, because its peers would wait in the next
collective; so all ranks share what they found in one small allgather, and go on or raise together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError, ResourceError, SchemaError, UsageError

#: How many numbers a rank may tell its peers. All send as many, also one that found a problem; what
#: an operator has no use for is zero.
FACTS: Final = 8
_KINDS: Final = {
    kind.__name__: kind for kind in (UsageError, DescriptionError, SchemaError, ResourceError)
}


class Proposal(Protocol):
    """What one rank is about to do."""

    @property
    def terms(self) -> str:
        """What must be the same on every rank: schemas and arguments."""

    @property
    def facts(self) -> tuple[int, ...]:
        """What each rank tells the others of itself, at most FACTS numbers: rows, bytes."""


P = TypeVar("P", bound=Proposal)


def agree(comm: Communicator, prepare: Callable[[], P]) -> tuple[P, NDArray[np.int64]]:
    """Prepare on every rank, and go on only if all can and want the same.

    Collective. An error that is not a UsageError leaves ``prepare`` at once: it is a fault of
    this process, and whoever runs the rank aborts the group.

    Args:
        comm: the group.
        prepare: checks this rank's input and arguments; calls no collective.

    Returns:
        What ``prepare`` made, and the facts of all ranks, one row of FACTS numbers for each.

    Raises:
        UsageError: on every rank, of the kind that ``prepare`` raised on the first rank with a
            problem (its own error there).
        SchemaError: on every rank, where the terms differ.
    """
    proposal, problem = _attempt(prepare)
    known = comm.allgather(_summary(proposal))
    if known[:, 0].all() and (known[:, 1] == known[0, 1]).all() and proposal is not None:
        return proposal, known[:, 2:]
    raise _refusal(comm, proposal, problem)


def spell(schema: pa.Schema) -> str:
    """The names and types of a schema; metadata may differ from rank to rank."""
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _attempt(prepare: Callable[[], P]) -> tuple[P | None, UsageError | None]:
    try:
        return prepare(), None
    except UsageError as error:
        return None, error


def _summary(proposal: P | None) -> NDArray[np.int64]:
    summary = np.zeros(2 + FACTS, dtype=np.int64)
    if proposal is not None:
        digest = hashlib.blake2b(proposal.terms.encode(), digest_size=8).digest()
        facts = proposal.facts
        summary[: 2 + len(facts)] = [1, int.from_bytes(digest, "little", signed=True), *facts]
    return summary


def _refusal(comm: Communicator, proposal: P | None, problem: UsageError | None) -> UsageError:
    """Tell everybody what each rank has to say; the error to raise here."""
    kind = "" if problem is None else type(problem).__name__
    text = proposal.terms if proposal is not None else str(problem)
    said = comm.allgatherv(np.frombuffer(f"{kind}\n{text}".encode(), dtype=np.uint8))
    if problem is not None:
        return problem
    kinds, texts = zip(*(bytes(item).decode().split("\n", 1) for item in said), strict=True)
    for rank, found in enumerate(kinds):
        if found:
            return _KINDS.get(found, UsageError)(f"rank {rank} of {comm.size}: {texts[rank]}")
    other = next(rank for rank, text in enumerate(texts) if text != texts[0])
    return SchemaError(
        f"the ranks ask for different things. Rank 0: {texts[0]}. Rank {other}: {texts[other]}"
    )
