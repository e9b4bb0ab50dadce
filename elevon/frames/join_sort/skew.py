"""Keys with so many rows that the rank they belong to would work while the others wait.

Skewed keys are found in a small sample of hashes that all ranks see, so that all find the same.
A hash stands for its keys: two keys of one hash are skewed or not together.

The rows of a skewed key on its larger side are dealt out over the ranks, its rows on the other side
go to all ranks. Every dealt row sees all its partners on one rank, exactly once; a copy on many
ranks is right only where an unmatched row of the copied side is no part of the result. So a left,
semi or anti join deals left rows only, a right join right rows only, an inner join both, and an
outer join none: its skewed keys stay together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.frames.exchange.partitioning import Placed
from elevon.frames.exchange.shuffle import deal, replicate, shuffle, take_rows
from elevon.frames.exchange.splitters import Sampling
from elevon.frames.join_sort.facts import JoinFacts, SideFacts
from elevon.frames.join_sort.inputs import SPLITS_LEFT, SPLITS_RIGHT, JoinInputs, Side
from elevon.frames.memory.budget import Counts, hash_keys, owners
from elevon.frames.schema.join_plan import LEFT_ONLY

#: The most loaded rank may have so many times the mean before its largest key is looked at.
EVEN: Final = 1.1
#: A key is skewed if spreading it takes at least this part of the mean from its rank. Below it the
#: load is uneven by many keys at once, and dealing one of them out would not help.
SKEWED_PART: Final = 0.1
#: Sampled hashes per rank: the load of a rank is known to 3 %, a skewed key is seen 100 times.
SAMPLES: Final = 1024
#: Seen less often, a key may be there by chance.
FEWEST_SEEN: Final = 16

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class SkewedKeys:
    """Hashes of keys that need the whole group.

    Attributes:
        left: those whose left rows are dealt out, and whose right rows go to all ranks.
        right: the other way round.
    """

    left: Hashes
    right: Hashes

    def __bool__(self) -> bool:
        return bool(len(self.left) or len(self.right))


NONE: Final = SkewedKeys(np.empty(0, np.uint64), np.empty(0, np.uint64))


def find_skew(comm: Communicator, inputs: JoinInputs, facts: JoinFacts) -> SkewedKeys:
    """The skewed keys of a join, from a sample of both sides.

    Collective.

    Args:
        comm: the group.
        inputs: of this rank.
        facts: of all ranks.

    Returns:
        The same on all ranks; NONE where no key is skewed.
    """
    left, right = inputs.sides
    samples = _sample(comm, left, facts.left), _sample(comm, right, facts.right)
    return choose_skew(*samples, facts.how, comm.size)


def join_skewed(
    comm: Communicator, inputs: JoinInputs, facts: JoinFacts, skew: SkewedKeys
) -> Placed:
    """Join by the hash of the keys, but the skewed ones over all ranks.

    Collective.

    Args:
        comm: the group.
        inputs: of this rank.
        facts: of all ranks.
        skew: what ``find_skew`` found.

    Returns:
        This rank's part of the result; rows of one key may lie anywhere, so it has no layout.
    """
    left, right = inputs.sides
    table = inputs.run(
        _spread_side(comm, left, facts.left, skew.left, skew.right, inputs.threads),
        _spread_side(comm, right, facts.right, skew.right, skew.left, inputs.threads),
    )
    return Placed(table)


def choose_skew(left: Counted, right: Counted, how: str, size: int) -> SkewedKeys:
    """Which keys of the two samples are skewed.

    Args:
        left: the sampled left hashes.
        right: the sampled right hashes.
        how: the kind of join.
        size: how many ranks there are.

    Returns:
        The skewed ones, each on the side that is to be dealt out.
    """
    hashes = np.union1d(left.hashes, right.hashes)
    lefts, rights = left.rows_of(hashes), right.rows_of(hashes)
    results = 0 if how in LEFT_ONLY else lefts * rights
    deals_left = left.seen(hashes) & (how in SPLITS_LEFT)
    deals_right = right.seen(hashes) & (how in SPLITS_RIGHT)
    # Where both may be, the larger side is dealt out and the smaller copied.
    deals_left &= (lefts >= rights) | ~deals_right
    deals_right &= ~deals_left
    work, copied = lefts + rights + results, np.where(deals_left, rights, lefts)
    # What is copied is worked on by all ranks: only the rest of the work is shared.
    may = (deals_left | deals_right) & (work >= 2 * copied)
    skewed = _overloading(owners(hashes, size), work, np.where(may, copied, work), size)
    return SkewedKeys(hashes[skewed & deals_left], hashes[skewed & deals_right])


def _overloading(
    owner: Counts, work: NDArray[np.float64], copied: NDArray[np.float64], size: int
) -> NDArray[np.bool_]:
    """Which keys to spread so that no rank has much more than the mean, the largest first.

    Args:
        owner: whose each key is.
        work: of each key.
        copied: the part of it that all ranks would have; all of it where the key may not be spread.
        size: how many ranks there are.
    """
    skewed = np.zeros(len(owner), dtype=np.bool_)
    loads = np.bincount(owner, work, minlength=size)
    while loads.max() > EVEN * loads.mean():
        rank = loads.argmax()
        relief = np.where(skewed | (owner != rank), 0.0, work - copied)
        key = relief.argmax()
        if relief[key] <= SKEWED_PART * loads.mean():
            break
        skewed[key] = True
        loads[rank] -= work[key]
        loads += copied[key] + relief[key] / size
    return skewed


@dataclass(frozen=True, slots=True)
class Counted:
    """How often each hash was seen in the sample of a side.

    Attributes:
        hashes: ascending, each once.
        counts: how often each was seen.
        step: how many rows a sampled one stands for.
        rows: of the side, on all ranks.
    """

    hashes: Hashes
    counts: Counts
    step: int
    rows: int

    def rows_of(self, hashes: Hashes) -> NDArray[np.float64]:
        """About how many rows have each of these hashes."""
        return self._counts_of(hashes) * float(self.step)

    def seen(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which of these hashes were seen often enough to be judged."""
        return np.asarray(self._counts_of(hashes) >= FEWEST_SEEN)

    def _counts_of(self, hashes: Hashes) -> NDArray[np.float64]:
        found = np.zeros(len(hashes))
        found[np.isin(hashes, self.hashes)] = self.counts
        return found


