"""What every Communicator promises about data: each collective against numpy.

Every member runs the same function and knows, from the seed, what every other member passes; so
each checks its own result alone, without another way to talk.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from elevon.comm.base.labels import INLINE_BYTES
from elevon.comm.protocol import Array, Communicator, ReduceOp

INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
FLOATS = ("f2", "f4", "f8", "c8", "c16")
DTYPES = ("?", *INTEGERS, *FLOATS)
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (5,), (3, 4), (0, 3), (2, 1, 3))
LARGE = (131_072,)  # one megabyte of float64: beyond every eager limit and every "small" algorithm

OPS: dict[ReduceOp, np.ufunc] = {
    "sum": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
    "land": np.logical_and,
    "lor": np.logical_or,
}


def sample(rank: int, shape: tuple[int, ...], dtype: str = "f8", salt: int = 0) -> Array:
    """What member ``rank`` passes: the same numbers wherever it is asked for."""
    random = np.random.default_rng([rank, salt, len(shape), *shape])
    kind = np.dtype(dtype)
    if kind.kind == "c":
        parts = sample(rank, shape, "f8", salt) + 1j * sample(rank, shape, "f8", salt + 1)
        return np.asarray(parts).astype(kind)
    if kind.kind == "f":
        # Small enough that no product over the ranks overflows in float16.
        return np.asarray(random.uniform(-2, 2, shape)).astype(kind)
    if kind.kind == "b":
        return np.asarray(random.integers(0, 2, shape)).astype(kind)
    limits = np.iinfo(kind)
    return np.asarray(random.integers(limits.min, limits.max, shape, kind, endpoint=True))


def same(found: Array | None, expected: Array) -> None:
    """Dtype, shape and every bit."""
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def everything() -> Iterator[tuple[tuple[int, ...], str]]:
    """Shapes and dtypes to try."""
    yield from itertools.product(SHAPES, DTYPES)
    yield LARGE, "f8"


def roots(comm: Communicator) -> list[int]:
    """The first, the last and one between."""
    return sorted({0, comm.size // 2, comm.size - 1})


def samples(comm: Communicator, shape: tuple[int, ...], dtype: str, salt: int = 0) -> list[Array]:
    """What all members pass, by rank."""
    return [sample(rank, shape, dtype, salt) for rank in range(comm.size)]


def folded(rows: list[Array], op: ReduceOp) -> Array:
    """The reduction as its definition says: from the left, in rank order."""
    rows = [row.astype(np.bool_) for row in rows] if op in ("land", "lor") else rows
    return np.asarray(functools.reduce(OPS[op], rows))


def reduced(found: Array | None, rows: list[Array], op: ReduceOp) -> None:
    """The fold, bit for bit; but numpy rounds complex products as its vector units please."""
    expected = folded(rows, op)
    if expected.dtype.kind == "c" and op == "prod":
        assert isinstance(found, np.ndarray)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(found, expected, rtol=64 * np.finfo(expected.dtype).eps)
    else:
        same(found, expected)


def check_bcast(comm: Communicator) -> None:
    """All get the root's values, in the array that they passed."""
    for (shape, dtype), root in itertools.product(everything(), roots(comm)):
        mine = sample(comm.rank, shape, dtype)
        result = comm.bcast(mine, root)
        same(result, sample(root, shape, dtype))
        same(mine, result)


def check_gather(comm: Communicator) -> None:
    """The root gets one row from each rank; the others get None."""
    for (shape, dtype), root in itertools.product(everything(), roots(comm)):
        result = comm.gather(sample(comm.rank, shape, dtype), root)
        if comm.rank == root:
            same(result, np.stack(samples(comm, shape, dtype)))
        else:
            assert result is None


def check_scatter(comm: Communicator) -> None:
    """Each gets its row of the root's array, whose shape only the root knows."""
    for (shape, dtype), root in itertools.product(everything(), roots(comm)):
        rows = sample(root, (comm.size, *shape), dtype)
        result = comm.scatter(rows if comm.rank == root else None, root)
        same(result, np.asarray(rows[comm.rank]))


def check_allgather(comm: Communicator) -> None:
    """All get one row from each rank."""
    for shape, dtype in everything():
        result = comm.allgather(sample(comm.rank, shape, dtype))
        same(result, np.stack(samples(comm, shape, dtype)))


def check_alltoall(comm: Communicator) -> None:
    """Row i of the result is the row for this rank in what rank i passed."""
    for shape, dtype in everything():
        result = comm.alltoall(sample(comm.rank, (comm.size, *shape), dtype))
        sent = samples(comm, (comm.size, *shape), dtype)
        same(result, np.stack([rows[comm.rank] for rows in sent]))


