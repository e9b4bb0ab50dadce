"""The registry of operators: what a rank calls for each operation, and how the result lies.

The one place where model meets frames. Modules of ``frames`` are imported when a job runs, because
a rank starts faster without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from elevon.comm.protocol import Communicator
from elevon.errors import ElevonError, ResourceError, SchemaError
from elevon.model.algebra import (
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
from elevon.model.operations import Call, Join, Load, Operation, Read, Sort, WriteParquet
from elevon.rank.calls import Job, prepare_call
from elevon.rank.inputs import Inputs
from elevon.rank.layouts import after_shuffle, as_before, unless_changed


def prepare(operation: Operation, function: Callable[..., Any] | None, threads: int) -> Job:
    """The job of one rank. For a Call, ``function`` is what was sent for its digest.

    Raises:
        DescriptionError: the function was never sent.
    """
    if isinstance(operation, Call):
        return prepare_call(operation, function)
    operator = OPERATORS[type(operation)]

    def run(comm: Communicator, inputs: Inputs) -> Any:
        with _told(operation):
            result = operator.run(comm, operation, inputs, threads)
            return _placed(operator, comm, operation, inputs, result)

    return run


@dataclass(frozen=True, slots=True)
class Operator:
    """How one kind of operation is run.

    Attributes:
        run: gives this rank's part of the result; called with the group's communicator, the
            operation, this rank's part of the inputs, and how many threads it may use.
        layout: how the rows of the result lie, called with communicator, operation, inputs and
            result; so a later join by the same keys moves nothing. None where that is not known,
            or ``run`` says it by itself.
    """

    run: Callable[[Communicator, Any, Inputs, int], Any]
    layout: Callable[[Communicator, Any, Inputs, Any], Any] | None = None


def _placed(
    operator: Operator, comm: Communicator, operation: Operation, inputs: Inputs, result: Any
) -> Any:
    if operator.layout is None:
        return result
    from elevon.frames.exchange.partitioning import Placed

    return Placed(result, operator.layout(comm, operation, inputs, result))


@contextmanager
def _told(operation: Operation) -> Iterator[None]:
    """The border of the verbs: what Arrow and the kernels raise by themselves becomes ours.

    The other ranks of the group are ended with its text by whoever runs the job.
    """
    try:
        yield
    except ElevonError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"{operation.verb}: there is no memory left on this rank ({error}): use more ranks, or "
            f"let memory_per_rank limit what the verb takes"
        ) from error
    except Exception as error:
        if isinstance(error, ValueError) or type(error).__module__.startswith("pyarrow"):
            raise SchemaError(f"{operation.verb}: {type(error).__name__}: {error}") from error
        raise


# ------------------------------------------------------------------ frames in and out


def _read(comm: Communicator, read: Read, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.files.partitions import read_partition

    return read_partition(
        read.paths,
        read.format,
        read.columns,
        comm.rank,
        comm.size,
        memory_bytes=inputs.memory_bytes,
    )


def _load(comm: Communicator, load: Load, inputs: Inputs, threads: int) -> Any:
    return inputs[0]


def _write(comm: Communicator, write: WriteParquet, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.files.parquet_parts import write_parquet

    return write_parquet(
        comm, inputs[0], write.path, write.compression, write.overwrite, inputs.memory_bytes
    )


# ------------------------------------------------------------------ joins and sorts


def _join(comm: Communicator, join: Join, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.join_sort.distributed import place_join

    return place_join(
        comm,
        inputs[0],
        inputs[1],
        left_on=join.left_on,
        right_on=join.right_on,
        how=join.how,
        suffixes=join.suffixes,
        nulls_equal=join.nulls_equal,
        threads=threads,
        memory_bytes=inputs.memory_bytes,
        layouts=(inputs.layouts[0], inputs.layouts[1]),
    )


def _sort(comm: Communicator, sort: Sort, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.join_sort.distributed import sort as sort_rows

    return sort_rows(
        comm,
        inputs[0],
        by=sort.by,
        ascending=sort.ascending,
        na_position=sort.na_position,
        threads=threads,
        memory_bytes=inputs.memory_bytes,
    )


# ------------------------------------------------------------------ groups, sets and windows


def _groupby(comm: Communicator, group: GroupBy, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.groupby import groupby

    layout = inputs.layouts[0] if inputs.layouts else None
    return groupby(
        comm,
        inputs[0],
        group.by,
        group.aggregates,
        group.dropna,
        threads,
        layout,
        inputs.memory_bytes,
    )


def _drop_duplicates(comm: Communicator, drop: DropDuplicates, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.sets import drop_duplicates

    return drop_duplicates(comm, inputs[0], drop.subset, drop.keep, threads, inputs.memory_bytes)


def _combine_sets(comm: Communicator, rows: SetRows, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.sets import combine_sets

    return combine_sets(comm, rows.kind, inputs[0], inputs[1], threads, inputs.memory_bytes)


def _rolling(comm: Communicator, rolling: Rolling, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.rolling import rolling as roll

    return roll(
        comm,
        inputs[0],
        rolling.window,
        rolling.columns,
        rolling.min_periods,
        inputs.memory_bytes,
    )


def _rank_rows(comm: Communicator, rank: RankRows, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.ranking import rank_rows

    return rank_rows(
        comm,
        inputs[0],
        rank.by,
        rank.method,
        rank.ascending,
        rank.name,
        threads,
        inputs.memory_bytes,
    )


# ------------------------------------------------------------------ rows and columns


def _filter(comm: Communicator, chosen: Filter, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.expressions import filter_rows, from_bytes

    return filter_rows(comm, inputs[0], from_bytes(chosen.predicate), inputs.memory_bytes)


def _project(comm: Communicator, project: Project, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.expressions import project as compute

    columns = {column.name: _source(column) for column in project.columns}
    return compute(comm, inputs[0], columns, project.extend, inputs.memory_bytes)


def _source(column: Derived) -> Any:
    from elevon.frames.operators.expressions import from_bytes

    return from_bytes(column.expression) if column.expression else column.source


def _rename(comm: Communicator, names: Rename, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.expressions import rename

    return rename(comm, inputs[0], dict(names.columns))


def _drop(comm: Communicator, names: Drop, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.expressions import drop

    return drop(comm, inputs[0], names.columns)


def _concat(comm: Communicator, rows: Concat, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.slices import concat

    return concat(comm, inputs, rows.ordered, inputs.memory_bytes)


def _slice_rows(comm: Communicator, rows: SliceRows, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.slices import slice_rows

    return slice_rows(comm, inputs[0], rows.start, rows.stop)


def _repartition(comm: Communicator, to: Repartition, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.slices import repartition

    return repartition(comm, inputs[0], to.by, threads, inputs.memory_bytes)


def _equals(comm: Communicator, rows: Equals, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.operators.slices import equals

    return equals(comm, inputs[0], inputs[1], rows.ordered, threads, inputs.memory_bytes)


OPERATORS: Final[dict[type, Operator]] = {
    Read: Operator(_read),
    Load: Operator(_load),
    WriteParquet: Operator(_write),
    Join: Operator(_join),  # says by itself how its rows lie
    Sort: Operator(_sort),
    GroupBy: Operator(_groupby, after_shuffle),
    DropDuplicates: Operator(_drop_duplicates, as_before),
    SetRows: Operator(_combine_sets),
    Rolling: Operator(_rolling, as_before),
    RankRows: Operator(_rank_rows),
    Filter: Operator(_filter, as_before),
    Project: Operator(_project, unless_changed),
    Rename: Operator(_rename, unless_changed),
    Drop: Operator(_drop, unless_changed),
    Concat: Operator(_concat),
    SliceRows: Operator(_slice_rows, as_before),
    Repartition: Operator(_repartition, after_shuffle),
    Equals: Operator(_equals),
}
