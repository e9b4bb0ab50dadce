"""Which rows of which unit (row group, record batch) a rank reads. Pure arithmetic.

Every rank computes the same shares from the same counts, so nothing has to be sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

#: A cut inside a unit makes two ranks decode it. A unit's edge nearer than a quarter of a share is
#: taken instead: a rank then reads at most half a share more than another.
SNAP: Final = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows ``start`` up to ``stop`` of unit number ``unit``."""

    unit: int
    start: int
    stop: int


def share(rows: Sequence[int], rank: int, size: int) -> list[Piece]:
    """The rank's contiguous share of all rows, in order over the units.

    Args:
        rows: how many rows each unit has.
        rank: whose share it is.
        size: among how many ranks the rows are shared.

    Returns:
        Its pieces, none of them empty. All ranks' pieces together are all rows, once.
    """
    edges = [0, *accumulate(rows)]
    first, last = _cut(edges, rank, size), _cut(edges, rank + 1, size)
    pieces = []
    for unit, (start, stop) in enumerate(pairwise(edges)):
        low, high = max(start, first), min(stop, last)
        if low < high:
            pieces.append(Piece(unit, low - start, high - start))
    return pieces


def _cut(edges: Sequence[int], number: int, size: int) -> int:
    """Where share ``number`` begins; moved by a quarter share at most, so cuts stay in order."""
    total = edges[-1]
    exact = number * total // size
    nearest = min(edges, key=lambda edge: abs(edge - exact))
    return nearest if abs(nearest - exact) * SNAP * size <= total else exact