def check_gatherv(comm: Communicator) -> None:
    """Any lengths, and a different dtype from each rank."""
    for root in range(comm.size):
        sent = [_uneven(rank, root) for rank in range(comm.size)]
        result = comm.gatherv(sent[comm.rank], root)
        if comm.rank == root:
            assert result is not None
            _same_lists(result, sent)
        else:
            assert result is None


def check_scatterv(comm: Communicator) -> None:
    """Each gets its own array, whose length and dtype only the root knows."""
    for root in range(comm.size):
        sent = [_uneven(rank, root) for rank in range(comm.size)]
        same(comm.scatterv(sent if comm.rank == root else None, root), sent[comm.rank])


def check_allgatherv(comm: Communicator) -> None:
    """All get all arrays."""
    sent = [_uneven(rank, 0) for rank in range(comm.size)]
    _same_lists(comm.allgatherv(sent[comm.rank]), sent)
    _same_lists(comm.allgatherv(sent[comm.rank][:0]), [array[:0] for array in sent])


def check_alltoallv(comm: Communicator) -> None:
    """Item i of the result is what rank i passed for this rank."""
    for salt in range(3):
        result = comm.alltoallv(_parcels(comm, comm.rank, salt))
        _same_lists(result, [_parcels(comm, rank, salt)[comm.rank] for rank in range(comm.size)])


def check_parts_that_travel_with_their_label(comm: Communicator) -> None:
    """Up to a limit they do; at it, and one beyond, beside parts of the other kind."""
    lengths = [0, 1, INLINE_BYTES, INLINE_BYTES + 1]

    def part(sender: int, receiver: int) -> Array:
        return sample(sender, (lengths[(sender + receiver) % 4],), "u1", receiver)

    ranks = range(comm.size)
    parts = [part(comm.rank, peer) for peer in ranks]
    _same_lists(comm.alltoallv(parts), [part(rank, comm.rank) for rank in ranks])
    _same_lists(comm.allgatherv(parts[0]), [part(rank, 0) for rank in ranks])
    for root in roots(comm):
        same(comm.scatterv(parts if comm.rank == root else None, root), part(root, comm.rank))
        collected = comm.gatherv(parts[root], root)
        if comm.rank == root:
            assert collected is not None
            _same_lists(collected, [part(rank, root) for rank in ranks])


def check_large_alltoallv(comm: Communicator) -> None:
    """Megabytes, again and again: memory that is used twice must not be used at once."""
    kept = []
    for salt in range(4):
        parcels = [sample(comm.rank, (200_000,), "u4", salt + peer) for peer in range(comm.size)]
        kept.append(comm.alltoallv(parcels))
    for salt, result in enumerate(kept):
        sent = [sample(rank, (200_000,), "u4", salt + comm.rank) for rank in range(comm.size)]
        _same_lists(result, sent)


def check_received_arrays_are_mine(comm: Communicator) -> None:
    """Writing into what was received changes nothing for the other members."""
    mine = sample(comm.rank, (1000,), "i8")
    received = [comm.allgather(mine), *comm.allgatherv(mine)]
    received += comm.alltoallv([sample(comm.rank, (1000,), "i8") for _ in range(comm.size)])
    comm.barrier()
    for array in received:
        if not np.shares_memory(array, mine):
            array[...] = comm.rank
    comm.barrier()
    same(mine, sample(comm.rank, (1000,), "i8"))
    same(comm.allgather(mine), np.stack(samples(comm, (1000,), "i8")))


def check_inputs_of_any_layout(comm: Communicator) -> None:
    """Strided, transposed and read-only arrays, numbers and lists are taken as they are."""
    strided = sample(comm.rank, (10, 6), "f8")[::2, ::3]
    expected = [sample(rank, (10, 6), "f8")[::2, ::3] for rank in range(comm.size)]
    same(comm.allgather(strided), np.stack(expected))
    same(comm.allgather(strided.T), np.stack([array.T for array in expected]))
    same(comm.bcast(strided, 0), np.ascontiguousarray(expected[0]))
    same(np.ascontiguousarray(strided), np.ascontiguousarray(expected[0]))
    frozen = sample(comm.rank, (5,), "f8")
    frozen.flags.writeable = False
    same(comm.bcast(frozen, 0), sample(0, (5,), "f8"))
    same(comm.alltoall(np.array([[comm.rank]] * comm.size)), np.arange(comm.size)[:, None])


def check_other_dtypes(comm: Communicator) -> None:
    """Whatever has a fixed width travels: dates, bytes, text."""
    for dtype in ("M8[ns]", "m8[s]", "S5", "U3", "V4"):
        mine = sample(comm.rank, (120,), "u1").view(dtype)
        sent = [sample(rank, (120,), "u1").view(dtype) for rank in range(comm.size)]
        same(comm.allgather(mine), np.stack(sent))
        _same_lists(comm.allgatherv(mine), sent)


