"""Where each rank cuts its sorted run, so that rank r ends with the r-th range of all rows.

Every rank offers rows at one spacing, a constant number per rank on average, and all of them see
all the offered rows: 256 * P of them, not the P * P of regular sampling, so a rank's work grows
with P and not with its square. Rows are compared as (keys, rank, position). Equal keys are
therefore as easy to cut as different ones, and the result is stable over the whole group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elevon.comm.protocol import Communicator
from elevon.frames.exchange.shuffle import replicate, take_rows
from elevon.frames.schema.sort_plan import Order

Rows = NDArray[np.int64]

#: Offered rows per rank. A cut is off by at most 1/256 of all rows (if every rank holds the same
#: keys), by about sqrt(P)/256 of a share on mixed data: 3 % at 64 ranks.
SAMPLES_PER_RANK: Final = 256
#: Rows looked at in one round of the search for the cuts. Few rounds of a thousand rows cost less
#: than twenty rounds of one row per cut: a kernel call costs about as much as sorting a hundred.
PROBES_PER_ROUND: Final = 1024


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which rows each rank offers: one of every ``step``, from the middle of the step.

    Attributes:
        rows: how many rows each rank has.
        step: the spacing, the same on all ranks, so that every offered row stands for as many.
    """

    rows: Rows
    step: int

    @staticmethod
    def of(rows: Rows, per_rank: int = SAMPLES_PER_RANK) -> Sampling:
        """About ``per_rank`` rows of each rank on average; all rows where there are fewer."""
        return Sampling(rows, max(1, -(-int(rows.sum()) // (per_rank * len(rows)))))

    def positions(self, rank: int) -> Rows:
        """The rows that a rank offers."""
        return np.arange(self.step // 2, self.rows[rank], self.step, dtype=np.int64)

    def origin(self, offered: Rows) -> tuple[Rows, Rows]:
        """The rank and the position there of offered rows, counted through all ranks in order."""
        counts = np.maximum(-(-(self.rows - self.step // 2) // self.step), 0)
        ends = np.cumsum(counts)
        ranks = np.searchsorted(ends, offered, side="right")
        return ranks, (offered - (ends - counts)[ranks]) * self.step + self.step // 2


def cut_run(comm: Communicator, order: Order, run: pa.Table, rows: Rows) -> list[int]:
    """Where to cut this rank's sorted run.

    Collective.

    Args:
        comm: the group.
        order: the order in which ``run`` is.
        run: this rank's rows, sorted.
        rows: how many rows each rank has.

    Returns:
        One bound more than there are ranks: rows bounds[i] up to bounds[i+1] are for rank i.
    """
    keys, by_keys = run.select(list(order.by)), order.of_keys()
    sampling = Sampling.of(rows)
    offered = replicate(comm, take_rows(keys, sampling.positions(comm.rank)))
    chosen = _quantiles(_ranked(by_keys, offered), comm.size)
    ranks, positions = sampling.origin(chosen)
    cuts = locate(by_keys, keys, take_rows(offered, chosen), ranks > comm.rank)
    # The place of a splitter in its own rank's run is known; equal keys around it do not matter.
    cuts = np.where(ranks == comm.rank, positions, cuts)
    if not len(chosen):
        cuts = np.zeros(comm.size - 1, dtype=np.int64)
    return [0, *cuts.tolist(), run.num_rows]


def locate(order: Order, run: pa.Table, wanted: pa.Table, after_equal: NDArray[np.bool_]) -> Rows:
    """How many rows of a sorted run come before each wanted row.

    A search in all places at once: each round looks at rows spread over what is left, and sorts
    them together with the wanted ones. The kernel alone knows the order of values, nulls and NaN.

    Args:
        order: the order of ``run``.
        run: sorted rows.
        wanted: rows of the same schema, in any order.
        after_equal: for each wanted row, whether rows equal to it come before it.

    Returns:
        A count for each wanted row.
    """
    low = np.zeros(wanted.num_rows, dtype=np.int64)
    high = np.full(wanted.num_rows, run.num_rows, dtype=np.int64)
    while (low < high).any():
        probes = _spread(low, high)
        before = _count_before(order, take_rows(run, probes), wanted, after_equal)
        edges = np.concatenate(([-1], probes, [run.num_rows]))
        low = np.maximum(low, edges[before] + 1)
        high = np.minimum(high, edges[before + 1])
    return low


def _ranked(order: Order, rows: pa.Table) -> Rows:
    """The numbers of rows in their order."""
    return np.asarray(order.sort(_numbered(rows)).column(rows.num_columns).to_numpy())


def _quantiles(ranked: Rows, size: int) -> Rows:
    """Which of the offered rows are the size-1 splitters; none where nothing was offered."""
    total = len(ranked)
    return ranked[np.arange(1, size) * total // size] if total else ranked


def _spread(low: Rows, high: Rows) -> Rows:
    """Evenly spaced positions in every interval that is still open, each once, ascending."""
    low, high = low[low < high], high[low < high]
    each = max(1, PROBES_PER_ROUND // len(low))
    inside = np.arange(1, each + 1, dtype=np.int64)
    return np.unique(low[:, None] + (high - low)[:, None] * inside // (each + 1))


def _count_before(
    order: Order, probes: pa.Table, wanted: pa.Table, after_equal: NDArray[np.bool_]
) -> Rows:
    """How many of the (sorted) probes come before each wanted row.

    The sort is stable, so a wanted row that stands before the probes goes before its equals.
    """
    first, last = np.flatnonzero(~after_equal), np.flatnonzero(after_equal)
    stack = pa.concat_tables([take_rows(wanted, first), probes, take_rows(wanted, last)])
    ranked = _ranked(order, stack)
    is_probe = (ranked >= len(first)) & (ranked < len(first) + probes.num_rows)
    passed = np.empty(len(ranked), dtype=np.int64)
    passed[ranked] = np.cumsum(is_probe)
    before = np.empty(wanted.num_rows, dtype=np.int64)
    before[first] = passed[: len(first)]
    before[last] = passed[len(first) + probes.num_rows :]
    return before


def _numbered(table: pa.Table) -> pa.Table:
    """The table with the number of each row as its last column."""
    return table.append_column("", pa.array(np.arange(table.num_rows, dtype=np.int64)))


@dataclass(frozen=True, slots=True)
class Splitters:
    """Where ranges of all rows end, found before any row is sorted.

    Attributes:
        order: the order of the keys.
        by: positions of the key columns in the tables to cut.
        keys: the splitters' keys, ascending.
        ranks: which rank each splitter came from.
        positions: where it stood there.
        ranges: how many ranges there are; one more than splitters, unless there were no rows.
        in_order: whether the sampled rows were in order as they came.
    """

    order: Order
    by: tuple[int, ...]
    keys: pa.Table
    ranks: Rows
    positions: Rows
    ranges: int
    in_order: bool

    def cut(self, run: pa.Table, rank: int, start: int) -> list[int]:
        """Where to cut a sorted run that was made of neighbouring rows of one rank.

        Rows that equal a splitter go before it if their run lies before the splitter's own row,
        and after it if the run lies behind. In the run that held the splitter itself, equal rows
        are cut in proportion to the place where it stood: they are in their order, so the result
        is stable wherever the cut is.

        Args:
            run: the sorted rows.
            rank: whose rows they are.
            start: where they stood in the rank's table.

        Returns:
            One bound more than there are ranges.
        """
        if not self.keys.num_rows:
            return [0] * self.ranges + [run.num_rows]
        keys, stop = run.select(list(self.by)), start + run.num_rows
        same = self.ranks == rank
        behind = (self.ranks > rank) | (same & (self.positions >= stop))
        within = same & (self.positions >= start) & (self.positions < stop)
        low = locate(self.order, keys, self.keys, behind)
        if within.any():
            high = locate(self.order, keys, self.keys, behind | within)
            share = (high - low) * (self.positions - start) // max(1, run.num_rows)
            low = np.where(within, low + share, low)
        return [0, *low.tolist(), run.num_rows]


def choose_splitters(
    comm: Communicator,
    order: Order,
    table: pa.Table,
    rows: Rows,
    parts: int,
    samples: int = SAMPLES_PER_RANK,
) -> Splitters:
    """Splitters of ``parts`` ranges for each rank, from a sample of unsorted rows.

    Collective. One row of every step is offered, at a random place in it, because the rows may
    have a period of their own.

    Args:
        comm: the group.
        order: the order to be.
        table: this rank's rows.
        rows: how many rows each rank has.
        parts: ranges per rank.
        samples: rows looked at for each range.

    Returns:
        The splitters, the same on all ranks.
    """
    ranges = parts * comm.size
    step = max(1, -(-int(rows.sum()) // (samples * ranges)))
    starts = np.arange(0, table.num_rows, step, dtype=np.int64)
    jitter = np.random.default_rng(comm.rank).integers(0, step, len(starts))
    positions = np.minimum(starts + jitter, table.num_rows - 1)
    keys = table.select(list(order.by))
    offered = replicate(comm, take_rows(keys, positions))
    places = comm.allgatherv(positions)
    ranked = _ranked(order.of_keys(), offered)
    chosen = _quantiles(ranked, ranges)
    origins = np.repeat(np.arange(comm.size, dtype=np.int64), [len(each) for each in places])
    return Splitters(
        order.of_keys(),
        order.by,
        take_rows(offered, chosen),
        origins[chosen],
        np.concatenate(places)[chosen],
        ranges,
        bool((np.diff(ranked) > 0).all()),
    )
