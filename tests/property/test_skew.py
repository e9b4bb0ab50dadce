"""Keys with very many rows: found, dealt out, and joined to the same rows as ever."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.frames.join_sort import distributed, skew, strategy
from elevon.frames.join_sort.distributed import join, place_join
from elevon.frames.join_sort.skew import Counted, choose_skew
from elevon.testing.threads import ThreadGroup
from tests.support.frames import SIZES, multiset

HOWS = ["inner", "left", "right", "outer", "semi", "anti"]


def never_replicated():
    """Small sides are shuffled, too."""
    return mock.patch.object(strategy, "_replicates", return_value=False)


@st.composite
def sides(draw, size):
    """Parts with few keys, some of them null, so that every key is skewed on a side or on both."""
    parts = []
    for name in ("lid", "rid"):
        keys = draw(st.lists(st.sampled_from([None, 1, 1, 1, 2, 3]), max_size=60))
        table = pa.table({"k": pa.array(keys, pa.int64()), name: range(len(keys))})
        step = len(keys) // size + 1
        parts.append([table.slice(rank * step, step) for rank in range(size)])
    return parts


@settings(deadline=None, max_examples=80)
@given(data=st.data(), size=st.sampled_from(SIZES), how=st.sampled_from(HOWS), nulls=st.booleans())
def test_the_rows_are_those_of_one_rank(data, size, how, nulls):
    left, right = data.draw(sides(size))
    with (
        never_replicated(),
        mock.patch.object(strategy, "FEWEST_SAMPLED_ROWS", 1),
        mock.patch.object(skew, "FEWEST_SEEN", 2),
    ):
        parts = ThreadGroup(size).run(
            lambda comm: join(
                comm, left[comm.rank], right[comm.rank], ["k"], ["k"], how, nulls_equal=nulls
            )
        )
    whole = ThreadGroup(1).run(
        lambda comm: join(
            comm, pa.concat_tables(left), pa.concat_tables(right), ["k"], ["k"], how,
            nulls_equal=nulls,
        )
    )  # fmt: skip
    assert multiset(pa.concat_tables(parts)) == multiset(whole[0])


def zipf_side(rows, size, name, seed):
    """Keys of a Zipf distribution with exponent 1.2: the first one has 18 % of all rows."""
    keys = np.random.default_rng(seed).zipf(1.2, rows).clip(max=1 << 40)
    table = pa.table({"k": keys, name: np.arange(rows)})
    return [table.slice(rank * rows // size, rows // size) for rank in range(size)]


@pytest.mark.parametrize("size", [2, 4, 7])
@pytest.mark.parametrize("how", ["inner", "left", "right"])
def test_no_rank_is_left_alone_with_a_zipf_key(size, how):
    """Against unique partners the work is the rows of the large side."""
    rows = 70_000 * size
    large = zipf_side(rows, size, "n", 1)
    keys = np.unique(np.concatenate([part["k"].to_numpy() for part in large]))
    small = pa.table({"k": keys, "m": keys})
    step = len(keys) // size + 1
    partners = [small.slice(rank * step, step) for rank in range(size)]
    left, right = (partners, large) if how == "right" else (large, partners)
    with never_replicated():
        parts = ThreadGroup(size).run(
            lambda comm: join(comm, left[comm.rank], right[comm.rank], ["k"], ["k"], how)
        )
    assert sum(part.num_rows for part in parts) == rows
    assert sorted(pa.concat_tables(parts)["k"].to_pylist()) == sorted(
        key for part in large for key in part["k"].to_pylist()
    )
    assert max(part.num_rows for part in parts) <= 1.3 * rows / size


def test_a_result_of_one_key_is_spread():
    """Both sides are skewed: most of the result is of one key, which alone is 74 % of it."""
    size, rows = 4, 4 * 20_000
    left, right = zipf_side(rows, size, "l", 1), zipf_side(rows, size, "r", 2)
    smaller = [part.slice(0, 2_000) for part in right]
    counts = ThreadGroup(size).run(
        lambda comm: join(comm, left[comm.rank], smaller[comm.rank], ["k"], ["k"]).num_rows
    )
    with mock.patch.object(distributed, "find_skew", return_value=skew.NONE):
        without = ThreadGroup(size).run(
            lambda comm: join(comm, left[comm.rank], smaller[comm.rank], ["k"], ["k"]).num_rows
        )
    assert sum(counts) == sum(without)
    assert max(counts) <= 1.3 * sum(counts) / size


def test_rows_that_are_dealt_out_have_no_layout():
    table = pa.table({"k": np.zeros(40_000, np.int64)})
    other = pa.table({"k": np.arange(40_000)})
    with never_replicated():
        placed = ThreadGroup(2).run(lambda comm: place_join(comm, table, other, ["k"], ["k"]))
        even = ThreadGroup(2).run(lambda comm: place_join(comm, other, other, ["k"], ["k"]))
    assert [part.layout for part in placed] == [None, None]
    assert [part.layout is None for part in even] == [False, False]
    assert [part.table.num_rows for part in placed] == [40_000 * 2, 40_000 * 2]


# ------------------------------------------------------------------ the choice


def counted(step, **counts):
    """Hashes of the names a, b, ... with their counts in a sample."""
    hashes = np.array([ord(name) for name in sorted(counts)], dtype=np.uint64)
    numbers = np.array([counts[name] for name in sorted(counts)], dtype=np.int64)
    return Counted(hashes, numbers, step, int(numbers.sum()) * step)


def chosen(left, right, how, size=4):
    found = choose_skew(left, right, how, size)
    return "".join(map(chr, found.left)), "".join(map(chr, found.right))


def test_the_larger_side_is_dealt_out_where_that_is_right():
    many, few = counted(10, a=500), counted(10, a=20)
    assert {how: chosen(many, few, how) for how in HOWS} == {
        "inner": ("a", ""),
        "left": ("a", ""),
        "right": ("", "a"),
        "outer": ("", ""),
        "semi": ("a", ""),
        "anti": ("a", ""),
    }
    assert {how: chosen(few, many, how) for how in HOWS} == {
        "inner": ("", "a"),
        "left": ("a", ""),
        "right": ("", "a"),
        "outer": ("", ""),
        # Their result is no more than the few: all ranks would read the many for it.
        "semi": ("", ""),
        "anti": ("", ""),
    }


def test_a_key_is_judged_only_if_it_was_seen_often():
    few = skew.FEWEST_SEEN
    assert chosen(counted(1, a=few - 1), counted(1), "inner") == ("", "")
    assert chosen(counted(1, a=few), counted(1), "inner") == ("a", "")


def test_light_keys_stay_where_they_are():
    rng = np.random.default_rng(1)
    hashes = np.unique(rng.integers(0, 2**64, 4000, dtype=np.uint64))
    even = Counted(hashes, np.full(len(hashes), 30), 10, 300 * len(hashes))
    assert not choose_skew(even, even, "inner", 8)
