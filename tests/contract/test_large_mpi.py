"""Messages and columns beyond 2^31 bytes: run by run_mpi.py, at two ranks.

The two ranks take some 7 GB together.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elevon.frames.exchange.shuffle import exchange_slices
from elevon.frames.join_sort.distributed import sort
from tests.support.mpi import group_of_all

if TYPE_CHECKING:
    from elevon.comm.mpi import MpiWorld
    from elevon.comm.protocol import Communicator

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(110)]

ROWS = 1_100_000
WIDTH = 1000


@pytest.fixture
def comm(world: MpiWorld) -> Iterator[Communicator]:
    if len(world.slots) != 2:
        pytest.skip("does not apply: two ranks show it")
    with group_of_all(world, 100) as comm:
        yield comm


@functools.cache
def two_gigabytes() -> pa.Table:
    """Two chunks of the same 1.1 GB of text, each row's its number in it and then zeros."""
    text = np.full((ROWS, WIDTH), ord("0"), np.uint8)
    for digit in range(7):
        text[:, digit] += (np.arange(ROWS) // 10**digit % 10).astype(np.uint8)
    offsets = np.arange(ROWS + 1, dtype=np.int32) * WIDTH
    chunk = pa.Array.from_buffers(
        pa.string(), ROWS, [None, pa.py_buffer(offsets), pa.py_buffer(text.reshape(-1))]
    )
    return pa.table({"row": np.arange(2 * ROWS), "text": pa.chunked_array([chunk, chunk])})


def check_rows(table: pa.Table) -> None:
    """Every row has the text that it set out with."""
    assert table.schema == pa.schema({"row": pa.int64(), "text": pa.string()})
    for batch in table.to_batches():
        assert pc.all(pc.equal(pc.binary_length(batch["text"]), WIDTH)).as_py()
        number = pc.utf8_reverse(pc.utf8_slice_codeunits(batch["text"], 0, 7))
        expected = batch["row"].to_numpy() % ROWS
        assert (number.cast(pa.int64()).to_numpy() == expected).all()


def test_a_message_and_a_column_of_more_than_two_gigabytes(comm: Communicator) -> None:
    whole = two_gigabytes() if comm.rank == 0 else two_gigabytes_schema().empty_table()
    assert comm.rank or whole["text"].nbytes > 2**31

    received = exchange_slices(comm, whole, [0, 0, whole.num_rows])[0]

    assert received.num_rows == 2 * ROWS * comm.rank
    if comm.rank:
        # One message; its 32-bit offsets cannot reach all of it, so it holds the rows in parts.
        assert received["text"].nbytes > 2**31
        assert received["text"].num_chunks > 1
        assert received["row"].equals(pa.chunked_array([np.arange(2 * ROWS)]))
        check_rows(received)


def test_a_sort_of_more_than_two_gigabytes_of_text(comm: Communicator) -> None:
    whole = two_gigabytes() if comm.rank == 0 else two_gigabytes_schema().empty_table()

    part = sort(comm, whole, "row", ascending=False, memory_bytes=500_000_000)

    rows = part["row"].to_numpy()
    assert abs(len(rows) - ROWS) < 0.05 * ROWS
    first = 2 * ROWS - 1 if comm.rank == 0 else len(rows) - 1
    assert (rows == np.arange(first, first - len(rows), -1)).all()
    check_rows(part)


def two_gigabytes_schema() -> pa.Schema:
    return pa.schema({"row": pa.int64(), "text": pa.string()})
