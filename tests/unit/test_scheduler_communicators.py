"""The numbers of private communicators: reused, bounded, freed by everybody once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elevon.agent.scheduling.communicators import CommunicatorTable
from elevon.model.outcomes import FailureKind
from tests.support.scheduler import Rig


def test_the_same_members_in_the_same_order_use_a_communicator_again():
    table = CommunicatorTable(4)
    assert table.open((0, 1)) == (1, ())
    assert table.open((1, 0)) == (2, ())
    assert table.open((0, 1)) == (1, ())


def test_the_least_recently_used_context_leaves_and_each_member_is_told_once():
    table = CommunicatorTable(2)
    table.open((0, 1))
    table.open((1, 2))
    table.open((0, 1))
    assert table.open((2, 3)) == (3, (2,)), "rank 2 frees communicator 2 before it opens 3"
    assert table.open((2, 3)) == (3, ())
    assert table.open((0, 1)) == (1, (2,)), "rank 1 is told with its next gang"
    assert table.open((0, 1)) == (1, ())


def test_a_gang_of_one_is_told_too():
    table = CommunicatorTable(1)
    table.open((0, 1))
    table.open((2, 3))
    assert table.open((0,)) == (0, (1,))
    assert table.open((0,)) == (0, ())


def test_without_a_cache_every_gang_has_a_new_context():
    table = CommunicatorTable(0)
    assert [table.open((0, 1)) for _ in range(3)] == [(1, ()), (2, (1,)), (3, (2,))]
    assert len(table) == 0


def test_a_retired_context_is_never_given_out_again():
    table = CommunicatorTable(4)
    table.open((0, 1))
    table.retire(1)
    table.retire(1)
    assert table.open((0, 1)) == (2, (1,))


def test_a_lost_member_ends_its_contexts_and_has_nothing_to_free():
    table = CommunicatorTable(4)
    table.open((0, 1))
    table.open((1, 2))
    table.lose_rank(1)
    assert table.open((1,)) == (0, ())
    assert table.open((0, 2)) == (3, (1, 2))


def test_numbers_go_on_after_the_world_has_ended():
    table = CommunicatorTable(4)
    table.open((0, 1))
    table.clear()
    assert table.open((0, 1)) == (2, ())


gangs = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True).map(tuple)


@given(
    limit=st.integers(0, 3),
    steps=st.lists(st.tuples(st.sampled_from(["open", "open", "retire", "lose"]), gangs)),
)
def test_against_ranks_that_remember_what_they_hold(limit, steps):
    """No rank opens a communicator that another gang has, none holds more than it must."""
    table, held, last = CommunicatorTable(limit), {rank: {} for rank in range(6)}, {}
    for action, gang in steps:
        if action == "lose":
            table.lose_rank(gang[0])
            held[gang[0]].clear()
            continue
        if action == "retire":
            table.retire(last.get(gang, 0))
            continue
        communicator_id, evict = table.open(gang)
        for rank in gang:
            for number in evict:
                held[rank].pop(number, None)
            if communicator_id:
                assert held[rank].setdefault(communicator_id, gang) == gang
        if communicator_id:
            assert all((communicator_id in held[rank]) for rank in gang)
            last[gang] = communicator_id
        assert len(table) <= limit
        for rank in gang:
            live = [number for number in held[rank] if number != communicator_id]
            assert len(live) <= limit, "what left the table is freed at the next gang"


# ------------------------------------------------------------ with tasks


def test_a_failed_gang_does_not_use_its_communicator_again():
    rig = Rig(ranks=2)
    rig.call("f", ranks=2)
    rig.call("g", ranks=2)
    rig.fail("f", 0)
    rig.fail("f", 1, kind=FailureKind.ABORTED)
    start = rig.starts["g"][0]
    assert (start.communicator_id, start.evict) == (2, (1,))


def test_a_canceled_gang_does_not_use_its_communicator_again():
    rig = Rig(ranks=2)
    rig.call("f", ranks=2)
    rig.cancel("f")
    rig.finish("f")
    rig.call("g", ranks=2)
    assert (rig.starts["g"][0].communicator_id, rig.starts["g"][0].evict) == (2, (1,))


def test_a_gang_that_ended_well_lends_its_communicator_to_the_next():
    rig = Rig(ranks=2)
    for name in "abc":
        rig.call(name, ranks=2)
        rig.finish(name)
    assert [rig.starts[name][0].communicator_id for name in "abc"] == [1, 1, 1]


def test_a_lost_member_retires_the_contexts_of_all_its_gangs():
    rig = Rig(ranks=3)
    rig.call("f", ranks=2)
    rig.finish("f")
    rig.gone(1)
    rig.join(1)
    rig.call("g", ranks=2)
    assert (rig.starts["g"][0].communicator_id, rig.starts["g"][0].evict) == (2, (1,))
