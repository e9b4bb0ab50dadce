"""The distributed operators on MPI: run by run_mpi.py inside mpiexec at several sizes.

Every rank makes the same tables from one seed and takes its own part; the root compares what comes
together again with Arrow's own join and numpy's own sort. The small awkward cases are in
tests/property/test_distributed_*.py; here the rows are enough to fill real messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from elevon.errors import SchemaError
from elevon.frames.exchange.shuffle import gather_table
from elevon.frames.join_sort.distributed import join, sort
from elevon.frames.operators.slices import repartition
from tests.support.frames import multiset

if TYPE_CHECKING:
    from elevon.comm.protocol import Communicator

pytestmark = pytest.mark.mpi

ARROWS_WORD = {
    "inner": "inner",
    "left": "left outer",
    "right": "right outer",
    "outer": "full outer",
    "semi": "left semi",
    "anti": "left anti",
}


def table_of(rows: int, keys: int, number: str, seed: int) -> pa.Table:
    """Keys with nulls, the row's number, and a text column that makes messages uneven."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, keys, rows)
    return pa.table(
        {
            "k": pa.array(drawn, mask=rng.random(rows) < 0.05),
            number: np.arange(rows),
            f"{number}_text": pa.array([f"{key}" * (key % 5) for key in drawn], pa.string()),
        }
    )


def own(comm: Communicator, table: pa.Table, shares: str) -> pa.Table:
    """This rank's part of a table that all ranks have."""
    weights = {
        "even": [1] * comm.size,
        "first": [1] + [0] * (comm.size - 1),
        "odd": [rank % 2 or comm.size == 1 for rank in range(comm.size)],
    }[shares]
    ends = np.cumsum([0, *weights]) * table.num_rows // sum(weights)
    return table.slice(ends[comm.rank], ends[comm.rank + 1] - ends[comm.rank])


@pytest.mark.parametrize("how", ARROWS_WORD)
@pytest.mark.parametrize(
    ("left_rows", "right_rows", "keys"), [(8_000, 6_000, 5_000), (10_000, 50, 80), (500, 0, 5)]
)
@pytest.mark.parametrize("shares", ["even", "first", "odd"])
def test_join(
    comm: Communicator, how: str, left_rows: int, right_rows: int, keys: int, shares: str
) -> None:
    left, right = table_of(left_rows, keys, "l", 1), table_of(right_rows, keys, "r", 2)

    part = join(comm, own(comm, left, shares), own(comm, right, "even"), ["k"], ["k"], how)

    whole = gather_table(comm, part)
    if whole is not None:
        expected = left.join(right, "k", join_type=ARROWS_WORD[how], use_threads=False)
        assert multiset(whole) == multiset(expected.select(whole.column_names))


@pytest.mark.parametrize("keys", [1, 50, 10**6])
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("shares", ["even", "first", "odd"])
def test_sort(comm: Communicator, keys: int, ascending: bool, shares: str) -> None:
    table = table_of(100_000, keys, "row", 3)

    part = sort(comm, own(comm, table, shares), "k", ascending)

    assert part.num_rows <= table.num_rows / comm.size * 1.05 + 1
    whole = gather_table(comm, part)
    if whole is not None:
        values = table["k"].fill_null(0).to_numpy()
        order = np.lexsort([values if ascending else -values, table["k"].is_null().to_numpy()])
        assert whole.equals(table.take(order))


def test_repartition(comm: Communicator) -> None:
    table = table_of(10_000, 100, "row", 4)

    part = repartition(comm, own(comm, table, "first"))

    assert abs(part.num_rows - table.num_rows / comm.size) <= 1
    whole = gather_table(comm, part, comm.size - 1)
    assert (whole is None) == (comm.rank != comm.size - 1)
    assert whole is None or whole.equals(table)


def test_a_problem_of_one_rank_is_everybodys_and_the_group_goes_on(comm: Communicator) -> None:
    good = pa.table({"k": [1, 2]})
    odd = comm.rank == comm.size - 1

    with pytest.raises(SchemaError, match="no column 'k'"):
        join(comm, good.rename_columns(["x"]) if odd else good, good, ["k"], ["k"])

    assert sort(comm, good, "k").num_rows == 2
