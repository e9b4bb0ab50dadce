"""What a group knows before it chooses how to join or sort: the same values on every rank.

Each rank tells the others a report of its own part; ``agree`` carries all reports in one small
collective, and the facts are made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from elevon.frames.exchange.shuffle import rounds_for
from elevon.frames.memory.budget import Counts


class JoinReport(NamedTuple):
    """What one rank tells of its part of a join.

    Attributes:
        left_bytes: of its left rows.
        right_bytes: of its right rows.
        left_rows: how many left rows it has.
        right_rows: how many right rows it has.
        left_settled: whether its left rows lie already where a shuffle would put them.
        right_settled: the same of its right rows.
        copied_bytes: what it copies before it sends anything.
    """

    left_bytes: int
    right_bytes: int
    left_rows: int
    right_rows: int
    left_settled: bool
    right_settled: bool
    copied_bytes: int


class SortReport(NamedTuple):
    """What one rank tells of its part of a sort.

    Attributes:
        nbytes: of its rows.
        rows: how many rows it has.
        plain_numbers: whether its keys are plain numbers, see ``ranges.has_numbers``.
    """

    nbytes: int
    rows: int
    plain_numbers: bool


@dataclass(frozen=True, slots=True)
class SideFacts:
    """One side of a join on all ranks.

    Attributes:
        nbytes: of the rows of each rank.
        rows: how many rows each rank has.
        settled: whether the rows of every rank lie already where a shuffle would put them.
    """

    nbytes: tuple[int, ...]
    rows: tuple[int, ...]
    settled: bool = False

    @property
    def rounds(self) -> int:
        """In how many rounds the rows leave the rank that has most."""
        return rounds_for(max(self.nbytes))


@dataclass(frozen=True, slots=True)
class JoinFacts:
    """What all ranks know of a join.

    Attributes:
        how: the kind of join.
        left: the left side.
        right: the right side.
        copied_bytes: what each rank copies before it sends anything.
        memory_bytes: the budget of a rank, or None.
    """

    how: str
    left: SideFacts
    right: SideFacts
    copied_bytes: tuple[int, ...]
    memory_bytes: int | None = None

    @staticmethod
    def of(how: str, memory_bytes: int | None, told: Counts) -> JoinFacts:
        """From the reports of all ranks, as ``agree`` returns them."""
        reports = [JoinReport(*row[: len(JoinReport._fields)]) for row in told.tolist()]
        return JoinFacts(
            how,
            SideFacts(
                tuple(report.left_bytes for report in reports),
                tuple(report.left_rows for report in reports),
                all(report.left_settled for report in reports),
            ),
            SideFacts(
                tuple(report.right_bytes for report in reports),
                tuple(report.right_rows for report in reports),
                all(report.right_settled for report in reports),
            ),
            tuple(report.copied_bytes for report in reports),
            memory_bytes,
        )

    @property
    def ranks(self) -> int:
        """How many ranks there are."""
        return len(self.copied_bytes)

    @property
    def settled(self) -> tuple[bool, bool]:
        """Which sides need not move in a shuffle."""
        return self.left.settled, self.right.settled

    @property
    def nbytes(self) -> Counts:
        """Bytes of both sides, one row for each rank."""
        return np.stack([self.left.nbytes, self.right.nbytes], axis=1).astype(np.int64)

    @property
    def rows(self) -> Counts:
        """Rows of both sides, one row for each rank."""
        return np.stack([self.left.rows, self.right.rows], axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class SortFacts:
    """What all ranks know of a sort.

    Attributes:
        nbytes: of the rows of each rank.
        rows: how many rows each rank has.
        plain_numbers: whether the keys of every rank are plain numbers.
        memory_bytes: the budget of a rank, or None.
    """

    nbytes: tuple[int, ...]
    rows: tuple[int, ...]
    plain_numbers: bool
    memory_bytes: int | None = None

    @staticmethod
    def of(memory_bytes: int | None, told: Counts) -> SortFacts:
        """From the reports of all ranks, as ``agree`` returns them."""
        reports = [SortReport(*row[: len(SortReport._fields)]) for row in told.tolist()]
        return SortFacts(
            tuple(report.nbytes for report in reports),
            tuple(report.rows for report in reports),
            all(report.plain_numbers for report in reports),
            memory_bytes,
        )

    @property
    def ranks(self) -> int:
        """How many ranks there are."""
        return len(self.rows)

    @property
    def rounds(self) -> int:
        """In how many rounds the rows leave the rank that has most."""
        return rounds_for(max(self.nbytes))

    @property
    def row_counts(self) -> Counts:
        """Rows of each rank, as an array."""
        return np.array(self.rows, dtype=np.int64)