def _spread_side(
    comm: Communicator,
    side: Side,
    facts: SideFacts,
    dealt: Hashes,
    copied: Hashes,
    threads: int,
) -> pa.Table:
    """What a rank has of one side after the exchange: its own keys, and of the skewed ones."""
    table, alone = side.part_null_keys()
    hashes = hash_keys(table.select(list(side.on)), threads)
    deals, copies = np.isin(hashes, dealt), np.isin(hashes, copied)
    others = take_rows(table, np.flatnonzero(~(deals | copies)))
    parts = [
        shuffle(comm, others, side.on, threads, facts.rounds),
        deal(comm, take_rows(table, np.flatnonzero(deals))),
        replicate(comm, take_rows(table, np.flatnonzero(copies))),
        alone,
    ]
    return pa.concat_tables(parts)


def _sample(comm: Communicator, side: Side, facts: SideFacts) -> Counted:
    """The hashes of some rows of all ranks; null keys that match nothing are left out."""
    sampling = Sampling.of(np.array(facts.rows, dtype=np.int64), SAMPLES)
    keys = take_rows(side.table.select(list(side.on)), sampling.positions(comm.rank))
    picked = Side(keys, tuple(range(keys.num_columns)), False, side.nulls_equal)
    seen = np.concatenate(comm.allgatherv(hash_keys(picked.part_null_keys()[0])))
    hashes, counts = np.unique(seen, return_counts=True)
    return Counted(hashes, counts.astype(np.int64), sampling.step, sum(facts.rows))
