"""From an operation to what a rank calls: the one place where model meets frames.

Every job has the same form, so that operators and user functions take the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import cloudpickle

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError, ElevonError, ResourceError, SchemaError
from elevon.model.algebra import Algebra
from elevon.model.operations import (
    Call,
    InputRef,
    Join,
    Load,
    Operation,
    Read,
    Sort,
    WriteParquet,
    operation_name,
)
from elevon.rank.algebra import algebra
from elevon.rank.inputs import Inputs

Job: TypeAlias = Callable[[Communicator, Inputs], Any]


def prepare(operation: Operation, function: Callable[..., Any] | None, threads: int) -> Job:
    """The job of one rank. For a Call, ``function`` is what was sent for its digest.

    Raises:
        DescriptionError: an operation that this version does not know.
    """
    if isinstance(operation, Call):
        return _prepare_call(operation, function)
    job = _prepare_verb(operation, threads)

    def run(comm: Communicator, inputs: Inputs) -> Any:
        with _told(operation):
            return job(comm, inputs)

    return run


def _prepare_verb(operation: Operation, threads: int) -> Job:
    match operation:
        case Read():
            return lambda comm, inputs: _read(comm, operation, inputs)
        case Load():
            return lambda _, inputs: inputs[0]
        case Join():
            return lambda comm, inputs: _join(comm, operation, inputs, threads)
        case Sort():
            return lambda comm, inputs: _sort(comm, operation, inputs, threads)
        case WriteParquet():
            return lambda comm, inputs: _write(comm, operation, inputs)
    if isinstance(operation, Algebra):
        return algebra(operation, threads)
    raise DescriptionError(f"an operation that this rank does not know: {operation!r}")


@contextmanager
def _told(operation: Operation) -> Iterator[None]:
    """The border of the verbs: what Arrow and the kernels raise by themselves becomes ours.

    The other ranks of the group are ended with its text by whoever runs the job.
    """
    name = operation_name(operation)
    try:
        yield
    except ElevonError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"{name}: there is no memory left on this rank ({error}): use more ranks, or let "
            f"memory_per_rank limit what the verb takes"
        ) from error
    except Exception as error:
        if isinstance(error, ValueError) or type(error).__module__.startswith("pyarrow"):
            raise SchemaError(f"{name}: {type(error).__name__}: {error}") from error
        raise


def wants_communicator(function: Callable[..., Any]) -> bool:
    """Whether the first parameter is called ``comm`` or annotated as a Communicator."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False  # some builtins have no signature
    if not parameters:
        return False
    annotation = parameters[0].annotation
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return parameters[0].name == "comm" or name.strip("'\"").rpartition(".")[2] == "Communicator"


def _prepare_call(operation: Call, function: Callable[..., Any] | None) -> Job:
    if function is None:
        raise DescriptionError(f"the function {operation.function} was never sent to this rank")
    args, kwargs = cloudpickle.loads(operation.arguments)
    with_comm = wants_communicator(function)

    def call(comm: Communicator, inputs: Inputs) -> Any:
        def fill(value: Any) -> Any:
            return inputs[value.index] if isinstance(value, InputRef) else value

        filled = [fill(value) for value in args]
        if with_comm:
            filled.insert(0, comm)
        return function(*filled, **{name: fill(value) for name, value in kwargs.items()})

    return call


def _read(comm: Communicator, operation: Read, inputs: Inputs) -> Any:
    from elevon.frames.files.partitions import read_partition

    return read_partition(
        operation.paths,
        operation.format,
        operation.columns,
        comm.rank,
        comm.size,
        memory_bytes=inputs.memory_bytes,
    )


def _join(comm: Communicator, operation: Join, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.join_sort.distributed import place_join

    return place_join(
        comm,
        inputs[0],
        inputs[1],
        left_on=operation.left_on,
        right_on=operation.right_on,
        how=operation.how,
        suffixes=operation.suffixes,
        nulls_equal=operation.nulls_equal,
        threads=threads,
        memory_bytes=inputs.memory_bytes,
        layouts=(inputs.layouts[0], inputs.layouts[1]),
    )


def _sort(comm: Communicator, operation: Sort, inputs: Inputs, threads: int) -> Any:
    from elevon.frames.join_sort.distributed import sort

    return sort(
        comm,
        inputs[0],
        by=operation.by,
        ascending=operation.ascending,
        na_position=operation.na_position,
        threads=threads,
        memory_bytes=inputs.memory_bytes,
    )


def _write(comm: Communicator, operation: WriteParquet, inputs: Inputs) -> Any:
    from elevon.frames.files.parquet_parts import write_parquet

    return write_parquet(
        comm,
        inputs[0],
        operation.path,
        operation.compression,
        operation.overwrite,
        inputs.memory_bytes,
    )
