"""The table algebra's operations as calls of ``frames``: the longer half of ``operators``.

Modules of ``frames`` are imported when a job runs, because a rank starts faster without them. A
result says how its rows lie where that is known, so that a later join by the same keys moves
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from elevon.comm.protocol import Communicator
from elevon.model.algebra import (
    Algebra,
    Concat,
    Derived,
    Drop,
    DropDuplicates,
    Equals,
    Filter,
    GroupBy,
    Project,
    RankRows,
    Rename,
    Repartition,
    Rolling,
    SetRows,
    SliceRows,
)
from elevon.rank.inputs import Inputs

if TYPE_CHECKING:
    from elevon.frames.exchange.partitioning import Layout

Job: TypeAlias = Callable[[Communicator, Inputs], Any]


def algebra(operation: Algebra, threads: int) -> Job:
    """The job of one rank for one operation of the table algebra."""

    def job(comm: Communicator, inputs: Inputs) -> Any:
        result = _run(comm, operation, inputs, threads)
        if isinstance(operation, Equals):
            return result
        from elevon.frames.exchange.partitioning import Placed

        return Placed(result, _layout(comm, operation, inputs, result))

    return job


def _run(comm: Communicator, operation: Algebra, inputs: Inputs, threads: int) -> Any:
    if isinstance(operation, GroupBy | DropDuplicates | SetRows):
        return _by_keys(comm, operation, inputs, threads)
    if isinstance(operation, Filter | Project | Rename | Drop):
        return _by_expressions(comm, operation, inputs)
    if isinstance(operation, Rolling | RankRows):
        return _over_windows(comm, operation, inputs, threads)
    return _by_place(comm, operation, inputs, threads)


def _layout(comm: Communicator, operation: Algebra, inputs: Inputs, result: Any) -> Layout | None:
    """How the rows of a result lie: by its own shuffle, or as they did before."""
    if isinstance(operation, GroupBy | Repartition):
        return _shuffled(comm, operation.by, result) if operation.by else None
    known = inputs.layouts[0] if inputs.layouts else None
    if known is None or not _keeps(operation, known.keys):
        return None
    return known


def _shuffled(comm: Communicator, by: tuple[str, ...], table: Any) -> Layout:
    from elevon.frames.exchange.partitioning import Layout, spell_types

    types = spell_types([table.schema.field(name).type for name in by])
    return Layout(by, types, comm.size, comm.rank)


def _keeps(operation: Algebra, keys: tuple[str, ...]) -> bool:
    """Whether rows stay on their rank, and the keys as they are under their names."""
    match operation:
        case Filter() | DropDuplicates() | SliceRows() | Rolling():
            return True
        case Drop():
            return not set(keys) & set(operation.columns)
        case Rename():
            return not set(keys) & {old for old, _ in operation.columns}
        case Project(columns, extend):
            kept = {one.name for one in columns if one.name == one.source}
            made = {one.name for one in columns} - kept
            return not set(keys) & made if extend else set(keys) <= kept
    return False


def _by_keys(
    comm: Communicator, operation: GroupBy | DropDuplicates | SetRows, inputs: Inputs, threads: int
) -> Any:
    from elevon.frames.operators.groupby import groupby
    from elevon.frames.operators.sets import combine_sets, drop_duplicates

    memory = inputs.memory_bytes
    match operation:
        case GroupBy():
            wanted, dropna = operation.aggregates, operation.dropna
            layout = inputs.layouts[0] if inputs.layouts else None
            return groupby(comm, inputs[0], operation.by, wanted, dropna, threads, layout, memory)
        case DropDuplicates():
            subset, keep = operation.subset, operation.keep
            return drop_duplicates(comm, inputs[0], subset, keep, threads, memory)
        case SetRows():
            return combine_sets(comm, operation.kind, inputs[0], inputs[1], threads, memory)


def _by_expressions(
    comm: Communicator, operation: Filter | Project | Rename | Drop, inputs: Inputs
) -> Any:
    from elevon.frames.operators import expressions

    table, memory = inputs[0], inputs.memory_bytes
    match operation:
        case Filter():
            predicate = expressions.from_bytes(operation.predicate)
            return expressions.filter_rows(comm, table, predicate, memory)
        case Project():
            columns = {column.name: _source(column) for column in operation.columns}
            return expressions.project(comm, table, columns, operation.extend, memory)
        case Rename():
            return expressions.rename(comm, table, dict(operation.columns))
        case Drop():
            return expressions.drop(comm, table, operation.columns)


def _source(column: Derived) -> Any:
    from elevon.frames.operators.expressions import from_bytes

    return from_bytes(column.expression) if column.expression else column.source


def _over_windows(
    comm: Communicator, operation: Rolling | RankRows, inputs: Inputs, threads: int
) -> Any:
    from elevon.frames.operators.ranking import rank_rows
    from elevon.frames.operators.rolling import rolling

    table, memory = inputs[0], inputs.memory_bytes
    match operation:
        case Rolling():
            columns, periods = operation.columns, operation.min_periods
            return rolling(comm, table, operation.window, columns, periods, memory)
        case RankRows():
            return rank_rows(
                comm,
                table,
                operation.by,
                operation.method,
                operation.ascending,
                operation.name,
                threads,
                memory,
            )


def _by_place(
    comm: Communicator,
    operation: Concat | SliceRows | Repartition | Equals,
    inputs: Inputs,
    threads: int,
) -> Any:
    from elevon.frames.operators import slices

    memory = inputs.memory_bytes
    match operation:
        case Concat():
            return slices.concat(comm, inputs, operation.ordered, memory)
        case SliceRows():
            return slices.slice_rows(comm, inputs[0], operation.start, operation.stop)
        case Repartition():
            return slices.repartition(comm, inputs[0], operation.by, threads, memory)
        case Equals():
            return slices.equals(comm, inputs[0], inputs[1], operation.ordered, threads, memory)
