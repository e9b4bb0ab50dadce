"""Working memory, measured: what the operators take beside their inputs and results.

Run by run_mpi.py inside mpiexec; every rank is a process, so that its peak is its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from elevon import _native
from elevon.frames.join_sort import strategy
from elevon.frames.join_sort.distributed import join, sort
from tests.support.mpi import group_of_all, joined_world

if TYPE_CHECKING:
    from elevon.comm.mpi import MpiWorld
    from elevon.comm.protocol import Communicator

pytestmark = pytest.mark.mpi

MEBIBYTE = 1 << 20
BUDGET = 32 * MEBIBYTE
ROWS = 3 * BUDGET // 32  # of each side of a join; of 16 bytes, so both together are three budgets
#: Interpreter, allocators and MPI's own buffers, which are not the operators'.
SLACK = 16 * MEBIBYTE
PR_SET_THP_DISABLE = 41


@pytest.fixture(scope="module")
def world() -> Iterator[MpiWorld]:
    from mpi4py import MPI

    if MPI.get_vendor()[0] != "Open MPI":
        pytest.skip("does not apply: what the operators take is the same on every MPI")
    with joined_world() as world:
        yield world


@pytest.fixture
def comm(world: MpiWorld) -> Iterator[Communicator]:
    if len(world.slots) > 3:
        pytest.skip("does not apply: three ranks show it, more would take the machine's memory")
    with group_of_all(world, 100) as comm:
        yield comm


def peak_of(work: Callable[[], pa.Table]) -> tuple[pa.Table, int]:
    """What it returns, and how far the resident memory rose above what it was before."""
    # A buffer's last huge page is seldom full: with many small ones that is more than the budget.
    set_thp_disabled(True)
    _native.trim_pool()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    result = work()
    risen = resident("VmHWM") - before
    set_thp_disabled(False)
    return result, risen


def set_thp_disabled(disabled: bool) -> None:
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, int(disabled), 0, 0, 0)


def resident(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {what} in /proc/self/status")


def side(comm: Communicator, name: str, offset: int) -> pa.Table:
    """Rows with keys 2 * n + offset, n being their number in the whole table, in mixed order."""
    prime = 1_000_003
    numbers = np.arange(ROWS) * prime % ROWS + comm.rank * ROWS
    return pa.table({"k": 2 * numbers + offset, name: numbers})


def test_a_join_of_three_budgets_stays_within_one(comm: Communicator) -> None:
    # One row of two has a partner.
    left, right = side(comm, "l", 0), side(comm, "r", 0)
    keys = right["k"].to_numpy()
    right = right.set_column(0, "k", pa.array(np.where(keys % 4, keys + 1, keys)))

    part, peak = peak_of(lambda: join(comm, left, right, ["k"], ["k"], memory_bytes=BUDGET))

    assert left.nbytes + right.nbytes >= 3 * BUDGET - 32
    assert part["l"].equals(part["r"])
    share = np.array([part.num_rows, int(part["k"].to_numpy().sum())])
    matched = np.arange(0, comm.size * ROWS, 2)
    assert comm.allreduce(share).tolist() == [len(matched), 2 * matched.sum()]
    assert peak <= BUDGET + part.nbytes + SLACK


def test_a_sort_of_three_budgets_stays_within_one(comm: Communicator) -> None:
    table = pa.concat_tables([side(comm, "n", 0), side(comm, "n", 1)])

    part, peak = peak_of(lambda: sort(comm, table, "k", memory_bytes=BUDGET))

    keys = part["k"].to_numpy()
    assert (np.diff(keys) >= 0).all()
    share = np.array([part.num_rows, int(keys.sum())])
    total = 2 * ROWS * comm.size
    assert comm.allreduce(share).tolist() == [total, total * (total - 1) // 2]
    assert peak <= BUDGET + part.nbytes + SLACK


def test_without_a_budget_a_join_peaks_at_two_and_a_half_times_its_input(
    comm: Communicator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Input, result and all between; every row has a partner, so the result is 3/4 of the input."""
    large_tables_only(comm, monkeypatch)
    left, right = side(comm, "l", 0), side(comm, "r", 0)
    inputs = left.nbytes + right.nbytes

    part, peak = peak_of(lambda: join(comm, left, right, ["k"], ["k"]))

    assert comm.allreduce(np.array([part.num_rows])).tolist() == [ROWS * comm.size]
    assert part.nbytes > 0.7 * inputs
    assert inputs + peak <= 2.5 * inputs + SLACK


def test_without_a_budget_a_sort_peaks_at_two_and_a_half_times_its_input(
    comm: Communicator, monkeypatch: pytest.MonkeyPatch
) -> None:
    large_tables_only(comm, monkeypatch)
    table = pa.concat_tables([side(comm, "n", 0), side(comm, "n", 1)])

    part, peak = peak_of(lambda: sort(comm, table, "k"))

    assert comm.allreduce(np.array([part.num_rows])).tolist() == [2 * ROWS * comm.size]
    assert table.nbytes + peak <= 2.5 * table.nbytes + SLACK


def large_tables_only(comm: Communicator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the tables of these tests for large ones."""
    if comm.size == 1:
        pytest.skip("does not apply: nothing is exchanged, the peak is the kernel's own")
    monkeypatch.setattr(strategy, "CHUNKED_BYTES", BUDGET)
