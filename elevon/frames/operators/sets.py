"""Different rows over a private group of ranks: drop_duplicates, union, intersect, subtract.

Only keys travel, with the number of their row in the global order; each rank is told which of its
rows stay. So the rows stay where they are and in their order, and which of several equal rows stays
does not depend on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError, SchemaError
from elevon.frames.aggregation.segments import FoldName, fold
from elevon.frames.aggregation.sort_groups import Groups, Rows, find_keys
from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.requests import Request, settle
from elevon.frames.exchange.shuffle import shuffle, take_rows
from elevon.frames.memory.budget import check_memory
from elevon.frames.memory.partitioned import KeyParts, Steps, fold_need, plan_steps, slices_of
from elevon.frames.memory.spill import Spill
from elevon.frames.schema.decoded import Column
from elevon.frames.schema.dictionaries import without_orders
from elevon.frames.schema.join_plan import check_columns
from elevon.frames.schema.plain import plain_columns
from elevon.model.algebra import KEEPS, SET_KINDS

#: What chooses among the numbers of equal rows.
CHOOSES: Final[dict[str, FoldName]] = {"first": "min", "last": "max"}


def drop_duplicates(
    comm: Communicator,
    table: pa.Table,
    subset: Sequence[str] | None = None,
    keep: str = "first",
    threads: int = 1,
    memory_bytes: int | None = None,
) -> pa.Table:
    """Keep one row of each group of equal rows.

    Collective: every rank passes its rows, which follow those of the ranks below, and gets those of
    them that stay, in their order. Null equals null, and NaN equals NaN.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        subset: names of the columns that are compared; all of them where None.
        keep: "first" or "last" of the global order.
        threads: how many threads the kernels may use on this rank.
        memory_bytes: how much working memory each rank may take beside its input and its result;
            what does not fit goes to the local disk for a while. None: no limit.

    Returns:
        This rank's rows that stay.

    Raises:
        DescriptionError: ``keep`` is neither; on every rank.
        SchemaError: a column is missing or cannot be compared, on any rank; on every rank.
        CommunicatorError: the group failed.
    """

    def prepare() -> Request[_Work]:
        if keep not in KEEPS:
            raise DescriptionError(f"drop_duplicates: keep={keep!r} is not first or last")
        names = table.column_names if subset is None else list(subset)
        terms = f"drop_duplicates of {spell(table.schema)} by {names}, keep={keep}"
        return _request([table], names, terms, memory_bytes)

    work, facts = settle(comm, prepare)
    if (steps := work.steps(facts)) is not None:
        (kept,) = _staying_spilled(comm, work, facts, "distinct", CHOOSES[keep], steps, threads)
        return _kept(table, kept, steps)
    (stay,) = _staying(comm, work, facts, "distinct", CHOOSES[keep], threads)
    return _only(table, stay)


def combine_sets(
    comm: Communicator,
    kind: str,
    left: pa.Table,
    right: pa.Table,
    threads: int = 1,
    memory_bytes: int | None = None,
) -> pa.Table:
    """UNION, INTERSECT or EXCEPT as SQL has them: the different rows of both, each once.

    Collective: every rank passes its rows of both tables, and gets those of them that belong to
    the result: first from its left, then from its right rows. Null equals null, NaN equals NaN.

    Args:
        comm: the group of ranks.
        kind: "union" (in any), "intersect" (in both) or "subtract" (in the left, not in the right).
        left: this rank's left rows.
        right: this rank's right rows; the same column names and types.
        threads: how many threads the kernels may use on this rank.
        memory_bytes: how much working memory each rank may take beside its input and its result;
            what does not fit goes to the local disk for a while. None: no limit.

    Returns:
        This rank's rows of the result, each the first of its equals in the global order.

    Raises:
        DescriptionError: ``kind`` is unknown; on every rank.
        SchemaError: the schemas differ or a column cannot be compared, on any rank; on every rank.
        CommunicatorError: the group failed.
    """

    def prepare() -> Request[_Work]:
        if kind not in SET_KINDS:
            raise DescriptionError(f"set operation: {kind!r} is none of {', '.join(SET_KINDS)}")
        check_same_columns([left, right], kind)
        terms = f"{kind} of {spell(left.schema)} and {spell(right.schema)}"
        return _request([left, right], left.column_names, terms, memory_bytes)

    left, right = sides = in_common_types([left, right])
    work, facts = settle(comm, prepare)
    if (steps := work.steps(facts)) is not None:
        kept = _staying_spilled(comm, work, facts, kind, "min", steps, threads)
        parts = [_kept(table, those, steps) for table, those in zip(sides, kept, strict=True)]
    else:
        stay = _staying(comm, work, facts, kind, "min", threads)
        parts = [_only(table, those) for table, those in zip(sides, stay, strict=True)]
    return pa.concat_tables([nullable(part) for part in parts])


def check_same_columns(tables: Sequence[pa.Table], verb: str) -> None:
    """Refuse tables that cannot lie one under the other.

    Raises:
        SchemaError: names, types or order of the columns differ; the message says where.
    """
    first = spell(tables[0].schema)
    for number, table in enumerate(tables):
        if spell(table.schema) != first:
            raise SchemaError(
                f"{verb}: the frames have different columns: number 0 has {first}; number {number} "
                f"has {spell(table.schema)}. Select, rename or cast them first"
            )


def in_common_types(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Tables whose text and bytes are of one layout where only the layouts differ.

    Frames of Polars, pandas and Arrow bring string_view, large_string and string for the same
    texts. Other types, and tables of different columns, stay as they are.

    Args:
        tables: the tables that are to meet.

    Returns:
        As many tables.
    """
    first = tables[0].schema
    if any(table.schema.names != first.names for table in tables):
        return list(tables)
    found = [table.schema.types for table in tables]
    kinds = [_common(each) for each in zip(*found, strict=True)]
    return [_in_types(table, kinds) for table in tables]


