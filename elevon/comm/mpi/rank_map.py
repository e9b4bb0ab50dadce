"""Which rank of the MPI world has which slot.

A slot is the agent's number of a rank and stays with it; the rank in MPI's world changes when the
world is repaired, because survivors close up and replacements come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mpi4py import MPI


@dataclass(frozen=True)
class RankMap:
    """A world and its slots.

    Attributes:
        control: a duplicate of the world for our own messages, with errors returned.
        slots: the slot of each rank of ``control``.
    """

    control: MPI.Intracomm
    slots: tuple[int, ...]
    _ranks: dict[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ranks = {slot: rank for rank, slot in enumerate(self.slots)}
        object.__setattr__(self, "_ranks", ranks)

    @property
    def slot(self) -> int:
        """The caller's own."""
        return self.slots[self.control.rank]

    def ranks_of(self, slots: Sequence[int]) -> list[int]:
        """The control ranks of slots.

        Raises:
            KeyError: this world has no such slot.
        """
        return [self._ranks[slot] for slot in slots]
