"""How a group joins or sorts, chosen from facts that all ranks share: so all choose the same.

Nothing here communicates. The first choice takes the facts that the ranks have agreed on; what a
further collective finds out (how many bytes arrive, which keys are skewed) is the argument of a
second choice.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import numpy as np

from elevon.frames.exchange.ranges import MOST_RANGES
from elevon.frames.join_sort.facts import JoinFacts, SideFacts, SortFacts
from elevon.frames.join_sort.inputs import SPLITS_LEFT, SPLITS_RIGHT
from elevon.frames.memory.budget import Counts, join_need, sort_need

#: The side that is not replicated stays where it is. If its largest part is more than twice the
#: mean, the rank that holds it would work while the others wait; a shuffle evens that out.
LARGEST_PART: Final = 2
#: A join of fewer rows is done before a sample of its keys has travelled.
FEWEST_SAMPLED_ROWS: Final = 1 << 16
#: A rank with fewer bytes joins and sorts in one go: it is faster, and the memory is no matter.
CHUNKED_BYTES: Final = 256 << 20
#: A sort compares every row with the splitters of all chunks: more ranks than this do without.
MOST_CHUNKED_RANKS: Final = 8


class JoinStrategy(Enum):
    """How to join; the value says what the strategy is for."""

    ALONE = "a group of one has nothing to exchange"
    REPLICATE_LEFT = "the left side is so small that a copy for every rank moves least"
    REPLICATE_RIGHT = "the right side is so small that a copy for every rank moves least"
    SHUFFLE = "both sides to the rank of their keys' hash"
    SHUFFLE_FOR_SKEW = "as a shuffle, but the rows of keys with very many rows go to all ranks"
    SHUFFLE_IN_CHUNKS = "as a shuffle, chunk by chunk, because the tables are large"
    OUT_OF_CORE = "more than the memory budget: over the local disk"


class SortStrategy(Enum):
    """How to sort; the value says what the strategy is for."""

    ALONE = "a group of one has nothing to exchange"
    RANGES = "numbers are told their range at once: rows move first and are sorted there"
    RANGES_IN_CHUNKS = "as by ranges, chunk by chunk, because the table is large"
    CUT_AND_MERGE = "any keys: each rank sorts its rows, cuts them, and merges what arrives"
    OUT_OF_CORE = "more than the memory budget: over the local disk"


#: Which sides stay where they are, whatever is settled.
_STAYS: Final = {
    JoinStrategy.ALONE: (True, True),
    JoinStrategy.REPLICATE_LEFT: (False, True),
    JoinStrategy.REPLICATE_RIGHT: (True, False),
}


def choose_join_strategy(facts: JoinFacts) -> JoinStrategy:
    """How to join if the memory is enough.

    Replicating R bytes to P ranks moves R * (P-1); a shuffle moves (L+R) * (P-1)/P, less what is
    settled.

    Args:
        facts: what all ranks know.

    Returns:
        The strategy. ``SHUFFLE_FOR_SKEW`` stands until the skewed keys have been looked for: where
        there are none, ``choose_without_skew`` follows. With a budget, ``choose_within_memory``
        follows in any case.
    """
    if facts.ranks == 1:
        return JoinStrategy.ALONE
    left, right = facts.left, facts.right
    moved = sum(sum(side.nbytes) for side in (left, right) if not side.settled)
    if facts.how in SPLITS_LEFT and _replicates(right, moved) and _is_even(left):
        return JoinStrategy.REPLICATE_RIGHT
    if facts.how in SPLITS_RIGHT and _replicates(left, moved) and _is_even(right):
        return JoinStrategy.REPLICATE_LEFT
    if _may_have_skew(facts):
        return JoinStrategy.SHUFFLE_FOR_SKEW
    return choose_without_skew(facts)


def choose_without_skew(facts: JoinFacts) -> JoinStrategy:
    """How to shuffle where no key has very many rows, or nobody looks for one.

    Args:
        facts: what all ranks know.

    Returns:
        A shuffle in one go or in chunks.
    """
    # With a budget, ``join_need`` has counted on rounds.
    chunked = facts.memory_bytes is None and facts.nbytes.sum(axis=1).max() >= CHUNKED_BYTES
    return JoinStrategy.SHUFFLE_IN_CHUNKS if chunked else JoinStrategy.SHUFFLE


def choose_within_memory(
    facts: JoinFacts, strategy: JoinStrategy, arriving: Counts
) -> JoinStrategy:
    """Whether a strategy keeps within the budget.

    Args:
        facts: what all ranks know; of a join with a budget.
        strategy: the first choice.
        arriving: bytes of both sides that each rank will have by that strategy.

    Returns:
        The same strategy, or ``OUT_OF_CORE``.
    """
    stays = _STAYS.get(strategy, facts.settled)
    moving = np.where(np.array(stays), 0, facts.nbytes)
    need = join_need(arriving, moving, np.array(facts.copied_bytes, dtype=np.int64))
    fits = facts.memory_bytes is None or need <= facts.memory_bytes
    return strategy if fits else JoinStrategy.OUT_OF_CORE


def choose_sort_strategy(facts: SortFacts) -> SortStrategy:
    """How to sort.

    Args:
        facts: what all ranks know.

    Returns:
        The strategy. By ranges means that splitters are sampled first: where the sample is in
        order already, ``CUT_AND_MERGE`` takes over, because it copies nothing that is sorted and
        hardly moves it.
    """
    if facts.memory_bytes is not None and _sort_need(facts) > facts.memory_bytes:
        return SortStrategy.OUT_OF_CORE
    if facts.ranks == 1:
        return SortStrategy.ALONE
    if not facts.plain_numbers or facts.ranks > MOST_RANGES:
        return SortStrategy.CUT_AND_MERGE
    large = facts.memory_bytes is None and max(facts.nbytes) >= CHUNKED_BYTES
    chunked = large and facts.ranks <= MOST_CHUNKED_RANKS
    return SortStrategy.RANGES_IN_CHUNKS if chunked else SortStrategy.RANGES


def _replicates(side: SideFacts, moved: int) -> bool:
    """Whether copies of a side for all ranks are less than what a shuffle moves."""
    return sum(side.nbytes) * len(side.nbytes) < moved


def _is_even(side: SideFacts) -> bool:
    return max(side.nbytes) * len(side.nbytes) <= LARGEST_PART * sum(side.nbytes)


def _may_have_skew(facts: JoinFacts) -> bool:
    """Whether skewed keys can be spread, and are worth a sample.

    A settled side lies whole on the ranks of its hashes: dealing it out would move it. And with a
    budget ``join_need`` has counted neither the copies that this takes nor those it leaves.
    """
    spreads = facts.how in SPLITS_LEFT or facts.how in SPLITS_RIGHT
    free = not any(facts.settled) and facts.memory_bytes is None
    return spreads and free and int(facts.rows.sum()) >= FEWEST_SAMPLED_ROWS


def _sort_need(facts: SortFacts) -> int:
    return sort_need(np.array(facts.nbytes, dtype=np.int64))
