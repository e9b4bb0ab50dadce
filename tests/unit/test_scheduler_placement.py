"""Which rows and which ranks: slices, locality, nodes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elevon.agent.scheduling.events import StartGang, pickle_values
from elevon.agent.scheduling.idle_ranks import IdleRanks
from elevon.agent.scheduling.placement import choose_gang
from elevon.model.slices import Slice
from tests.support.scheduler import Rig, only


def ranges(start, member, number=0):
    """(rank that holds the partition, offset, rows) of one input of one member."""
    return [(s.rank, s.offset, s.rows) for s in start.inputs[member][number]]


def test_as_many_partitions_as_members_go_whole():
    rig = Rig()
    rig.read("a", ranks=3)
    rig.finish("a", rows=[5, 0, 9])
    rig.sort("b", "a", ranks=3)
    start = rig.starts["b"][0]
    assert [ranges(start, m) for m in range(3)] == [[(0, 0, 5)], [], [(2, 0, 9)]]
    assert start.schemas == (b"schema",)
    assert start.values == (b"",)


def test_other_numbers_of_members_share_the_rows_evenly_in_order():
    rig = Rig()
    rig.read("a", ranks=3)
    rig.finish("a", rows=[5, 0, 6])
    rig.sort("b", "a", ranks=2)
    start = rig.starts["b"][0]
    assert [ranges(start, m) for m in range(2)] == [[(0, 0, 5)], [(2, 0, 6)]]
    rig.finish("b")
    rig.sort("c", "a", ranks=4)
    start = rig.starts["c"][0]
    assert [ranges(start, m) for m in range(4)] == [
        [(0, 0, 2)],
        [(0, 2, 3)],
        [(2, 0, 3)],
        [(2, 3, 3)],
    ]


@given(
    rows=st.lists(st.integers(0, 20), min_size=1, max_size=5),
    members=st.integers(1, 6),
)
def test_slices_cover_all_rows_exactly_once_in_order(rows, members):
    rig = Rig(ranks=8)
    rig.read("a", ranks=len(rows))
    rig.finish("a", rows=rows)
    rig.sort("b", "a", ranks=members)
    start = rig.starts["b"][0]
    covered = [
        (p, row)
        for m in range(members)
        for p, offset, count in ranges(start, m)
        for row in range(offset, offset + count)
    ]
    assert covered == [(p, row) for p, count in enumerate(rows) for row in range(count)]
    if members != len(rows):
        total = sum(rows)
        shares = [sum(count for _, _, count in ranges(start, m)) for m in range(members)]
        assert shares == [(m + 1) * total // members - m * total // members for m in range(members)]


def test_the_owners_in_partition_order_are_the_gang():
    rig = Rig(ranks=6)
    rig.read("x", ranks=3)
    rig.read("a", ranks=3)
    assert rig.gang("a") == (3, 4, 5)
    rig.finish("a")
    rig.finish("x")
    rig.sort("b", "a", ranks=3)
    assert rig.gang("b") == (3, 4, 5)
    assert rig.starts["b"][0].communicator_id == rig.starts["a"][0].communicator_id


def test_a_member_goes_where_most_of_its_rows_are():
    rig = Rig(ranks=4)
    rig.read("a", ranks=2)
    rig.finish("a", rows=[10, 2])
    rig.read("b", ranks=2)
    rig.finish("b", rows=[3, 8])
    assert (rig.gang("a"), rig.gang("b")) == ((0, 1), (0, 1))
    rig.join_tables("c", "a", "b")
    assert rig.gang("c") == (0,), "13 rows of 23 are on rank 0"
    rig.sort("d", "b")
    assert rig.gang("d") == (1,)


def test_data_on_busy_ranks_does_not_keep_a_gang_waiting():
    rig = Rig(ranks=4)
    rig.read("a", ranks=2)
    rig.finish("a")
    rig.read("busy", ranks=2)
    rig.sort("b", "a", ranks=2)
    assert rig.gang("b") == (2, 3)


def test_owners_are_all_in_the_gang_though_two_members_want_the_same():
    rig = Rig(ranks=5)
    rig.read("x", ranks=3)
    rig.read("a", ranks=2)
    rig.finish("x")
    rig.finish("a", rows=[90, 3])
    rig.sort("b", "a", ranks=3)
    assert {3, 4} < set(rig.gang("b"))
    assert rig.gang("b")[0] == 3


def test_a_value_goes_to_its_consumer_as_one_pickle():
    rig = Rig()
    rig.call("one", ranks=2)
    rig.finish("one", values=[pickle.dumps(1), b""])
    rig.call("many", ranks=2, returns="all")
    rig.finish("many", values=[pickle.dumps(2), pickle.dumps(3)])
    rig.read("table")
    rig.finish("table")
    rig.call("use", "one", "table", "many")
    start = rig.starts["use"][0]
    assert start.values[1] == b""
    assert pickle.loads(start.values[0]) == 1
    assert pickle.loads(start.values[2]) == [2, 3]
    assert start.inputs == (
        ((), (Slice("table", rig.ends["table"][0].partitions[0].address, 0, 10, 0),), ()),
    )


def test_values_are_not_unpickled_on_their_way():
    assert pickle.loads(pickle_values([pickle.dumps("x"), pickle.dumps(None)])) == ["x", None]
    assert b"not a pickle" in pickle_values([b"not a pickle"])


# ------------------------------------------------------------ nodes


def test_a_gang_is_on_one_node_if_it_can():
    rig = Rig(ranks=8, per_node=4)
    rig.read("x", ranks=2)
    rig.read("a", ranks=3)
    assert rig.gang("a") == (4, 5, 6), "node0 has two idle ranks only"
    rig.read("b", ranks=2)
    assert rig.gang("b") == (2, 3), "node0 fits exactly"


def test_a_gang_that_fits_no_node_is_on_as_few_as_it_can():
    rig = Rig(ranks=12, per_node=4)
    rig.read("x", ranks=2)
    rig.read("a", ranks=6)
    assert rig.gang("a") == (2, 3, 4, 5, 6, 7), "a full node, and the best fit for the rest"


def test_the_rest_of_a_gang_is_near_its_data():
    rig = Rig(ranks=12, per_node=4)
    rig.read("x", ranks=4)
    rig.read("y", ranks=3)
    rig.read("a", ranks=1)
    assert rig.gang("a") == (7,)
    rig.finish("x")
    rig.finish("y")
    rig.finish("a")
    rig.sort("b", "a", ranks=3)
    assert set(rig.gang("b")) <= {4, 5, 6, 7}
    assert 7 in rig.gang("b")


def test_a_rank_that_comes_back_on_another_node_counts_there():
    rig = Rig(ranks=4, per_node=2)
    rig.gone(1)
    rig.join(1, node="node1")
    rig.read("a", ranks=3)
    assert rig.gang("a") == (1, 2, 3)
    (start,) = only(rig.read("b"), StartGang)
    assert start.ranks == (0,)


@given(data=st.data())
def test_idle_ranks_agree_with_a_plain_model(data):
    """Against sets: counts, best fit, as few nodes as can be, nothing given out twice."""
    ranks, per_node = 12, data.draw(st.sampled_from([1, 3, 4, 12]), label="ranks per node")
    idle = IdleRanks(ranks)
    node_of = {rank: f"n{rank // per_node}" for rank in range(ranks)}
    for rank in range(ranks):
        idle.set_node(rank, node_of[rank])
    free, busy = set(), set(range(ranks))
    for _ in range(data.draw(st.integers(1, 40), label="steps")):
        if busy and data.draw(st.booleans(), label="add"):
            rank = data.draw(st.sampled_from(sorted(busy)))
            if data.draw(st.booleans(), label="moves"):
                node_of[rank] = f"n{data.draw(st.integers(0, 4))}"
                idle.set_node(rank, node_of[rank])
            idle.add(rank)
            taken, given_back = set(), {rank}
        elif free and data.draw(st.booleans(), label="take one"):
            taken, given_back = {data.draw(st.sampled_from(sorted(free)))}, set()
            idle.take(*taken)
        else:
            wanted = data.draw(st.integers(0, len(free)), label="wanted")
            taken, given_back = set(idle.take_any(wanted)), set()
            assert len(taken) == wanted
            assert taken <= free
            counts = sorted(_on_nodes(free, node_of).values(), reverse=True)
            fewest = next(n for n in range(len(counts) + 1) if sum(counts[:n]) >= wanted)
            assert len(_on_nodes(taken, node_of)) == fewest
        free, busy = free - taken | given_back, busy - given_back | taken
        assert idle.count == len(free)
        assert [idle.is_idle(rank) for rank in range(ranks)] == [r in free for r in range(ranks)]


def _on_nodes(ranks, node_of):
    counts = {}
    for rank in ranks:
        counts[node_of[rank]] = counts.get(node_of[rank], 0) + 1
    return counts


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_gang_without_inputs_is_in_order_of_rank(size):
    idle = IdleRanks(8)
    for rank in reversed(range(8)):
        idle.set_node(rank, f"n{rank % 3}")
        idle.add(rank)
    gang = choose_gang(idle, size, ((),) * size)
    assert list(gang) == sorted(gang)
    assert idle.count == 8 - size
