"""Rows that meet by their keys, on disk: written slice by slice, read part by part.

The rows of a group of ranks go to the rank that the hash of their keys names, and there to one of
its parts by further bits of the same hash. So a part holds all rows of its keys, and an operator
that works on one part after the other needs memory for one part. All it takes besides is for the
slice of its input that is on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from elevon import _native
from elevon.comm.protocol import Communicator
from elevon.frames.exchange.packed import bytes_of, unpack
from elevon.frames.exchange.shuffle import shuffle_rounds
from elevon.frames.memory.budget import FEWEST_ROWS, MOST_PARTITIONS, trim
from elevon.frames.memory.spill import Piece, Spill
from elevon.frames.schema.empty import empty_table
from elevon.frames.schema.kernel_errors import told

#: What finding the equal rows of a table takes, as a multiple of its rows: keys in a plain form,
#: the same in order, and the numbers of rows and groups (measured: 1.5 to 3.5).
FOLD_SCRATCH: Final = 3
#: A slice or a part is planned at this part of the budget: beside it, it is sent, arrives and is
#: written, and parts may come out twice as large as the mean.
SLICE_SHARE: Final = 2


@dataclass(frozen=True, slots=True)
class Steps:
    """In how many slices each rank takes its rows in hand, and in how many parts they are kept."""

    slices: int
    parts: int


def fold_need(nbytes: int) -> int:
    """What an operator that finds equal rows takes beside so many bytes of rows."""
    return nbytes * FOLD_SCRATCH


def plan_steps(memory_bytes: int, nbytes: Sequence[int], rows: int, size: int) -> Steps:
    """Slices and parts that keep to a budget.

    Args:
        memory_bytes: the budget of a rank.
        nbytes: bytes of the rows on each rank.
        rows: of the longest rank.
        size: how many ranks the rows are spread over.

    Returns:
        The steps, the same on all ranks.
    """
    room = max(1, memory_bytes // SLICE_SHARE)
    most = max(1, -(-rows // FEWEST_ROWS))
    slices = min(most, -(-fold_need(max(nbytes)) // room))
    parts = min(most, -(-fold_need(sum(nbytes) // size) // room), MOST_PARTITIONS // size)
    return Steps(max(1, slices), max(1, parts))


def rounds_within(memory_bytes: int | None, nbytes: int, rows: int) -> int:
    """In how many rounds so many bytes are worked through or sent within a budget."""
    if memory_bytes is None or nbytes <= memory_bytes:
        return 1
    room = max(1, memory_bytes // SLICE_SHARE)
    return max(1, min(-(-nbytes // room), -(-rows // FEWEST_ROWS)))


def slices_of(table: pa.Table, count: int) -> Iterator[tuple[int, pa.Table]]:
    """Exactly ``count`` slices of a table, each with the number of its first row.

    Args:
        table: any rows, also fewer than slices: then some slices are empty.
        count: how many.

    Yields:
        The slices, in order.
    """
    step = -(-table.num_rows // count)
    for number in range(count):
        start = min(number * step, table.num_rows)
        yield start, table.slice(start, step)


def in_slices(
    table: pa.Table, memory_bytes: int | None, nbytes: int, run: Callable[[pa.Table], pa.Table]
) -> pa.Table:
    """Work row by row, on as many rows at a time as the budget has room for.

    Args:
        table: the rows.
        memory_bytes: the budget, or None.
        nbytes: what the work takes for all rows.
        run: the work; gives as many columns for every slice.

    Returns:
        The results of all slices in order.
    """
    count = rounds_within(memory_bytes, nbytes, table.num_rows)
    if count == 1:
        return run(table)
    return pa.concat_tables([run(rows) for _, rows in slices_of(table, count)])


@dataclass(slots=True)
class KeyParts:
    """Rows of one schema on disk, in the parts of this rank.

    Attributes:
        spill: the file.
        on: positions of the key columns.
        parts: how many parts each rank has.
        comm: the group that the rows come from; None where all of them are here already.
        place: over how many ranks the hash spreads keys, and which of them this is.
        threads: how many threads the kernel may use.
        memory_bytes: the budget.
    """

    spill: Spill
    on: Sequence[int]
    parts: int
    comm: Communicator | None
    place: tuple[int, int]
    threads: int = 1
    memory_bytes: int = 0
    _pieces: list[list[Piece]] = field(init=False)
    _schema: pa.Schema | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._pieces = [[] for _ in range(self.parts)]

    def write(self, rows: pa.Table) -> None:
        """Add rows of all ranks. Collective, unless ``comm`` is None."""
        # One slice may have kept what another has lost: "not null".
        rows = pa.Table.from_arrays(rows.columns, rows.column_names)
        self._schema = rows.schema if self._schema is None else self._schema
        if self.comm is not None and self.comm.size > 1:
            (arrived,) = shuffle_rounds(self.comm, rows, self.on, self.threads, 1)
            rows = unpack(rows.schema, arrived)
        size, rank = self.place
        # Finer than by rank, the hash cuts no rank's share in two.
        with told("rows cannot be put on disk", rows.schema):
            fine = _native.partition(rows, self.on, size * self.parts, self.threads)
        own = fine[rank * self.parts : (rank + 1) * self.parts]
        for pieces, message in zip(self._pieces, own, strict=True):
            if message.num_rows:
                packed = bytes_of(message)
                pieces.append(self.spill.write_packed(packed, message.num_rows, self._schema))
        trim(self.memory_bytes)

    def bytes_of(self, part: int) -> int:
        """How large a part is."""
        return sum(piece.nbytes for piece in self._pieces[part])

    def read(self, part: int) -> pa.Table:
        """All rows of one part, in the order in which they were written."""
        assert self._schema is not None, "nothing was written yet, not even no rows"
        return pa.concat_tables([empty_table(self._schema), *self.pieces(part)])

    def pieces(self, part: int) -> Iterator[pa.Table]:
        """The rows of one part as they were written, one slice's after the other's."""
        return map(self.spill.read, self._pieces[part])
