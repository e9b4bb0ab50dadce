"""The engine's algorithms: which one is chosen, and that each gives what the others give.

Costs force a choice: where only messages cost anything there are as few as can be, where only the
way does there are few rounds, where only bytes do none is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import reduce
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from elevon._native import Group, GroupFailed, Mesh
from elevon.comm.base import reductions
from tests.support.tcp import PATIENCE_S, Net, connected_pair, together

FEW_MESSAGES = (0.0, 1.0, 0.0)
FEW_ROUNDS = (1.0, 0.0, 0.0)
FEW_BYTES = (0.0, 0.0, 1.0)
CHEAP = {"messages": FEW_MESSAGES, "rounds": FEW_ROUNDS, "bytes": FEW_BYTES}
SIZES = (1, 2, 3, 4, 7, 8)
# By what is dear and the collective: the algorithm of a group of eight, where all pass 4 KiB.
EXPECTED = {
    "bcast": {"messages": "tree", "rounds": "tree", "bytes": "ring"},
    "gather": {"messages": "direct", "rounds": "direct", "bytes": "direct"},
    "scatter": {"messages": "direct", "rounds": "direct", "bytes": "direct"},
    "allgather": {"messages": "doubling", "rounds": "direct", "bytes": "ring"},
    "allgatherv": {"messages": "direct", "rounds": "direct", "bytes": "ring"},
    "alltoall": {"messages": "doubling", "rounds": "direct", "bytes": "direct"},
    "reduce_scatter": {"messages": "doubling", "rounds": "direct", "bytes": "direct"},
    "reduce": {"messages": "direct", "rounds": "direct", "bytes": "slices"},
    "allreduce": {"messages": "doubling", "rounds": "direct", "bytes": "slices"},
    "scan": {"messages": "doubling", "rounds": "direct", "bytes": "slices"},
}

Made = Callable[..., list[Group]]
Numbers = NDArray[Any]


@pytest.fixture
def groups() -> Iterator[Made]:
    """Groups of so many members, all of whom assume these costs."""
    with ExitStack() as cleanup:

        def make(size: int, costs: tuple[float, float, float] | None = None) -> list[Group]:
            net = Net(size)
            for mesh in net.meshes:
                cleanup.callback(mesh.close, 0.0)
                if costs is not None:
                    mesh.assume(*costs)
            return net.open()

        yield make


def all_of(groups: list[Group], call: Callable[[Group], Any]) -> list[Any]:
    """What ``call`` gives on each member, in turn by rank."""
    ends = together(*(lambda group=group: call(group) for group in groups))
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return ends


def row(rank: int, count: int, dtype: str = "int64") -> Numbers:
    values = np.random.default_rng([rank, count]).integers(-1000, 1000, count)
    return values.astype(dtype) / 7 if dtype.startswith("f") else values.astype(dtype)


def folded(
    group: Group, what: str, op: str, mine: Numbers, root: int = -1, like: Numbers | None = None
) -> Numbers | None:
    """One reduction; ``like`` is what the result looks like, where that is not ``mine``."""
    result = np.empty_like(mine if like is None else like)
    room = np.empty(group.room_for(what, result.nbytes, PATIENCE_S), dtype=np.uint8)
    given = result if root in (-1, group.rank) else None
    group.reduction(what, op, mine.dtype.name, mine, given, room, root, PATIENCE_S)
    return given


# ------------------------------------------------------------------ which one


@pytest.mark.parametrize("dear", CHEAP)
def test_costs_choose_the_algorithm(groups: Made, dear: str) -> None:
    member = groups(8, CHEAP[dear])[0]

    found = {what: member.algorithm(what, 4096, PATIENCE_S) for what in EXPECTED}

    assert found == {what: names[dear] for what, names in EXPECTED.items()}


def test_a_root_with_many_members_has_a_tree(groups: Made) -> None:
    member = groups(16, (1e-6, 15e-6, 1e-10))[0]

    found = [member.algorithm("gather", size, PATIENCE_S) for size in (8, 1 << 20)]

    assert found == ["tree", "direct"]


def test_small_goes_in_few_messages_and_large_in_few_bytes(groups: Made) -> None:
    """With the costs that are measured on loopback."""
    member = groups(8)[0]

    small = [member.algorithm(what, 8, PATIENCE_S) for what in ("alltoall", "allreduce")]
    large = [member.algorithm(what, 16 << 20, PATIENCE_S) for what in ("alltoall", "allreduce")]

    assert small == ["doubling", "doubling"]
    assert large == ["direct", "slices"]


def test_members_agree_on_the_highest_costs() -> None:
    net = Net(3)
    for slot, mesh in enumerate(net.meshes):
        mesh.assume(1e-3 * slot, 1e-5, 1e-9 / (slot + 1))
    agreed = all_of(net.open(), lambda group: group.costs(PATIENCE_S))

    assert agreed == [(2e-3, 1e-5, 1e-9)] * 3
    for mesh in net.meshes:
        mesh.close(0.0)


def test_costs_between_hosts_are_what_the_kernel_has_measured() -> None:
    """Two addresses are two hosts, as far as anybody can see."""
    found = []
    for source in ("127.0.0.1", "127.0.0.2"):
        meshes = [Mesh(slot, 2) for slot in range(2)]
        for slot, end in enumerate(connected_pair(source)):
            meshes[slot].attach(1 - slot, end.detach(), "")
        pair = [mesh.open(1, 0, [0, 1], "1") for mesh in meshes]
        found.append(all_of(pair, lambda group: group.costs(PATIENCE_S)))
        for mesh in meshes:
            mesh.close(0.0)

    (here, same_here), (there, same_there) = found
    assert here == same_here == (5e-6, 15e-6, 0.1e-9)
    assert there == same_there
    assert 0 < there[0] - here[0] < 1  # half a round trip
    assert there[2] > here[2]


def test_costs_that_cannot_be_are_an_error_of_the_caller() -> None:
    net = Net(2)
    for costs in ((-1.0, 0.0, 0.0), (0.0, float("nan"), 0.0), (0.0, 0.0, float("inf"))):
        with pytest.raises(ValueError, match="not negative"):
            net.meshes[0].assume(*costs)
    net.open()
    with pytest.raises(ValueError, match="first group"):
        net.meshes[0].assume(1.0, 1.0, 1.0)
    for mesh in net.meshes:
        mesh.close(0.0)


def test_a_choice_waits_for_costs_no_longer_than_the_deadline() -> None:
    """The other one has not opened its first group, so nobody knows what it says."""
    net = Net(2)
    group = net.meshes[0].open(1, 0, [0, 1], "1")

    with pytest.raises(GroupFailed, match=r"gather of group 1: still waiting for rank 1"):
        group.gather(np.zeros(8), None, 1, 0.2)

    for mesh in net.meshes:
        mesh.close(0.0)


# ------------------------------------------------------------------ the same by each


@pytest.mark.parametrize("dear", CHEAP)
@pytest.mark.parametrize("size", SIZES)
def test_rows_arrive_by_each_algorithm(groups: Made, size: int, dear: str) -> None:
    members = groups(size, CHEAP[dear])
    table = [np.stack([row(rank * 10 + peer, 5) for peer in range(size)]) for rank in range(size)]

    def call(group: Group) -> None:
        mine, rank = table[group.rank], group.rank
        everything, own = np.empty((size, size, 5), np.int64), np.empty((size, 5), np.int64)
        group.allgather(mine, everything, PATIENCE_S)
        assert (everything == np.stack(table)).all()
        uneven = [rows.reshape(-1)[:peer].copy() for peer, rows in enumerate(table)]
        given = [rows if peer == rank else np.zeros_like(rows) for peer, rows in enumerate(uneven)]
        group.allgatherv(given, PATIENCE_S)
        assert all((one == other).all() for one, other in zip(given, uneven, strict=True))
        group.alltoall(mine, own, PATIENCE_S)
        assert (own == np.stack([rows[rank] for rows in table])).all()
        for root in range(size):
            data = table[root].copy() if rank == root else np.empty_like(mine)
            group.bcast(data, root, PATIENCE_S)
            assert (data == table[root]).all()

    all_of(members, call)


@pytest.mark.parametrize("costs", [FEW_ROUNDS, (0.0, 1.0, 0.0)], ids=["direct", "tree"])
@pytest.mark.parametrize("size", [1, 2, 5, 8, 11])
def test_a_root_collects_and_hands_out(groups: Made, size: int, costs: Any) -> None:
    members = groups(size, costs)

    def call(group: Group) -> None:
        for root in (0, size // 2, size - 1):
            at_root = group.rank == root
            rows = np.empty((size, 3), np.int64) if at_root else None
            group.gather(row(group.rank, 3), rows, root, PATIENCE_S)
            assert rows is None or (rows == [row(rank, 3) for rank in range(size)]).all()
            mine = np.empty(3, np.int64)
            group.scatter(rows, mine, root, PATIENCE_S)
            assert (mine == row(group.rank, 3)).all()

    all_of(members, call)


@pytest.mark.parametrize("dear", CHEAP)
@pytest.mark.parametrize("size", SIZES)
def test_reductions_have_the_same_bits_by_each_algorithm(
    groups: Made, size: int, dear: str
) -> None:
    """Sums of thirds and sevenths, which depend on the order."""
    members = groups(size, CHEAP[dear])
    given = [row(rank, 1003, "float64") for rank in range(size)]
    whole = reduce(np.add, given)
    root = size // 2

    def call(group: Group) -> None:
        rank, mine = group.rank, given[group.rank]
        assert same(folded(group, "allreduce", "sum", mine), whole)
        assert same(folded(group, "scan", "sum", mine), reduce(np.add, given[: rank + 1]))
        at_root = folded(group, "reduce", "sum", mine, root)
        assert at_root is None if rank != root else same(at_root, whole)
        each = np.stack([mine * (peer + 1) for peer in range(size)])
        row_of_mine = reduce(np.add, [values * (rank + 1) for values in given])
        assert same(folded(group, "reduce_scatter", "sum", each, like=mine), row_of_mine)

    all_of(members, call)


def same(found: Numbers | None, expected: Numbers) -> bool:
    return found is not None and found.tobytes() == expected.tobytes()


# ------------------------------------------------------------------ what is folded


@pytest.mark.parametrize("op", ["sum", "prod", "min", "max"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_numbers_are_folded_as_numpy_does(groups: Made, dtype: str, op: str) -> None:
    """Integers wrap around; NaN and infinities go through."""
    rows = [row(rank, 4099, dtype) * 99991 for rank in range(3)]
    if dtype.startswith("f"):
        rows[1][::7], rows[2][::5], rows[0][3] = np.nan, np.inf, -np.inf
    with np.errstate(all="ignore"):
        expected = reductions.fold(rows, op)  # type: ignore[arg-type]

    for found in all_of(groups(3), lambda g: folded(g, "allreduce", op, rows[g.rank])):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", ["land", "lor"])
def test_truth_is_folded_as_numpy_does(groups: Made, op: str) -> None:
    rows = [row(rank, 100) > 0 for rank in range(3)]

    for found in all_of(groups(3), lambda g: folded(g, "allreduce", op, rows[g.rank])):
        assert same(found, reductions.fold(rows, op))  # type: ignore[arg-type]


def test_a_negative_zero_lies_below_zero(groups: Made) -> None:
    """In whatever order they come; numpy's own answer depends on the machine."""
    rows = [np.array([0.0, -0.0]), np.array([-0.0, 0.0])]
    for op, negative in (("min", True), ("max", False)):
        for found in all_of(groups(2), lambda g, op=op: folded(g, "allreduce", op, rows[g.rank])):
            assert np.signbit(found).tolist() == [negative, negative]


def test_members_that_reduce_differently_are_told(groups: Made) -> None:
    one, other = groups(2)
    mine = np.ones(4)

    together(
        lambda: folded(one, "allreduce", "sum", mine),
        lambda: folded(other, "allreduce", "max", mine),
    )

    reasons = {group.failure[1] for group in (one, other) if group.failure}
    assert any("sum of float64" in reason and "max of float64" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("op", "dtype", "nbytes", "room"),
    [
        ("median", "int64", 8, 64),
        ("sum", "complex64", 8, 64),
        ("sum", "bool", 8, 64),
        ("land", "int64", 8, 64),
        ("sum", "int64", 12, 64),
        ("sum", "int64", 8, 15),
    ],
)
def test_what_cannot_be_reduced_is_an_error_of_the_caller(
    groups: Made, op: str, dtype: str, nbytes: int, room: int
) -> None:
    group = groups(2)[0]
    mine = np.zeros(nbytes, np.uint8)

    with pytest.raises(ValueError, match=r"reduce"):
        group.reduction(
            "allreduce", op, dtype, mine, mine.copy(), np.zeros(room, np.uint8), -1, 1.0
        )
    assert group.failure is None
