"""Rows that lie where their keys belong do not move again, and the joined rows are the same."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.comm.base.timed import TimedCommunicator
from elevon.frames.exchange.partitioning import Layout, Placed
from elevon.frames.join_sort import strategy
from elevon.frames.join_sort.distributed import join, place_join
from elevon.frames.memory.budget import hash_keys, owners
from elevon.testing.threads import ThreadGroup
from tests.support.frames import SIZES, multiset

HOWS = ["inner", "left", "right", "outer", "semi", "anti"]


class CountingCommunicator(TimedCommunicator):
    """Counts the bytes that leave this rank in the collectives that move rows."""

    def __init__(self, inner):
        super().__init__(inner)
        self.sent_bytes = 0

    def alltoallv(self, arrays):
        self.sent_bytes += sum(a.nbytes for rank, a in enumerate(arrays) if rank != self.rank)
        return super().alltoallv(arrays)

    def allgatherv(self, array):
        self.sent_bytes += array.nbytes * (self.size - 1)
        return super().allgatherv(array)


def numbers(size, rank, name, rows=3000):
    """This rank's rows of a table with the keys 0, 1, ... in an order of its own."""
    keys = np.random.default_rng(len(name)).permutation(rows * size)
    return pa.table({"k": keys, name: keys + 1}).slice(rank * rows, rows)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_side_that_lies_right_does_not_move_again(size):
    def run(comm):
        counting = CountingCommunicator(comm)
        a, b, c = (numbers(size, comm.rank, name) for name in ("a", "bb", "ccc"))
        first = place_join(counting, a, b, ["k"], ["k"])
        before = counting.sent_bytes
        second = place_join(counting, first.table, c, ["k"], ["k"], layouts=(first.layout, None))
        after = counting.sent_bytes
        third = place_join(
            counting, first.table, second.table, ["k"], ["k"],
            layouts=(first.layout, second.layout),
        )  # fmt: skip
        return before, after - before, counting.sent_bytes - after, third.table.num_rows, c.nbytes

    found = ThreadGroup(size).run(run)
    for both, one, none, _, nbytes in found:
        away = nbytes * (size - 1) / size
        assert both >= 1.8 * away
        # Of the second join only the new side travels, and of the third one nothing does.
        assert 0.8 * away <= one <= 1.2 * away
        assert none == 0
    assert sum(rows for *_, rows, _ in found) == 3000 * size


@st.composite
def keyed_tables(draw, size):
    """Three tables of two keys of few values, in parts."""
    tables = []
    for name in ("a", "b", "c"):
        rows = draw(st.integers(0, 25))
        values = st.lists(st.sampled_from([None, 1, 2, 3]), min_size=rows, max_size=rows)
        kinds = st.sampled_from([pa.int32(), pa.int64()])
        table = pa.table(
            {
                "k": pa.array(draw(values), draw(kinds)),
                "j": pa.array(draw(values), draw(kinds)),
                name: pa.array(range(rows), pa.int64()),
            }
        )
        step = rows // size + 1
        tables.append([table.slice(min(rank * step, rows), step) for rank in range(size)])
    return tables


