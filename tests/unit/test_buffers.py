"""Receive buffers come back when the last array over them is gone, and not before."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from elevon.comm.base.buffers import SMALLEST_POOLED_BYTES, BufferPool

MEGABYTE = 1 << 20


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_the_last_view_is_gone() -> None:
    pool = BufferPool()
    array = pool.take(MEGABYTE)
    at = address(array)
    view = array.view(np.int64).reshape(-1, 2)[3:]
    del array
    gc.collect()
    assert pool.kept_bytes == 0, "a view is still there"

    del view
    gc.collect()

    assert pool.kept_bytes >= MEGABYTE
    assert address(pool.take(MEGABYTE)) == at
    assert pool.kept_bytes >= MEGABYTE  # the array above is gone again


def test_arrays_that_live_never_share_memory() -> None:
    pool = BufferPool()
    arrays = [pool.take(MEGABYTE) for _ in range(8)]
    for number, array in enumerate(arrays):
        array[:] = number

    assert [int(array.max()) for array in arrays] == list(range(8))


def test_an_arrow_buffer_keeps_its_memory() -> None:
    pa = pytest.importorskip("pyarrow")
    pool = BufferPool()
    array = pool.take(MEGABYTE)
    array[:] = 7
    buffer = pa.py_buffer(array)
    del array
    gc.collect()

    other = pool.take(MEGABYTE)
    other[:] = 8

    assert buffer.to_pybytes() == b"\x07" * MEGABYTE


def test_no_more_is_kept_than_allowed() -> None:
    pool = BufferPool(kept_bytes=2 * MEGABYTE)
    arrays = [pool.take(MEGABYTE) for _ in range(5)]

    del arrays
    gc.collect()

    assert 0 < pool.kept_bytes <= 2 * MEGABYTE


@pytest.mark.parametrize("nbytes", [0, 1, SMALLEST_POOLED_BYTES - 1, SMALLEST_POOLED_BYTES])
def test_any_length(nbytes: int) -> None:
    array = BufferPool().take(nbytes)

    assert (array.dtype, array.shape) == (np.uint8, (nbytes,))
    assert array.flags.writeable