def check_reduce(comm: Communicator) -> None:
    """The root gets the fold over the ranks, bit for bit; the others get None."""
    for (shape, dtype), op in itertools.product(everything(), OPS):
        root = len(shape) % comm.size
        result = comm.reduce(sample(comm.rank, shape, dtype), op, root)
        if comm.rank == root:
            reduced(result, samples(comm, shape, dtype), op)
        else:
            assert result is None


def check_allreduce(comm: Communicator) -> None:
    """All get the fold over the ranks, in rank order, bit for bit."""
    for (shape, dtype), op in itertools.product(everything(), OPS):
        result = comm.allreduce(sample(comm.rank, shape, dtype), op)
        reduced(result, samples(comm, shape, dtype), op)
        for row in comm.allgather(result):
            same(np.asarray(row), result)


def check_scan(comm: Communicator) -> None:
    """Rank r gets the fold over the ranks 0 to r."""
    for (shape, dtype), op in itertools.product(everything(), OPS):
        result = comm.scan(sample(comm.rank, shape, dtype), op)
        reduced(result, samples(comm, shape, dtype)[: comm.rank + 1], op)


def check_reduce_scatter(comm: Communicator) -> None:
    """Rank r gets the fold over the ranks of what each passed for it, bit for bit."""
    # Operations in rotation: the fold is the one that the clauses above try with all of them.
    for (shape, dtype), op in zip(everything(), itertools.cycle(OPS), strict=False):
        result = comm.reduce_scatter(sample(comm.rank, (comm.size, *shape), dtype), op)
        rows = [sample(rank, (comm.size, *shape), dtype)[comm.rank] for rank in range(comm.size)]
        reduced(result, rows, op)


def check_a_function_as_reduction(comm: Communicator) -> None:
    """One that does not commute: it has to be called in rank order, whatever the size."""

    def shifted(left: Array, right: Array) -> Array:
        return np.asarray(left * 3 + right)

    for shape in ((), (7,), LARGE):
        rows = [np.asarray(sample(rank, shape, "u2"), np.int64) for rank in range(comm.size)]
        expected = functools.reduce(shifted, rows)
        same(comm.allreduce(rows[comm.rank], shifted), expected)
        same(comm.scan(rows[comm.rank], shifted), functools.reduce(shifted, rows[: comm.rank + 1]))
        everything_here = comm.reduce(rows[comm.rank], shifted, root=comm.size - 1)
        if comm.rank == comm.size - 1:
            same(everything_here, expected)
        each = [np.stack([row] * comm.size) for row in rows]
        same(comm.reduce_scatter(each[comm.rank], shifted), expected)


def check_float_sums_are_reproducible(comm: Communicator) -> None:
    """Numbers whose sum depends on the order: every rank, every time, every size the same bits."""
    for count in (1, 1000, 100_003):
        scale = 10.0 ** np.arange(-8, 8)[np.arange(count) % 16]
        rows = [sample(rank, (count,), "f8") * scale for rank in range(comm.size)]
        expected = folded(rows, "sum")
        for _ in range(2):
            same(comm.allreduce(rows[comm.rank]), expected)


def check_not_a_number(comm: Communicator) -> None:
    """NaN goes through min and max as it does in numpy."""
    mine = np.full(3, np.nan if comm.rank == comm.size - 1 else 1.0)
    for op in ("min", "max", "sum"):
        assert np.isnan(comm.allreduce(mine, op)).all()


def check_collectives_keep_their_order(comm: Communicator) -> None:
    """Many collectives back to back, no barrier between, slow and fast members mixed."""
    for step in range(100):
        root = step % comm.size
        if (step + comm.rank) % 7 == 0:
            sample(comm.rank, (20_000,))  # be late
        assert comm.bcast(np.array([step * 10 + comm.rank]), root)[0] == step * 10 + root
        parcels = [np.full(step % 3, step * 100 + comm.rank) for _ in range(comm.size)]
        received = comm.alltoallv(parcels)
        expected = [np.full(step % 3, step * 100 + rank) for rank in range(comm.size)]
        _same_lists(received, expected)


def _uneven(rank: int, salt: int) -> Array:
    dtype = DTYPES[(rank + salt) % len(DTYPES)]
    return sample(rank, ((rank + salt) % 3 * 50_000 + rank,), dtype)


def _parcels(comm: Communicator, sender: int, salt: int) -> list[Array]:
    """What ``sender`` has for each peer: nothing, little, and more than any eager limit."""
    sizes = [(sender * 7 + peer * 3 + salt) % 5 for peer in range(comm.size)]
    dtype = DTYPES[(sender + salt) % len(DTYPES)]
    return [
        sample(sender, (n * (1 + 20_000 * (n % 2)),), dtype, peer) for peer, n in enumerate(sizes)
    ]


def _same_lists(found: list[Array], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        same(one, other)
