"""Join and sort under budgets so small that everything spills, against the oracles of the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.errors import DescriptionError, ResourceError
from elevon.frames.join_sort import inputs
from elevon.frames.join_sort.distributed import join, sort
from elevon.frames.memory import budget
from elevon.frames.memory.spill import Spill
from elevon.testing.threads import ThreadGroup
from tests.support.frames import KEYS, SIZES, multiset, partitions

HOWS = ["inner", "left", "right", "outer", "semi", "anti"]
BUDGETS = [1, 300, 3000]


@pytest.fixture(autouse=True, scope="module")
def few_rows_are_worth_a_round() -> Iterator[None]:
    with mock.patch.object(budget, "FEWEST_ROWS", 8):
        yield


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    how=st.sampled_from(HOWS),
    nulls=st.booleans(),
    memory_bytes=st.sampled_from(BUDGETS),
)
def test_a_spilled_join_is_the_join_in_memory(data, size, how, nulls, memory_bytes):
    kinds = data.draw(st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=2))
    left = data.draw(partitions(kinds, size, "lid", 60))
    right = data.draw(partitions(kinds, size, "rid", 60))
    keys = [f"k{i}" for i in range(len(kinds))]

    def run(limit):
        return ThreadGroup(size).run(
            lambda comm: join(
                comm,
                left[comm.rank],
                right[comm.rank],
                keys,
                keys,
                how,
                nulls_equal=nulls,
                memory_bytes=limit,
            )
        )

    whole, spilled = run(None), run(memory_bytes)
    assert {str(part.schema) for part in spilled} == {str(whole[0].schema)}
    assert multiset(pa.concat_tables(spilled)) == multiset(pa.concat_tables(whole))


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    na_position=st.sampled_from(["first", "last"]),
    memory_bytes=st.sampled_from(BUDGETS),
)
def test_a_spilled_sort_is_the_sort_in_memory(data, size, na_position, memory_bytes):
    kinds = data.draw(st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=2))
    parts = data.draw(partitions(kinds, size, "row", 90))
    keys = [f"k{i}" for i in range(len(kinds))]
    ascending = data.draw(st.lists(st.booleans(), min_size=len(keys), max_size=len(keys)))

    def run(limit):
        return pa.concat_tables(
            ThreadGroup(size).run(
                lambda comm: sort(
                    comm, parts[comm.rank], keys, ascending, na_position, memory_bytes=limit
                )
            )
        )

    # The sort is stable, so the rows' numbers are the whole order.
    assert run(memory_bytes)["row"].to_pylist() == run(None)["row"].to_pylist()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", [1, 3])
def test_one_key_with_most_rows_is_joined_in_slices(size, how):
    left = pa.table({"k": np.repeat([1, 2, 3], [3000, 5, 5]), "lid": range(3010)})
    right = pa.table({"k": [1, 1, 2, 4], "rid": range(4)})
    calls = []

    def counting(*arguments):
        calls.append(arguments)
        return original(*arguments)

    original = inputs.run_join
    with mock.patch.object(inputs, "run_join", counting):
        parts = ThreadGroup(size).run(
            lambda comm: join(comm, left, right, ["k"], ["k"], how, memory_bytes=8000)
        )
    expected = ThreadGroup(size).run(lambda comm: join(comm, left, right, ["k"], ["k"], how))
    assert multiset(pa.concat_tables(parts)) == multiset(pa.concat_tables(expected))
    largest = max(arguments[1].num_rows for arguments in calls)
    # Where the left may be sliced no call sees all rows of the key.
    assert (largest < 3000 * size) == (how in inputs.SPLITS_LEFT)


@pytest.mark.parametrize("equal", [True, False])
def test_the_ranges_of_a_spilled_sort_are_even(equal):
    rows, size = 20_000, 3
    keys = np.zeros(rows, np.int64) if equal else np.random.default_rng(1).integers(0, 50, rows)
    table = pa.table({"k": keys, "row": np.arange(rows)})
    step = rows // size + 1
    parts = ThreadGroup(size).run(
        lambda comm: sort(comm, table.slice(comm.rank * step, step), "k", memory_bytes=50_000)
    )
    assert pa.concat_tables(parts)["row"].to_pylist() == np.argsort(keys, kind="stable").tolist()
    assert max(part.num_rows for part in parts) <= 1.1 * rows / size


def test_arrivals_are_counted_as_the_kernel_sends_them():
    table = pa.table({"k": np.arange(10_000), "v": np.arange(10_000)})

    def run(comm):
        from elevon.frames.exchange.shuffle import shuffle

        own = table.slice(comm.rank * 3000, 3000)
        return budget.count_arrivals(comm, own, [0], 1), shuffle(comm, own, [0]).nbytes

    found = ThreadGroup(3).run(run)
    assert all(counts.tolist() == [nbytes for _, nbytes in found] for counts, _ in found)


# ------------------------------------------------------------------ the disk


def test_a_spilled_table_comes_back_and_the_file_has_no_name(tmp_path):
    tables = [
        pa.table({"d": pa.array(["a", None, "b"]).dictionary_encode(), "n": [[1], [], None]}),
        pa.table({"s": ["x" * 1000, None]}),
        pa.table({"s": pa.array([], pa.string())}),
    ]
    with Spill(str(tmp_path)) as spill:
        pieces = [spill.write(table.slice(1)) for table in tables]
        assert list(tmp_path.iterdir()) == []
        for table, piece in zip(tables, pieces, strict=True):
            assert spill.read(piece).schema == table.schema
            assert spill.read(piece).to_pylist() == table.slice(1).to_pylist()
        apart = [stored for piece in pieces for _, stored, _ in piece.dictionaries]
        assert spill.written_bytes == sum(piece.nbytes for piece in [*pieces, *apart])


def test_a_dictionary_is_written_once_for_all_pieces_that_share_it(tmp_path):
    words = pa.array(["x" * 5000, "y" * 5000, None])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None] * 500, pa.int8()), words)
    table = pa.table({"n": range(2000), "d": column})
    other = table.set_column(1, "d", pa.array(["z" * 5000] * 2000).dictionary_encode())
    with Spill(str(tmp_path)) as spill:
        pieces = [spill.write(table.slice(start, 4)) for start in range(0, 2000, 4)]
        assert spill.written_bytes < 500 * 400 + 3 * 10_000
        different = spill.write(other.slice(0, 3))
        for start, piece in zip(range(0, 2000, 4), pieces, strict=True):
            assert spill.read(piece).to_pylist() == table.slice(start, 4).to_pylist()
        assert spill.read(different).to_pylist() == other.slice(0, 3).to_pylist()


def test_no_descriptor_is_left_after_an_error(tmp_path):
    before = set(os.listdir("/proc/self/fd"))

    def fail():
        with Spill(str(tmp_path)) as spill:
            spill.write(pa.table({"a": [1]}))
            raise KeyError("while working")

    with pytest.raises(KeyError):
        fail()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_directory_that_is_not_there_is_a_resource_error(tmp_path):
    with pytest.raises(ResourceError, match=r"cannot open a file in .*gone.*TMPDIR"):
        Spill(str(tmp_path / "gone"))


def test_a_full_disk_is_a_resource_error():
    spill = Spill()
    with open("/dev/full", "wb", buffering=0) as full, spill:
        spill._file.close()
        spill._file = full
        with pytest.raises(ResourceError, match=r"No space left on device; free space there"):
            spill.write(pa.table({"a": np.arange(100_000)}))


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("memory_bytes", [0, -5])
def test_a_budget_that_is_none_is_refused_on_every_rank(size, memory_bytes):
    table = pa.table({"k": [1]})

    def run(comm):
        with pytest.raises(DescriptionError, match="a budget is a positive number of bytes"):
            join(comm, table, table, ["k"], ["k"], memory_bytes=memory_bytes)
        with pytest.raises(DescriptionError, match="a budget is a positive number of bytes"):
            sort(comm, table, "k", memory_bytes=memory_bytes)

    ThreadGroup(size, timeout_s=20).run(run)
