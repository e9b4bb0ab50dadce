"""Reductions in rank order, the same bits everywhere, over any communicator that can exchange.

MPI's own reductions are not used: their order of additions depends on the library, the size and the
message, they know no float16, and a result that changes with the number of hops cannot be tested.
The compiled engine of TCP groups folds the common dtypes by itself (see ``compiled``), in the same
order.

Small arrays are gathered and folded by all. Large ones are cut into one slice per rank; a rank
gets its slice from all, folds it in rank order and hands the result on, so each element is
folded once and 2 (P - 1) / P of the array crosses each link, the least there is (Rabenseifner,
2004).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from elevon.comm.base.labels import as_payload
from elevon.comm.protocol import Array, Communicator, ReduceName, ReduceOp
from elevon.errors import UsageError

# What all ranks together hold up to this size is cheaper to gather than to exchange by slices.
SMALL_BYTES = 256 * 1024

_FOLDS: dict[ReduceName, np.ufunc] = {
    "sum": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
    "land": np.logical_and,
    "lor": np.logical_or,
}
# What the compiled engine folds, with the same bits as numpy, by the name of the dtype.
_NUMBERS = frozenset({"int32", "int64", "float32", "float64"})
_COMPILED: dict[ReduceName, frozenset[str]] = {
    **dict.fromkeys(("sum", "prod", "min", "max"), _NUMBERS),
    **dict.fromkeys(("land", "lor"), frozenset({"bool"})),
}
Rows: TypeAlias = Sequence[Array] | Array


def compiled(array: object, op: ReduceOp) -> Array | None:
    """What the compiled engine is to fold.

    Args:
        array: as the caller passed it.
        op: likewise.

    Returns:
        The array, contiguous and of a dtype that the engine knows with this reduction; None where
        the functions below have to do it.

    Raises:
        UsageError: there is no such reduction, or the array cannot travel.
    """
    if callable(op):
        return None
    mine = _prepare(array, op)
    return mine if mine.dtype.name in _COMPILED[op] and mine.dtype.isnative else None


def reduce(comm: Communicator, array: object, op: ReduceOp, root: int) -> Array | None:
    """See Communicator.reduce."""
    mine = _prepare(array, op)
    if _is_small(comm, mine):
        rows = comm.gather(mine, root)
        return None if rows is None else fold(rows, op)
    slices = comm.gatherv(fold(comm.alltoallv(_cut(comm, mine)), op), root)
    return None if slices is None else np.concatenate(slices).reshape(mine.shape)


def allreduce(comm: Communicator, array: object, op: ReduceOp) -> Array:
    """See Communicator.allreduce."""
    mine = _prepare(array, op)
    if _is_small(comm, mine):
        return fold(comm.allgather(mine), op)
    slices = comm.allgatherv(fold(comm.alltoallv(_cut(comm, mine)), op))
    return np.concatenate(slices).reshape(mine.shape)


def scan(comm: Communicator, array: object, op: ReduceOp) -> Array:
    """See Communicator.scan."""
    mine = _prepare(array, op)
    if _is_small(comm, mine):
        return fold(comm.allgather(mine)[: comm.rank + 1], op)
    prefixes = list(accumulate(comm.alltoallv(_cut(comm, mine)), op))
    return np.concatenate(comm.alltoallv(prefixes)).reshape(mine.shape)


def reduce_scatter(comm: Communicator, array: object, op: ReduceOp) -> Array:
    """See Communicator.reduce_scatter."""
    return fold(comm.alltoall(_prepare(array, op)), op)


def fold(rows: Rows, op: ReduceOp) -> Array:
    """Row 0 op row 1 op row 2 ..., from the left."""
    if callable(op):
        *_, result = accumulate(rows, op)
        return result
    ufunc = _FOLDS[op]
    result = np.array(rows[0])
    for row in rows[1:]:
        ufunc(result, row, out=result)
    return result


def accumulate(rows: Rows, op: ReduceOp) -> Iterator[Array]:
    """The left folds of the first 1, 2, 3, ... rows."""
    result = np.array(rows[0])
    yield result
    for row in rows[1:]:
        result = _combine(op, result, row)
        yield result


def _combine(op: ReduceOp, left: Array, right: Array) -> Array:
    if not callable(op):
        combined: Array = _FOLDS[op](left, right)
        return combined
    result = np.asarray(op(left, right))
    if (result.shape, result.dtype) != (left.shape, left.dtype):
        raise UsageError(
            f"the reduction {op!r} made {result.dtype} of shape {result.shape} out of two arrays "
            f"of {left.dtype} of shape {left.shape}; it has to keep both"
        )
    return result


def _prepare(array: object, op: ReduceOp) -> Array:
    if callable(op):
        return as_payload(array)
    if op not in _FOLDS:
        raise UsageError(
            f"there is no reduction {op!r}: choose one of {', '.join(_FOLDS)}, or pass a function"
        )
    result = as_payload(array)
    return result.astype(np.bool_) if op in ("land", "lor") else result


def _is_small(comm: Communicator, array: Array) -> bool:
    # Only what all ranks know may decide: they have to take the same way.
    return array.nbytes * comm.size <= SMALL_BYTES


def _cut(comm: Communicator, array: Array) -> list[Array]:
    flat = array.reshape(-1)
    bounds = [flat.size * rank // comm.size for rank in range(comm.size + 1)]
    return [flat[start:end] for start, end in pairwise(bounds)]