def _common(kinds: Sequence[pa.DataType]) -> pa.DataType | None:
    """The type of columns that differ in their layout only; None: they stay."""
    if all(kind == kinds[0] for kind in kinds):
        return None
    if all(map(_is_text, kinds)):
        return pa.large_string()
    return pa.large_binary() if all(map(_is_binary, kinds)) else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind))


def _in_types(table: pa.Table, kinds: Sequence[pa.DataType | None]) -> pa.Table:
    columns = [
        column if kind is None else column.cast(kind)
        for column, kind in zip(table.columns, kinds, strict=True)
    ]
    fields = [
        field if kind is None else field.with_type(kind)
        for field, kind in zip(table.schema, kinds, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, table.schema.metadata))


def nullable(table: pa.Table) -> pa.Table:
    """The table with fields that say no more than name and type, so that tables can meet."""
    return pa.Table.from_arrays(table.columns, table.column_names)


@dataclass(frozen=True, slots=True)
class _Work:
    """The key columns of one or two tables of this rank, and the budget."""

    keys: tuple[pa.Table, ...]
    memory_bytes: int | None

    @property
    def nbytes(self) -> int:
        """Bytes of the keys with the numbers of their rows."""
        return sum(own_bytes(keys) + 16 * keys.num_rows for keys in self.keys)

    def steps(self, facts: NDArray[np.int64]) -> Steps | None:
        """In what steps all ranks work over the disk; None: in memory."""
        nbytes, rows = facts[:, 2], facts[:, :2].sum(axis=1)
        if self.memory_bytes is None or fold_need(int(nbytes.max())) <= self.memory_bytes:
            return None
        return plan_steps(self.memory_bytes, nbytes.tolist(), int(rows.max()), len(facts))


def _request(
    tables: Sequence[pa.Table], names: Sequence[str], terms: str, memory_bytes: int | None
) -> Request[_Work]:
    check_memory(memory_bytes)
    if not names:
        raise SchemaError(f"{terms}: there is no column to compare")
    for table in tables:
        check_columns(table.schema)
    on = find_keys(tables[0].schema, names, "compare rows by")
    rows = (tables[0].num_rows, tables[1].num_rows if len(tables) > 1 else 0)
    keys = [nullable(without_orders(plain_columns(table.select(on)))) for table in tables]
    work = _Work(tuple(keys), memory_bytes)
    nbytes = 0 if memory_bytes is None else work.nbytes
    return Request(work, f"{terms}, {memory_bytes=}", (*rows, nbytes))


