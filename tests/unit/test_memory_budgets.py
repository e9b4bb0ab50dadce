"""Working memory of the operators, measured: what they take beside their input and their result."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from elevon import _native
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.files.parquet_parts import write_parquet
from elevon.frames.files.partitions import read_partition
from elevon.frames.join_sort.distributed import sort
from elevon.frames.memory.spill import Spill
from elevon.frames.operators.expressions import filter_rows, project
from elevon.frames.operators.groupby import groupby
from elevon.frames.operators.ranking import rank_rows
from elevon.frames.operators.rolling import rolling
from elevon.frames.operators.sets import combine_sets, drop_duplicates
from elevon.frames.operators.slices import concat, equals, repartition, slice_rows
from elevon.model.algebra import Aggregate, Window
from elevon.testing.threads import ThreadGroup

MEBIBYTE = 1 << 20
BUDGET = 8 * MEBIBYTE
ROWS = 1_500_000
#: Interpreter, allocators, and what the system gives back late.
SLACK = 16 * MEBIBYTE
PR_SET_THP_DISABLE = 41

RNG = np.random.default_rng(0)
MANY = pa.table({"k": RNG.integers(0, ROWS, ROWS), "x": RNG.normal(size=ROWS)})
FEW = MANY.set_column(0, "k", pa.array(RNG.integers(0, 100, ROWS)))

HASHED: dict[str, Callable[..., object]] = {
    "groups": lambda c, m: groupby(
        c, MANY, ["k"], [Aggregate("s", "x", "sum"), Aggregate("n", "x", "std")], memory_bytes=m
    ),
    "spreads": lambda c, m: groupby(
        c,
        FEW,
        ["k"],
        [Aggregate("q", "x", "quantile", 0.5), Aggregate("n", "x", "nunique")],
        memory_bytes=m,
    ),
    "aggregate": lambda c, m: groupby(
        c,
        MANY,
        [],
        [Aggregate("q", "x", "quantile", 0.5), Aggregate("n", "k", "nunique")],
        memory_bytes=m,
    ),
    "distinct": lambda c, m: drop_duplicates(c, MANY, ["k"], memory_bytes=m),
    "union": lambda c, m: combine_sets(c, "union", MANY, FEW, memory_bytes=m),
    "equals": lambda c, m: equals(c, MANY, MANY, False, memory_bytes=m),
    "rank": lambda c, m: rank_rows(c, MANY, "k", memory_bytes=m),
    "sort": lambda c, m: sort(c, MANY, "k", memory_bytes=m),
}
SLICED: dict[str, Callable[..., object]] = {
    "rolling": lambda c, m: rolling(c, MANY, 50, [Window("m", "x", "std")], 1, memory_bytes=m),
    "filter": lambda c, m: filter_rows(c, MANY, pc.field("x") > 0, m),
    "assign": lambda c, m: project(c, MANY, {"y": pc.field("x") * 2 + pc.field("k")}, True, m),
    "equals in order": lambda c, m: equals(c, MANY, MANY, memory_bytes=m),
    "slice": lambda c, m: slice_rows(c, MANY, 100, -100),
    "concat": lambda c, m: concat(c, [MANY, FEW], memory_bytes=m),
    "repartition": lambda c, m: repartition(c, MANY, ["k"], memory_bytes=m),
}


@pytest.fixture(autouse=True)
def small_pages() -> Iterator[None]:
    """A buffer's last huge page is seldom full: with many small ones that is more than a budget."""
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    yield
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0)


def resident(name: str) -> int:
    """A line of /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) << 10


def peak_of(work: Callable[[], object]) -> tuple[object, int]:
    """The result, and how far the resident memory rose above what it was before and the result."""
    _native.trim_pool()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    result = work()
    kept = result.nbytes if isinstance(result, pa.Table) else 0
    return result, resident("VmHWM") - before - kept


def spilled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is written to scratch files from now on."""
    written: list[int] = []
    close = Spill.__exit__

    def watched(spill: Spill, *error: object) -> None:
        written.append(spill.written_bytes)
        close(spill, *error)  # type: ignore[arg-type]

    monkeypatch.setattr(Spill, "__exit__", watched)
    return written


@pytest.mark.parametrize("name", list(HASHED))
def test_what_meets_by_keys_keeps_to_its_budget_over_the_disk(name, monkeypatch):
    written = spilled(monkeypatch)
    group = ThreadGroup(1, timeout_s=60)
    _, peak = peak_of(lambda: group.run(lambda comm: HASHED[name](comm, BUDGET))[0])
    assert 0 < sum(written) < 8 * MANY.nbytes
    assert peak < BUDGET + SLACK


def test_a_spilled_sort_of_views_keeps_no_more_than_its_result():
    text = pa.array([f"a text of some length {i}" for i in range(300_000)], pa.string_view())
    wide = {f"c{i}": np.arange(300_000) for i in range(6)}
    table = pa.table({"k": RNG.permutation(300_000), **wide, "t": text})
    group = ThreadGroup(1, timeout_s=60)
    found, peak = peak_of(lambda: group.run(lambda c: sort(c, table, "k", memory_bytes=BUDGET))[0])
    assert found.select(["k", "t"]).slice(0, 3).to_pylist() == [
        {"k": k, "t": text[table["k"].to_pylist().index(k)].as_py()} for k in range(3)
    ]
    assert own_bytes(found) < 1.2 * own_bytes(table)
    assert peak + found.nbytes < own_bytes(found) + BUDGET + SLACK


@pytest.mark.parametrize("name", list(SLICED))
def test_what_works_row_by_row_keeps_to_its_budget_in_slices(name, monkeypatch):
    written = spilled(monkeypatch)
    group = ThreadGroup(1, timeout_s=60)
    _, peak = peak_of(lambda: group.run(lambda comm: SLICED[name](comm, BUDGET))[0])
    assert not written
    assert peak < BUDGET + SLACK


def test_a_budget_that_is_enough_needs_no_disk(monkeypatch):
    written = spilled(monkeypatch)
    few = MANY.slice(0, 1000)
    ThreadGroup(1).run(lambda comm: drop_duplicates(comm, few, ["k"], memory_bytes=BUDGET))
    assert not written


def test_a_read_holds_its_share_and_one_row_group(tmp_path):
    pq.write_table(MANY, tmp_path / "t.parquet", row_group_size=100_000)
    table, peak = peak_of(lambda: read_partition(tmp_path, memory_bytes=BUDGET))
    assert table.num_rows == ROWS
    assert peak < BUDGET + SLACK


def test_a_write_holds_one_row_group(tmp_path):
    _, peak = peak_of(
        lambda: ThreadGroup(1).run(
            lambda comm: write_parquet(comm, MANY, tmp_path, memory_bytes=BUDGET)
        )
    )
    assert peak < BUDGET + SLACK