@settings(deadline=None, max_examples=120)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    hows=st.tuples(st.sampled_from(HOWS), st.sampled_from(HOWS)),
    keys=st.sampled_from([(["k"], ["k"]), (["k", "j"], ["k", "j"]), (["k", "j"], ["j", "k"])]),
    nulls=st.booleans(),
    memory_bytes=st.sampled_from([None, None, 300]),
    chunked_bytes=st.sampled_from([0, strategy.CHUNKED_BYTES]),
)
def test_a_chain_of_joins_with_layouts_is_the_chain_without(
    data, size, hows, keys, nulls, memory_bytes, chunked_bytes
):
    a, b, c = data.draw(keyed_tables(size))
    swapped = data.draw(st.booleans())

    def chain(comm, known):
        parts = [table[comm.rank] for table in (a, b, c)]
        first = place_join(comm, parts[0], parts[1], keys[0], keys[0], hows[0])
        layout = first.layout if known else None
        sides = [Placed(first.table, layout), Placed(parts[2])]
        if swapped:
            sides.reverse()
        return join_placed(comm, sides, keys[1], hows[1], nulls, memory_bytes)

    def whole(comm):
        first = join(comm, *map(pa.concat_tables, (a, b)), keys[0], keys[0], hows[0])
        sides = [Placed(first), Placed(pa.concat_tables(c))]
        if swapped:
            sides.reverse()
        return join_placed(comm, sides, keys[1], hows[1], nulls, None)

    with mock.patch.object(strategy, "CHUNKED_BYTES", chunked_bytes):
        parts = ThreadGroup(size).run(lambda comm: chain(comm, True))
    (expected,) = ThreadGroup(1).run(whole)
    assert multiset(pa.concat_tables([part.table for part in parts])) == multiset(expected.table)
    for rank, part in enumerate(parts):
        assert_lies(part, rank)


def join_placed(comm, sides, keys, how, nulls, memory_bytes):
    return place_join(
        comm, sides[0].table, sides[1].table, keys, keys, how, nulls_equal=nulls,
        memory_bytes=memory_bytes, layouts=(sides[0].layout, sides[1].layout),
    )  # fmt: skip


def assert_lies(placed, rank):
    """What a layout says of its rows is true."""
    if placed.layout is None or not placed.table.num_rows:
        return
    assert placed.layout.rank == rank
    keys = placed.table.select(list(placed.layout.keys)).drop_null()
    # All integers hash alike, so the types need not be cast.
    assert set(owners(hash_keys(keys), placed.layout.size).tolist()) <= {rank}


# ------------------------------------------------------------------ when a layout is of no use


@pytest.mark.parametrize(
    "layout",
    [
        Layout(("k",), ("int64",), 3, 0),
        Layout(("k",), ("int64",), 2, 1),
        Layout(("k",), ("double",), 2, 0),
        Layout(("a",), ("int64",), 2, 0),
        Layout(("k", "a"), ("int64", "int64"), 2, 0),
    ],
)
def test_another_layout_is_not_believed(layout):
    """Rank 1 says that its rows lie right: it takes both to keep them there."""
    right = Layout(("k",), ("int64",), 2, 1)

    def run(comm):
        own = numbers(2, comm.rank, "a"), numbers(2, comm.rank, "bb")
        known = (layout if comm.rank == 0 else right, None)
        return place_join(comm, *own, ["k"], ["k"], layouts=known).table.num_rows

    assert sum(ThreadGroup(2).run(run)) == 2 * 3000


def test_a_side_that_is_replicated_leaves_the_other_where_it_lies():
    def run(comm):
        a, b = numbers(2, comm.rank, "a"), numbers(2, comm.rank, "bb")
        first = place_join(comm, a, b, ["k"], ["k"])
        few = pa.table({"a": [1, 2], "note": ["x", "y"]})
        return first, place_join(
            comm, first.table, few, ["a"], ["a"], "left", layouts=(first.layout, None)
        )

    for rank, (first, second) in enumerate(ThreadGroup(2).run(run)):
        assert second.layout == first.layout == Layout(("k",), ("int64",), 2, rank)


def test_a_key_that_is_renamed_or_left_out_takes_the_layout_along():
    def run(comm):
        a, b = numbers(2, comm.rank, "a"), numbers(2, comm.rank, "bb")
        b = b.rename_columns(["key", "a"])
        return [
            place_join(comm, a, b, ["k"], ["key"], how, ("_l", "_r")).layout for how in HOWS
        ] + [place_join(comm, a, b, ["a"], ["a"]).layout]

    for rank, layouts in enumerate(ThreadGroup(2).run(run)):
        names = [None if layout is None else layout.keys for layout in layouts]
        # The keys alone of a semi or anti join's right side are so small that they are replicated.
        assert names == [("k",), ("k",), ("key",), ("k",), None, None, ("a",)]
        assert {layout.rank for layout in layouts if layout} == {rank}
