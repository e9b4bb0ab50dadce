"""The table algebra on MPI: run by run_mpi.py inside mpiexec at several sizes.

Every rank makes the same table and takes its own part; the root compares what comes together again
with the same operator on the whole table, alone. That the operators are right alone is shown in
tests/property; here the messages are real, and ranks without rows are among the senders. Operators
that send nothing are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from elevon.errors import SchemaError
from elevon.frames.exchange.shuffle import gather_table
from elevon.frames.operators.groupby import groupby
from elevon.frames.operators.ranking import rank_rows
from elevon.frames.operators.rolling import rolling
from elevon.frames.operators.sets import combine_sets, drop_duplicates
from elevon.frames.operators.slices import concat, equals, repartition, slice_rows
from elevon.model.algebra import Aggregate, Window
from tests.support.frames import multiset

if TYPE_CHECKING:
    from elevon.comm.protocol import Communicator

pytestmark = pytest.mark.mpi

ROWS = 5000
AGGREGATES = [
    Aggregate("n", "row", "count"),
    Aggregate("total", "row", "sum"),
    Aggregate("least", "text", "min"),
    Aggregate("texts", "text", "nunique"),
    Aggregate("half", "row", "quantile"),
]
WINDOWS = [Window("sum", "row", "sum"), Window("most", "k", "max"), Window("seen", "k", "count")]

#: Operators of a table (or two), and whether their rows come in the global order.
OPERATORS: dict[str, tuple[bool, Callable[..., pa.Table]]] = {
    "groupby": (False, lambda c, t, u: groupby(c, t, ["k"], AGGREGATES)),
    "aggregate": (True, lambda c, t, u: groupby(c, t, [], AGGREGATES)),
    "drop_duplicates": (True, lambda c, t, u: drop_duplicates(c, t, ["k"], "last")),
    "intersect": (True, lambda c, t, u: combine_sets(c, "intersect", t, u)),
    "concat": (True, lambda c, t, u: concat(c, [t, u, t])),
    "repartition": (False, lambda c, t, u: repartition(c, t, ["text"])),
    "rolling": (True, lambda c, t, u: rolling(c, t, 3000, WINDOWS, 1)),
    "rank": (True, lambda c, t, u: rank_rows(c, t, "k", "dense", ascending=False)),
}


class Alone:
    """The communicator of a group of one: nothing of it is called."""

    rank, size = 0, 1


def table_of(rows: int, seed: int) -> pa.Table:
    """Keys with nulls and repetitions, the row's number, and text of uneven lengths."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 60, rows)
    return pa.table(
        {
            "k": pa.array(drawn, mask=rng.random(rows) < 0.05),
            "row": rng.integers(0, 40, rows),
            "text": pa.array([f"{key}" * (key % 5) for key in drawn], pa.string()),
        }
    )


def own(comm: Any, table: pa.Table, holders: int) -> pa.Table:
    """This rank's part, if the lowest ``holders`` ranks have all rows."""
    holders = min(holders, comm.size)
    edges = [table.num_rows * min(rank, holders) // holders for rank in range(comm.size + 1)]
    return table.slice(edges[comm.rank], edges[comm.rank + 1] - edges[comm.rank])


def test_the_group_does_what_one_rank_does(comm: Communicator) -> None:
    left, right = table_of(ROWS, 1), table_of(500, 2)
    for name, (ordered, operator) in OPERATORS.items():
        part = operator(comm, own(comm, left, 2), own(comm, right, 100))

        whole = gather_table(comm, part)
        if whole is not None:
            expected = operator(Alone(), left, right)
            assert whole.schema.equals(expected.schema), name
            assert multiset(whole) == multiset(expected), name
            assert not ordered or whole.equals(expected), name


def test_equal_tables_are_equal_however_they_lie(comm: Communicator) -> None:
    table = table_of(ROWS, 1)
    left, right = own(comm, table, 1), own(comm, table, 100)
    other = own(comm, table.slice(0, ROWS - 1), 100)

    assert equals(comm, left, right)
    assert equals(comm, left, repartition(comm, right, ["k"]), ordered=False)
    assert not equals(comm, left, other)
    assert not equals(comm, left, other, ordered=False)


def test_a_problem_of_one_rank_is_everybodys_and_the_group_goes_on(comm: Communicator) -> None:
    good = table_of(10, 1)
    odd = comm.rank == comm.size - 1

    with pytest.raises(SchemaError, match="no column 'k'"):
        groupby(comm, good.drop_columns(["k"]) if odd else good, ["k"], AGGREGATES)

    assert slice_rows(comm, good, 0, 1).num_rows == (1 if comm.rank == 0 else 0)
