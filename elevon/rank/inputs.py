"""What one member's job works on: its inputs, how they lie, and how much memory it may take.

A user function sees the values only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elevon.frames.exchange.partitioning import Layout


@dataclass(frozen=True, slots=True)
class Inputs(Sequence[Any]):
    """The inputs of a job, by number.

    Attributes:
        values: tables, or the values of tasks that made no table.
        layouts: for each, where its rows are known to belong.
        memory_bytes: the budget for working memory, or None.
    """

    values: Sequence[Any] = ()
    layouts: Sequence[Layout | None] = ()
    memory_bytes: int | None = None

    def __getitem__(self, number: Any) -> Any:
        return self.values[number]

    def __len__(self) -> int:
        return len(self.values)
