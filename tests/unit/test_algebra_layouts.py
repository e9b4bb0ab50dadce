"""What is said of how rows lie is true: a shuffle by the same keys would move none of them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elevon.frames.exchange.partitioning import Layout, Placed
from elevon.frames.exchange.shuffle import shuffle
from elevon.frames.join_sort.distributed import place_join
from elevon.frames.operators.expressions import to_bytes
from elevon.frames.operators.groupby import groupby
from elevon.model.algebra import (
    Aggregate,
    Derived,
    Drop,
    DropDuplicates,
    Filter,
    GroupBy,
    Project,
    RankRows,
    Rename,
    Repartition,
    Rolling,
    SliceRows,
    Window,
)
from elevon.rank.inputs import Inputs
from elevon.rank.operators import prepare
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import shared
from tests.support.frames import multiset

SIZE = 3
TABLE = pa.table({"k": [i * 7 % 50 for i in range(200)], "x": range(200), "y": ["a", "b"] * 100})
POSITIVE = to_bytes(pc.field("x") > 40)
X2 = to_bytes(pc.field("x") * 2)

LIE_BY_K = {
    "groupby": GroupBy(("k",), (Aggregate("n", "x", "sum"),)),
    "repartition": Repartition(("k",)),
}
#: After a repartition by k: whether that is still known.
FOLLOWING = [
    (Filter(POSITIVE), True),
    (DropDuplicates(("k",)), True),
    (SliceRows(10, -10), True),
    (Rolling(3, (Window("s", "x", "sum"),)), True),
    (Drop(("x",)), True),
    (Rename((("x", "z"),)), True),
    (Project((Derived("x", expression=X2),), extend=True), True),
    (Project((Derived("k", "k"), Derived("z", "x"))), True),
    (Rename((("k", "z"),)), False),
    (Project((Derived("k", "x"),), extend=True), False),
    (Project((Derived("k", "x"),)), False),
    (Project((Derived("x", "x"),)), False),
    (Drop(("k",)), False),
    (RankRows("x"), False),
    (Repartition(), False),
]


def run(comm, operation, placed):
    result = prepare(operation, None, 1)(comm, Inputs([placed.table], [placed.layout]))
    return result if isinstance(result, Placed) else Placed(result)


def by_k(comm, operation=LIE_BY_K["repartition"]):
    return prepare(operation, None, 1)(comm, Inputs([shared(TABLE, comm)], [None]))


def stays(comm, table):
    """Whether a shuffle by k leaves all rows where they are."""
    return multiset(shuffle(comm, table, [table.column_names.index("k")])) == multiset(table)


@pytest.mark.parametrize("name", LIE_BY_K)
def test_a_shuffle_says_how_its_rows_lie(name):
    def look(comm):
        placed = by_k(comm, LIE_BY_K[name])
        return placed.layout, stays(comm, placed.table)

    found = ThreadGroup(SIZE).run(look)
    assert found == [(Layout(("k",), ("int64",), SIZE, rank), True) for rank in range(SIZE)]


@pytest.mark.parametrize(("operation", "known"), FOLLOWING, ids=lambda value: str(value)[:30])
def test_rows_that_stay_still_lie_so(operation, known):
    def look(comm):
        before = by_k(comm)
        after = run(comm, operation, before)
        assert after.layout == (before.layout if known else None)
        return not known or stays(comm, after.table)

    assert ThreadGroup(SIZE).run(look) == [True] * SIZE


def test_a_join_after_a_group_by_believes_it():
    def look(comm):
        groups = by_k(comm, LIE_BY_K["groupby"])
        rows = run(comm, Filter(POSITIVE), by_k(comm))
        joined = place_join(
            comm, rows.table, groups.table, ["k"], ["k"], layouts=(rows.layout, groups.layout)
        )
        return joined.table

    (alone,) = ThreadGroup(1).run(look)
    assert multiset(pa.concat_tables(ThreadGroup(SIZE).run(look))) == multiset(alone)
    assert alone.num_rows == 159


class Listener:
    """A communicator that counts what is sent from rank to rank."""

    def __init__(self, comm):
        self._comm = comm
        self.exchanges = 0

    def __getattr__(self, name):
        self.exchanges += name == "alltoallv"
        return getattr(self._comm, name)


WANTED = (
    Aggregate("n", "x", "sum"),
    Aggregate("q", "x", "quantile"),
    Aggregate("u", "y", "nunique"),
)
HOLES = TABLE.set_column(0, "k", pa.array([i % 9 if i % 9 else None for i in range(200)]))


@pytest.mark.parametrize(
    ("table", "layout_of", "dropna", "moves"),
    [
        (TABLE, "its own", True, False),
        (HOLES, "its own", True, False),
        (HOLES, "its own", False, True),
        (TABLE, "none", True, True),
        (TABLE, "another size", True, True),
    ],
)
def test_a_group_by_of_rows_that_lie_so_moves_nothing(table, layout_of, dropna, moves):
    def look(comm):
        placed = run(comm, LIE_BY_K["repartition"], Placed(shared(table, comm)))
        layouts = {
            "its own": placed.layout,
            "none": None,
            "another size": Layout(("k",), ("int64",), SIZE + 1, comm.rank),
        }
        listener = Listener(comm)
        layout = layouts[layout_of]
        groups = groupby(listener, placed.table, ["k"], WANTED, dropna, layout=layout)
        return groups, listener.exchanges > 0

    parts, moved = zip(*ThreadGroup(SIZE).run(look), strict=True)
    ((alone, _),) = ThreadGroup(1).run(look)
    assert multiset(pa.concat_tables(parts)) == multiset(alone)
    assert set(moved) == {moves}


def test_a_layout_that_is_not_known_stays_unknown():
    found = ThreadGroup(2).run(
        lambda comm: prepare(Filter(POSITIVE), None, 1)(comm, Inputs([shared(TABLE, comm)])).layout
    )
    assert found == [None, None]
