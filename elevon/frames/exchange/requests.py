"""What one rank asks of an operator, and the group's consent to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.frames.exchange.agreement import agree

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class Request(Generic[W]):
    """One rank's share of the work, checked.

    Attributes:
        work: what this rank is going to work on.
        terms: what must be the same on all ranks.
        facts: numbers that all ranks will know of this one, at most agreement.FACTS.
    """

    work: W
    terms: str
    facts: tuple[int, ...] = (0, 0)


def settle(comm: Communicator, prepare: Callable[[], Request[W]]) -> tuple[W, NDArray[np.int64]]:
    """Prepare on every rank; go on only if all can and want the same.

    Collective, unless the group has one rank: it has nobody to agree with.

    Args:
        comm: the group.
        prepare: checks this rank's input and arguments; calls no collective.

    Returns:
        What ``prepare`` made, and the facts of all ranks, one row for each.

    Raises:
        UsageError: on every rank, what ``prepare`` raised on the first rank with a problem.
        SchemaError: on every rank, where the terms differ.
    """
    if comm.size == 1:
        request = prepare()
        return request.work, np.array([request.facts], dtype=np.int64)
    request, facts = agree(comm, prepare)
    return request.work, facts
