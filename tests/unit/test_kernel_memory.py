"""Memory of the kernels: what join and sort take at their peak, what stays idle, and 2^31 bytes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elevon import _native

MEBIBYTE = 1 << 20
#: The last huge page of every buffer is seldom full, and the interpreter allocates too.
SLACK = 32 * MEBIBYTE
POOL = 1 << 30
SORTED = ([0], [True], [False])


def resident(name: str) -> int:
    """A line of /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) << 10


def peak_of(work: Callable[[], object]) -> tuple[pa.Table, int]:
    """The result, and how far the resident memory rose above what it was before."""
    _native.trim_pool()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    result = work()
    return pa.table(result), resident("VmHWM") - before


def join(left: pa.Table, right: pa.Table, threads: int = 1) -> object:
    output = [("key", 0, "k"), ("left", 1, "a"), ("right", 1, "b")]
    return _native.hash_join(left, right, [0], [0], "inner", output, False, threads)


def keyed(keys: np.ndarray, text: bool, number: str) -> pa.Table:
    column = pa.array(keys)
    if text:
        column = pc.binary_join_element_wise("key-", column.cast(pa.string()), "")
    return pa.table({"k": column, number: pa.array(np.arange(len(keys)))})


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("rows", "keys", "text"),
    [
        pytest.param(3_000_000, 2_700_000, False, id="numbers"),
        pytest.param(2_000_000, 1_800_000, True, id="strings"),
        pytest.param(16_000, 40, False, id="many-to-many"),
        pytest.param(10_000, 40, True, id="many-to-many-strings"),
    ],
)
def test_a_join_peaks_below_one_and_a_half_times_its_tables(rows, keys, text, threads):
    rng = np.random.default_rng(0)
    left = keyed(rng.integers(0, keys, rows), text, "a")
    right = keyed(rng.integers(0, keys, rows), text, "b")
    result, risen = peak_of(lambda: join(left, right, threads))
    inputs = left.nbytes + right.nbytes
    assert result.num_rows > rows / 2
    assert inputs + risen < 1.5 * (inputs + result.nbytes) + SLACK


@pytest.mark.parametrize("text", [False, True])
def test_a_sort_peaks_below_one_and_a_half_times_its_tables(text):
    table = keyed(np.random.default_rng(0).permutation(3_000_000), text, "a")
    result, risen = peak_of(lambda: _native.sort(table, *SORTED))
    assert result["k"][0].as_py() == ("key-0" if text else 0)
    assert table.nbytes + risen < 1.5 * 2 * table.nbytes + SLACK


def test_results_stay_whole_while_buffers_of_all_sizes_come_and_go():
    """Buffers are put together from idle ones: none may share a page with a living one."""
    rng = np.random.default_rng(0)
    tables = [keyed(rng.permutation(rows), False, "a") for rows in rng.integers(3e5, 3e6, 12)]
    with ThreadPoolExecutor(3) as threads:
        jobs = [threads.submit(_native.sort, tables[i % 12], *SORTED) for i in range(36)]
        # Every third one lives on; the others' memory goes to those that follow.
        kept = {i: jobs[i].result() for i in range(36) if i % 3 == 0}
        del jobs
    for i, result in kept.items():
        ordered = pa.table(result)
        assert np.array_equal(ordered["k"].to_numpy(), np.arange(ordered.num_rows))
        keys = tables[i % 12]["k"].to_numpy()
        assert np.array_equal(keys[ordered["a"].to_numpy()], ordered["k"].to_numpy())


def test_what_lies_idle_is_bounded():
    _native.trim_pool()
    table = pa.table({"k": np.arange(6_000_000)[::-1], "a": np.zeros(6_000_000)})
    results = [_native.sort(table, *SORTED) for _ in range(12)]  # 1.15 GB
    assert _native.pooled_bytes() <= POOL
    del results
    assert POOL - 200 * MEBIBYTE <= _native.pooled_bytes() <= POOL
    _native.trim_pool()
    assert _native.pooled_bytes() == 0


@pytest.mark.slow
def test_strings_beyond_32_bit_offsets_come_out_in_several_chunks():
    rows = 2100
    text = pa.array(["x" * MEBIBYTE])
    chunks = pa.chunked_array([text] * rows)  # one buffer, seen by all
    keys = np.arange(rows)
    table = pa.table({"k": keys[::-1], "a": chunks})
    one = pa.table({"k": [7], "a": text})
    many = pa.table({"k": np.full(rows, 7), "b": keys})
    numbered = table.append_column("b", pa.array(keys))
    for work in (lambda: _native.sort(numbered, *SORTED), lambda: join(one, many)):
        result = pa.table(work())
        assert result.schema.field("a").type == pa.string()
        assert result["a"].num_chunks > 1
        assert sum(chunk.buffers()[2].size for chunk in result["a"].chunks) == rows * MEBIBYTE
        assert pc.all(pc.equal(pc.binary_length(result["a"]), MEBIBYTE)).as_py()
        assert sorted(result["b"].to_pylist()) == keys.tolist()
        del result