def _staying(
    comm: Communicator,
    work: _Work,
    facts: NDArray[np.int64],
    kind: str,
    choose: FoldName,
    threads: int,
) -> list[Rows]:
    """Which rows of each of this rank's tables belong to the result, ascending."""
    starts = np.cumsum(facts[:, :2], axis=0) - facts[:, :2]
    sent = pa.concat_tables(
        _once(keys, starts[comm.rank, side] + np.arange(keys.num_rows), side, choose, threads)
        for side, keys in enumerate(work.keys)
    )
    by = range(work.keys[0].num_columns)
    met = sent if comm.size == 1 else shuffle(comm, sent, by, threads)
    chosen = _chosen(met, by, kind, choose, threads)
    return [
        _told(comm, numbers, starts[:, side])
        for side, numbers in zip(range(len(work.keys)), chosen, strict=False)
    ]


def _staying_spilled(
    comm: Communicator,
    work: _Work,
    facts: NDArray[np.int64],
    kind: str,
    choose: FoldName,
    steps: Steps,
    threads: int,
) -> list[NDArray[np.bool_]]:
    """For each row of this rank's tables whether it belongs to the result; part after part."""
    starts = np.cumsum(facts[:, :2], axis=0) - facts[:, :2]
    by, place = range(work.keys[0].num_columns), (comm.size, comm.rank)
    stay = [np.zeros(keys.num_rows, dtype=np.bool_) for keys in work.keys]
    with Spill() as spill:
        budget = work.memory_bytes or 0
        parts = KeyParts(spill, by, steps.parts, comm, place, threads, budget)
        for side, keys in enumerate(work.keys):
            for start, rows in slices_of(keys, steps.slices):
                numbers = starts[comm.rank, side] + start + np.arange(rows.num_rows)
                parts.write(_once(rows, numbers, side, choose, threads))
        for part in range(steps.parts):
            chosen = _chosen(parts.read(part), by, kind, choose, threads)
            for side, numbers in zip(range(len(work.keys)), chosen, strict=False):
                stay[side][_told(comm, numbers, starts[:, side])] = True
    return stay


def _chosen(
    met: pa.Table, by: range, kind: str, choose: FoldName, threads: int
) -> tuple[Rows, Rows]:
    """The numbers of the left and the right rows that belong to the result, of rows that met."""
    sides = dict(zip(("left", "right"), met.columns[len(by) :], strict=True))
    groups = Groups.of(met.select(by), sides, threads)
    left, right = (fold(groups, groups.values[name], choose) for name in sides)
    return _members(kind, left, right)


def _once(keys: pa.Table, numbers: Rows, side: int, choose: FoldName, threads: int) -> pa.Table:
    """This rank's different keys, each with the number of one row, for the left or the right."""
    groups = Groups.of(keys, threads=threads)
    rows = groups.last if choose == "max" else groups.first
    own, none = pa.array(numbers[rows], pa.int64()), pa.nulls(len(rows), pa.int64())
    columns = take_rows(keys, rows)
    columns = columns.append_column("left", none if side else own)
    return columns.append_column("right", own if side else none)


def _members(kind: str, left: Column, right: Column) -> tuple[Rows, Rows]:
    """The numbers of the left and the right rows that belong to the result."""
    nothing = np.zeros(0, dtype=np.int64)
    if kind == "distinct":
        return _valid(left), nothing
    if kind == "union":
        return _valid(left), _valid(right.filter(left.is_null()))
    other = right.is_valid() if kind == "intersect" else right.is_null()
    return _valid(left.filter(pc.and_(left.is_valid(), other))), nothing


def _valid(column: Column) -> Rows:
    return np.asarray(column.drop_null().to_numpy(), dtype=np.int64)


def _told(comm: Communicator, numbers: Rows, starts: Rows) -> Rows:
    """Send each rank the numbers of its own rows; what this rank is told, as its positions."""
    told: Rows = np.sort(numbers)
    if comm.size > 1:
        cuts = np.searchsorted(told, starts[1:])
        told = np.sort(np.concatenate(comm.alltoallv(np.split(told, cuts))))
    return told - int(starts[comm.rank])


def _only(table: pa.Table, rows: Rows) -> pa.Table:
    return table if len(rows) == table.num_rows else take_rows(table, rows)


def _kept(table: pa.Table, stay: NDArray[np.bool_], steps: Steps) -> pa.Table:
    """The rows that stay, copied slice by slice."""
    return pa.concat_tables(
        take_rows(rows, np.flatnonzero(stay[start : start + rows.num_rows]))
        for start, rows in slices_of(table, steps.slices)
    )
