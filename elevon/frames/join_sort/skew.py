"""Keys with so many rows that the rank they belong to would work while the others wait.

Heavy keys are found in a small sample of hashes that all ranks see, so that all find the same ones.
A hash stands for its keys: two keys of one hash are heavy or not together.

A heavy key's rows on its larger side are dealt out over the ranks, its rows on the other side go to
all ranks. Every dealt row sees all its partners on one rank, exactly once; a copy on many ranks is
right only where an unmatched row of the copied side is no part of the result. So a left, semi or
anti join deals left rows only, a right join right rows only, an inner join both, and an outer join
none: its heavy keys stay together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.frames.exchange.shuffle import deal, replicate, shuffle, take_rows
from elevon.frames.exchange.splitters import Sampling
from elevon.frames.join_sort.inputs import KEEPS_LEFT, KEEPS_RIGHT, JoinWork, part_null_keys
from elevon.frames.memory.budget import Counts, hash_keys, owners
from elevon.frames.schema.join_plan import LEFT_ONLY

DEALS_LEFT: Final = ("inner", "left", "semi", "anti")
DEALS_RIGHT: Final = ("inner", "right")
#: The most loaded rank may have so many times the mean before its heaviest key is looked at.
EVEN: Final = 1.1
#: A key is heavy if spreading it takes at least this part of the mean from its rank. Below it the
#: load is uneven by many keys at once, and dealing one of them out would not help.
HEAVY_PART: Final = 0.1
#: Sampled hashes per rank: the load of a rank is known to 3 %, a heavy key is seen 100 times.
SAMPLES: Final = 1024
#: Seen less often, a key may be there by chance.
FEWEST_SEEN: Final = 16
#: A table with fewer rows is joined before a sample has travelled.
FEWEST_ROWS: Final = 1 << 16

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class HeavyKeys:
    """Hashes of keys that need the whole group.

    Attributes:
        left: those whose left rows are dealt out, and whose right rows go to all ranks.
        right: the other way round.
    """

    left: Hashes
    right: Hashes

    def __bool__(self) -> bool:
        return bool(len(self.left) or len(self.right))


NONE: Final = HeavyKeys(np.empty(0, np.uint64), np.empty(0, np.uint64))


def find_heavy(comm: Communicator, work: JoinWork, rows: Counts) -> HeavyKeys:
    """The heavy keys of a join.

    Collective (where the tables are large enough for it to matter).

    Args:
        comm: the group.
        work: this rank's share.
        rows: of both sides on each rank.

    Returns:
        The same on all ranks.
    """
    how = work.plan.how
    if rows.sum() < FEWEST_ROWS or how not in (*DEALS_LEFT, *DEALS_RIGHT):
        return NONE
    left = _sample(comm, work, work.left, work.plan.left_on, rows[:, 0])
    right = _sample(comm, work, work.right, work.plan.right_on, rows[:, 1])
    return choose_heavy(left, right, how, comm.size)


def choose_heavy(left: Counted, right: Counted, how: str, size: int) -> HeavyKeys:
    """Which keys of the two samples are heavy.

    Args:
        left: the sampled left hashes.
        right: the sampled right hashes.
        how: the kind of join.
        size: how many ranks there are.

    Returns:
        The heavy ones, each on the side that is to be dealt out.
    """
    hashes = np.union1d(left.hashes, right.hashes)
    lefts, rights = left.rows_of(hashes), right.rows_of(hashes)
    results = 0 if how in LEFT_ONLY else lefts * rights
    deals_left = left.seen(hashes) & (how in DEALS_LEFT)
    deals_right = right.seen(hashes) & (how in DEALS_RIGHT)
    # Where both may be, the larger side is dealt out and the smaller copied.
    deals_left &= (lefts >= rights) | ~deals_right
    deals_right &= ~deals_left
    work, copied = lefts + rights + results, np.where(deals_left, rights, lefts)
    # What is copied is worked on by all ranks: only the rest of the work is shared.
    may = (deals_left | deals_right) & (work >= 2 * copied)
    heavy = _overloading(owners(hashes, size), work, np.where(may, copied, work), size)
    return HeavyKeys(hashes[heavy & deals_left], hashes[heavy & deals_right])


def _overloading(
    owner: Counts, work: NDArray[np.float64], copied: NDArray[np.float64], size: int
) -> NDArray[np.bool_]:
    """Which keys to spread so that no rank has much more than the mean, the heaviest first.

    Args:
        owner: whose each key is.
        work: of each key.
        copied: the part of it that all ranks would have; all of it where the key may not be spread.
        size: how many ranks there are.
    """
    heavy = np.zeros(len(owner), dtype=np.bool_)
    loads = np.bincount(owner, work, minlength=size)
    while loads.max() > EVEN * loads.mean():
        rank = loads.argmax()
        relief = np.where(heavy | (owner != rank), 0.0, work - copied)
        key = relief.argmax()
        if relief[key] <= HEAVY_PART * loads.mean():
            break
        heavy[key] = True
        loads[rank] -= work[key]
        loads += copied[key] + relief[key] / size
    return heavy


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


def shuffle_heavy(
    comm: Communicator, work: JoinWork, heavy: HeavyKeys, rounds: tuple[int, int], threads: int
) -> tuple[pa.Table, pa.Table]:
    """Both sides by the hash of their keys, but the heavy ones over all ranks. Collective."""
    plan = work.plan
    sides = (
        (work.left, plan.left_on, plan.how in KEEPS_LEFT, heavy.left, heavy.right, rounds[0]),
        (work.right, plan.right_on, plan.how in KEEPS_RIGHT, heavy.right, heavy.left, rounds[1]),
    )
    moved = []
    for table, on, keeps, dealt, copied, many in sides:
        alone = table.slice(0, 0)
        if not work.nulls_equal:
            table, alone = part_null_keys(table, on, keeps)
        hashes = hash_keys(table.select(list(on)), threads)
        deals, copies = np.isin(hashes, dealt), np.isin(hashes, copied)
        light = take_rows(table, np.flatnonzero(~(deals | copies)))
        parts = [
            shuffle(comm, light, on, threads, many),
            deal(comm, take_rows(table, np.flatnonzero(deals))),
            replicate(comm, take_rows(table, np.flatnonzero(copies))),
            alone,
        ]
        moved.append(pa.concat_tables(parts))
    return moved[0], moved[1]


def _sample(
    comm: Communicator, work: JoinWork, table: pa.Table, on: tuple[int, ...], rows: Counts
) -> Counted:
    """The hashes of some rows of all ranks; null keys that match nothing are left out."""
    sampling = Sampling.of(rows, SAMPLES)
    keys = take_rows(table.select(list(on)), sampling.positions(comm.rank))
    if not work.nulls_equal:
        keys, _ = part_null_keys(keys, range(keys.num_columns), keep=False)
    seen = np.concatenate(comm.allgatherv(hash_keys(keys)))
    hashes, counts = np.unique(seen, return_counts=True)
    return Counted(hashes, counts.astype(np.int64), sampling.step, int(rows.sum()))
