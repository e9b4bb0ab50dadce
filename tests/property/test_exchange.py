"""Rows in rounds: the same rows in the same order, however many rounds they take."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.comm.base.timed import TimedCommunicator
from elevon.frames.exchange import shuffle as exchange
from elevon.frames.exchange.shuffle import deal, exchange_slices, rounds_for, shuffle
from elevon.testing.threads import ThreadGroup
from tests.support.frames import SIZES, multiset, partitions


class Watched(TimedCommunicator):
    """Remembers the largest message, and what was packed while a message was on its way."""

    def __init__(self, inner):
        super().__init__(inner)
        self.calls = 0
        self.largest_bytes = 0

    def alltoallv(self, arrays):
        self.calls += 1
        self.largest_bytes = max(self.largest_bytes, *(array.nbytes for array in arrays))
        return super().alltoallv(arrays)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), size=st.sampled_from(SIZES), rounds=st.integers(1, 6))
def test_a_shuffle_in_rounds_is_the_shuffle_in_one(data, size, rounds):
    parts = data.draw(partitions([pa.int64(), pa.string()], size, "row"))

    def run(comm, number):
        return shuffle(comm, parts[comm.rank], [0], rounds=number)

    once = ThreadGroup(size).run(lambda comm: run(comm, 1))
    often = ThreadGroup(size).run(lambda comm: run(comm, rounds))
    for one, other in zip(once, often, strict=True):
        assert one.to_pylist() == other.to_pylist()


@settings(deadline=None, max_examples=60)
@given(data=st.data(), size=st.sampled_from(SIZES), rounds=st.integers(1, 6))
def test_slices_in_rounds_are_the_slices(data, size, rounds):
    parts = data.draw(partitions([pa.string(), pa.bool_()], size, "row"))
    bounds = []
    for part in parts:
        cuts = st.lists(st.integers(0, part.num_rows), min_size=size - 1, max_size=size - 1)
        bounds.append([0, *sorted(data.draw(cuts)), part.num_rows])
    found = ThreadGroup(size).run(
        lambda comm: exchange_slices(comm, parts[comm.rank], bounds[comm.rank], rounds)
    )
    for rank, tables in enumerate(found):
        for sender, table in enumerate(tables):
            low, high = bounds[sender][rank : rank + 2]
            assert table.to_pylist() == parts[sender].slice(low, high - low).to_pylist()


@settings(deadline=None, max_examples=30)
@given(data=st.data(), size=st.sampled_from(SIZES))
def test_rows_are_dealt_out_evenly(data, size):
    parts = data.draw(partitions([pa.int8()], size, "row"))
    dealt = ThreadGroup(size).run(lambda comm: deal(comm, parts[comm.rank]))
    assert multiset(pa.concat_tables(dealt)) == multiset(pa.concat_tables(parts))
    counts = [part.num_rows for part in dealt]
    assert max(counts) - min(counts) <= size


def test_a_round_has_a_bounded_size():
    """Rank 0 holds all rows; everybody takes part in all the rounds that it needs."""
    table = pa.table({"k": np.arange(300_000), "v": np.arange(300_000)})
    rounds = rounds_for(table.nbytes, 1 << 20)

    def run(comm):
        watched = Watched(comm)
        own = table if comm.rank == 0 else table.slice(0, 0)
        return shuffle(watched, own, [0], rounds=rounds).num_rows, watched

    found = ThreadGroup(3).run(run)
    assert sum(rows for rows, _ in found) == 300_000
    assert [watched.calls for _, watched in found] == [rounds] * 3 == [5] * 3
    assert max(watched.largest_bytes for _, watched in found) < (1 << 20) / 2


def test_the_next_round_is_packed_while_one_is_on_its_way(monkeypatch):
    packed = [threading.Event() for _ in range(4)]
    kernel, numbers = exchange._native.partition, iter(packed)

    def partition(*arguments):
        parts = kernel(*arguments)
        next(numbers).set()
        return parts

    class Patient(TimedCommunicator):
        """A collective that ends when the next round has been packed."""

        def alltoallv(self, arrays):
            following = min(self.rounds + 1, 3)
            assert packed[following].wait(20)
            self.rounds += 1
            return super().alltoallv(arrays)

    monkeypatch.setattr(exchange._native, "partition", partition)
    table = pa.table({"k": np.arange(1000)})

    def run(comm):
        patient = Patient(comm)
        patient.rounds = 0
        return shuffle(patient, table, [0], rounds=4).num_rows

    assert ThreadGroup(1).run(run) == [1000]


def test_what_a_round_cannot_pack_ends_the_exchange_for_all():
    def run(comm):
        column = 7 if comm.rank == 1 else 0
        shuffle(comm, pa.table({"k": np.arange(100)}), [column], rounds=3)

    with pytest.raises(ValueError, match="no column 7"):
        ThreadGroup(2, timeout_s=20).run(run)
