"""How a join or sort is to be carried out, chosen from facts: no communicator is needed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from elevon.frames.exchange.ranges import MOST_RANGES
from elevon.frames.join_sort.facts import JoinFacts, JoinReport, SideFacts, SortFacts, SortReport
from elevon.frames.join_sort.strategy import (
    CHUNKED_BYTES,
    FEWEST_SAMPLED_ROWS,
    MOST_CHUNKED_RANKS,
    JoinStrategy,
    SortStrategy,
    choose_join_strategy,
    choose_sort_strategy,
    choose_within_memory,
    choose_without_skew,
)

HOWS = ["inner", "left", "right", "outer", "semi", "anti"]
ALONE, LEFT, RIGHT, SHUFFLE, SKEW, CHUNKS, DISK = JoinStrategy


def join_facts(left, right, how="inner", *, ranks=4, rows=10, settled=(False, False), memory=None):
    """Sides of so many bytes on each rank, or of one number for all of them."""
    sides = [
        SideFacts(tuple(nbytes) if isinstance(nbytes, list) else (nbytes,) * ranks,
                  (rows,) * ranks, is_settled)
        for nbytes, is_settled in zip((left, right), settled, strict=True)
    ]  # fmt: skip
    return JoinFacts(how, *sides, (0,) * ranks, memory)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (1000, 1000, SHUFFLE),
        (1000, 333, RIGHT),
        (1000, 334, SHUFFLE),
        (333, 1000, LEFT),
        (1000, 0, RIGHT),
        (0, 1000, LEFT),
        (0, 0, SHUFFLE),
    ],
)
def test_the_way_that_moves_fewer_bytes_is_taken(left, right, expected):
    assert choose_join_strategy(join_facts(left, right)) is expected


@pytest.mark.parametrize(
    ("how", "small_right", "small_left"),
    [
        ("inner", RIGHT, LEFT),
        ("left", RIGHT, SHUFFLE),
        ("right", SHUFFLE, LEFT),
        ("outer", SHUFFLE, SHUFFLE),
        ("semi", RIGHT, SHUFFLE),
        ("anti", RIGHT, SHUFFLE),
    ],
)
def test_a_side_whose_rows_may_stay_unmatched_is_not_replicated(how, small_right, small_left):
    assert choose_join_strategy(join_facts(10**6, 10, how)) is small_right
    assert choose_join_strategy(join_facts(10, 10**6, how)) is small_left


def test_a_table_that_lies_on_one_rank_is_spread():
    lies_on_one = [10**6, 0, 0, 0]
    assert choose_join_strategy(join_facts(lies_on_one, 10)) is SHUFFLE
    assert choose_join_strategy(join_facts(10, lies_on_one)) is SHUFFLE
    assert choose_join_strategy(join_facts([2, 2, 0, 0], 0)) is RIGHT


def test_a_settled_side_does_not_count_as_moved():
    assert choose_join_strategy(join_facts(1000, 333)) is RIGHT
    assert choose_join_strategy(join_facts(1000, 333, settled=(True, False))) is SHUFFLE
    assert choose_join_strategy(join_facts(1000, 249, settled=(False, True))) is RIGHT


@pytest.mark.parametrize("how", HOWS)
def test_a_group_of_one_is_alone(how):
    for memory in (None, 1):
        facts = join_facts(10**12, 10**12, how, ranks=1, memory=memory)
        assert choose_join_strategy(facts) is ALONE


MANY = FEWEST_SAMPLED_ROWS // 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, SKEW),
        ({"rows": MANY - 1}, SHUFFLE),
        ({"how": "outer"}, SHUFFLE),
        ({"how": "semi"}, SKEW),
        ({"how": "right"}, SKEW),
        ({"settled": (True, False)}, SHUFFLE),
        ({"settled": (False, True)}, SHUFFLE),
        ({"memory": 1 << 40}, SHUFFLE),
    ],
)
def test_skew_is_looked_for_where_it_can_be_spread_and_is_worth_a_sample(change, expected):
    facts = join_facts(10**6, 10**6, **({"rows": MANY} | change))
    assert choose_join_strategy(facts) is expected


def test_large_tables_are_joined_in_chunks_unless_there_is_a_budget():
    half = CHUNKED_BYTES // 2
    assert choose_without_skew(join_facts(half, half)) is CHUNKS
    assert choose_without_skew(join_facts(half, half - 1)) is SHUFFLE
    # The rank that has most decides for all.
    assert choose_without_skew(join_facts([half, 0, 0, 0], [half, 0, 0, 0])) is CHUNKS
    assert choose_without_skew(join_facts([half, 0, 0, 0], [0, half, 0, 0])) is SHUFFLE
    assert choose_without_skew(join_facts(half, half, memory=1 << 50)) is SHUFFLE
    assert choose_join_strategy(join_facts(half, half, "outer")) is CHUNKS


@pytest.mark.parametrize(
    ("strategy", "settled", "need"),
    [
        # Twice what arrives, and twice what leaves.
        (SHUFFLE, (False, False), 2 * 70 + 2 * 30),
        (SHUFFLE, (True, False), 2 * 70 + 2 * 20),
        (SHUFFLE, (True, True), 2 * 70),
        (LEFT, (False, False), 2 * 70 + 2 * 10),
        (RIGHT, (False, False), 2 * 70 + 2 * 20),
    ],
)
def test_a_join_goes_to_the_disk_where_the_most_loaded_rank_has_no_room(strategy, settled, need):
    arriving = np.array([[5, 5], [30, 40]])
    for memory, expected in ((need, strategy), (need - 1, DISK)):
        facts = join_facts(10, 20, ranks=2, settled=settled, memory=memory)
        assert choose_within_memory(facts, strategy, arriving) is expected


def test_a_group_of_one_needs_the_scratch_alone():
    arriving = np.array([[10, 20]])
    for memory, expected in ((30, ALONE), (29, DISK)):
        facts = join_facts(10, 20, ranks=1, memory=memory)
        assert choose_within_memory(facts, ALONE, arriving) is expected


def test_what_is_copied_to_take_out_null_keys_counts():
    facts = JoinFacts(
        "left", SideFacts((0,) * 2, (1,) * 2), SideFacts((0,) * 2, (1,) * 2), (0, 7), 6
    )
    assert choose_within_memory(facts, SHUFFLE, np.zeros((2, 2), np.int64)) is DISK


def test_join_facts_are_those_of_all_ranks():
    reports = [JoinReport(10, 20, 1, 2, True, True, 5), JoinReport(30, 40, 3, 4, True, False, 0)]
    # A rank sends a fixed number of facts; those that it has no use for are zero.
    told = np.array([[*report, 0] for report in reports], dtype=np.int64)
    facts = JoinFacts.of("left", 99, told)
    left, right = SideFacts((10, 30), (1, 3), True), SideFacts((20, 40), (2, 4), False)
    assert facts == JoinFacts("left", left, right, (5, 0), 99)
    assert facts.ranks == 2
    assert facts.nbytes.tolist() == [[10, 20], [30, 40]]
    assert facts.rows.tolist() == [[1, 2], [3, 4]]


# ------------------------------------------------------------------ sorts


def sort_facts(*, nbytes=100, ranks=4, numbers=True, memory=None):
    return SortFacts((nbytes,) * ranks, (10,) * ranks, numbers, memory)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (sort_facts(), SortStrategy.RANGES),
        (sort_facts(numbers=False), SortStrategy.CUT_AND_MERGE),
        (sort_facts(ranks=MOST_RANGES), SortStrategy.RANGES),
        (sort_facts(ranks=MOST_RANGES + 1), SortStrategy.CUT_AND_MERGE),
        (sort_facts(nbytes=CHUNKED_BYTES), SortStrategy.RANGES_IN_CHUNKS),
        (sort_facts(nbytes=CHUNKED_BYTES - 1), SortStrategy.RANGES),
        (sort_facts(nbytes=CHUNKED_BYTES, numbers=False), SortStrategy.CUT_AND_MERGE),
        (sort_facts(nbytes=CHUNKED_BYTES, memory=1 << 50), SortStrategy.RANGES),
        (
            sort_facts(nbytes=CHUNKED_BYTES, ranks=MOST_CHUNKED_RANKS),
            SortStrategy.RANGES_IN_CHUNKS,
        ),
        (sort_facts(nbytes=CHUNKED_BYTES, ranks=MOST_CHUNKED_RANKS + 1), SortStrategy.RANGES),
        (sort_facts(memory=300), SortStrategy.RANGES),
        (sort_facts(memory=299), SortStrategy.OUT_OF_CORE),
        (sort_facts(ranks=1), SortStrategy.ALONE),
        (sort_facts(ranks=1, memory=100), SortStrategy.ALONE),
        (sort_facts(ranks=1, memory=99), SortStrategy.OUT_OF_CORE),
    ],
)
def test_a_sort_is_carried_out_as_the_facts_say(facts, expected):
    assert choose_sort_strategy(facts) is expected


def test_sort_facts_are_those_of_all_ranks():
    told = np.array([[*SortReport(10, 1, True), 0], [*SortReport(20, 2, False), 0]])
    assert SortFacts.of(None, told) == SortFacts((10, 20), (1, 2), False)
    assert SortFacts.of(7, told[:1]) == SortFacts((10,), (1,), True, 7)


def test_every_strategy_says_what_it_is_for_in_words_of_its_own():
    for strategies in (JoinStrategy, SortStrategy):
        # Members of one value would be one member.
        assert len({strategy.name for strategy in strategies}) == len(strategies.__members__)
    assert all(len(s.value.split()) > 5 for s in itertools.chain(JoinStrategy, SortStrategy))
