"""One rank's inputs of a distributed join or sort, checked: what it proposes to the group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.partitioning import Layout, is_settled
from elevon.frames.exchange.ranges import has_numbers
from elevon.frames.exchange.shuffle import take_rows
from elevon.frames.join_sort.facts import JoinReport, SortReport
from elevon.frames.memory.budget import check_memory
from elevon.frames.schema.join_plan import (
    LEFT_ONLY,
    JoinPlan,
    cast_keys,
    find_column,
    plan_join,
    run_join,
)
from elevon.frames.schema.plain import plain_columns
from elevon.frames.schema.sort_plan import Order, plan_sort

#: Which rows without a partner are part of the result.
KEEPS_LEFT: Final = ("left", "outer", "anti")
KEEPS_RIGHT: Final = ("right", "outer")
#: Which side may be split, over ranks or in time, each part beside all rows of the other side that
#: it could meet: every row of the split side is seen once, and rows of the other side are no part
#: of the result by themselves, however often they are seen.
SPLITS_LEFT: Final = ("inner", "left", "semi", "anti")
SPLITS_RIGHT: Final = ("inner", "right")

Layouts = tuple[Layout | None, Layout | None]
UNKNOWN: Final[Layouts] = (None, None)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a join on this rank.

    Attributes:
        table: the rows, keys cast.
        on: positions of the key columns.
        keeps: whether rows without a partner are part of the result.
        nulls_equal: whether a null key matches a null key.
    """

    table: pa.Table
    on: tuple[int, ...]
    keeps: bool
    nulls_equal: bool

    def part_null_keys(self) -> tuple[pa.Table, pa.Table]:
        """The rows that may meet a partner, and those that cannot because a key is null.

        The latter stay where they are, or are left out where the join does not keep them:
        otherwise one rank would get them all.
        """
        table, none = self.table, self.table.slice(0, 0)
        nulls = [column.is_null() for column in map(table.column, self.on) if column.null_count]
        if self.nulls_equal or not nulls:
            return table, none
        missing = np.logical_or.reduce([column.to_numpy() for column in nulls])
        alone = take_rows(table, np.flatnonzero(missing)) if self.keeps else none
        return take_rows(table, np.flatnonzero(~missing)), alone

    def copied_bytes(self, nbytes: int) -> int:
        """How many of its ``nbytes`` are copied to take out the rows with null keys."""
        if self.nulls_equal:
            return 0
        return nbytes * any(self.table.column(index).null_count for index in self.on)


@dataclass(frozen=True, slots=True)
class JoinInputs:
    """One rank's inputs of a join, keys cast.

    Attributes:
        left: the left rows.
        right: the right rows.
        plan: what to do.
        nulls_equal: whether a null key matches a null key.
        threads: how many threads the kernels may use on this rank.
        memory_bytes: the budget of the rank, or None.
        layouts: what is known of where the left and the right rows lie.
        settled: for each side, whether this rank's rows lie where a shuffle would put them.
    """

    left: pa.Table
    right: pa.Table
    plan: JoinPlan
    nulls_equal: bool
    threads: int = 1
    memory_bytes: int | None = None
    layouts: Layouts = UNKNOWN
    settled: tuple[bool, bool] = (False, False)

    @property
    def sides(self) -> tuple[Side, Side]:
        """The left and the right side."""
        plan = self.plan
        return (
            Side(self.left, plan.left_on, plan.how in KEEPS_LEFT, self.nulls_equal),
            Side(self.right, plan.right_on, plan.how in KEEPS_RIGHT, self.nulls_equal),
        )

    @property
    def terms(self) -> str:
        """See agreement.Proposal."""
        plan = self.plan
        keys = [str(kind) for kind in plan.key_types]
        return (
            f"{plan.how} join on columns {plan.left_on} and {plan.right_on} ({', '.join(keys)}), "
            f"nulls_equal={self.nulls_equal}, memory_bytes={self.memory_bytes}, "
            f"giving {spell(plan.schema)}"
        )

    @property
    def facts(self) -> JoinReport:
        """See agreement.Proposal."""
        left, right = self.sides
        sizes = own_bytes(left.table), own_bytes(right.table)
        # One side is sent after the other, so only the larger copy counts.
        copied = max(left.copied_bytes(sizes[0]), right.copied_bytes(sizes[1]))
        return JoinReport(
            *sizes, left.table.num_rows, right.table.num_rows, *self.settled, copied_bytes=copied
        )

    def run(self, left: pa.Table, right: pa.Table) -> pa.Table:
        """Join such rows of the two sides as are on this rank now; see ``run_join``."""
        return run_join(self.plan, left, right, self.nulls_equal, self.threads)


@dataclass(frozen=True, slots=True)
class SortInputs:
    """One rank's inputs of a sort.

    Attributes:
        table: the rows.
        order: what to sort by.
        threads: how many threads the kernels may use on this rank.
        memory_bytes: the budget of the rank, or None.
    """

    table: pa.Table
    order: Order
    threads: int = 1
    memory_bytes: int | None = None

    @property
    def terms(self) -> str:
        """See agreement.Proposal."""
        return (
            f"sort of {spell(self.table.schema)} by {self.order}, memory_bytes={self.memory_bytes}"
        )

    @property
    def facts(self) -> SortReport:
        """See agreement.Proposal."""
        table = self.table
        return SortReport(own_bytes(table), table.num_rows, has_numbers(self.order, table))


def prepare_join(
    tables: tuple[pa.Table, pa.Table],
    keys: tuple[Sequence[str], Sequence[str]],
    how: str,
    suffixes: tuple[str | None, str | None],
    nulls_equal: bool,
    threads: int,
    memory_bytes: int | None,
    layouts: Layouts,
    place: tuple[int, int],
) -> JoinInputs:
    """Check one rank's inputs; a semi or anti join needs the keys of the right side only.

    Args:
        tables: the left and the right rows.
        keys: the names of their key columns.
        how: and the following as for ``distributed.place_join``.
        place: the group's size and the caller's rank in it.

    Raises:
        DescriptionError: ``how``, the number of keys or the budget is wrong.
        SchemaError: a column or its type does not fit.
    """
    check_memory(memory_bytes)
    left, right = map(plain_columns, tables)
    if how in LEFT_ONLY:
        names = [find_column(right.schema, name, "the right table") for name in keys[1]]
        right = right.select(list(dict.fromkeys(names)))
    plan = plan_join(left.schema, right.schema, *keys, how, suffixes)
    # A layout says nothing of null keys, and equal ones have to meet.
    settled = (
        not nulls_equal and is_settled(left, layouts[0], plan.left_on, plan.key_types, place),
        not nulls_equal and is_settled(right, layouts[1], plan.right_on, plan.key_types, place),
    )
    return JoinInputs(
        cast_keys(left, plan.left_on, plan.key_types),
        cast_keys(right, plan.right_on, plan.key_types),
        plan,
        nulls_equal,
        threads,
        memory_bytes,
        layouts,
        settled,
    )


def prepare_sort(
    table: pa.Table,
    by: str | Sequence[str],
    ascending: bool | Sequence[bool],
    na_position: str,
    threads: int,
    memory_bytes: int | None,
) -> SortInputs:
    """Check one rank's inputs.

    Args:
        table: and the following as for ``distributed.sort``.

    Raises:
        DescriptionError: the arguments do not fit each other.
        SchemaError: a column is missing or has no order.
    """
    check_memory(memory_bytes)
    table = plain_columns(table)
    order = plan_sort(table.schema, by, ascending, na_position)
    return SortInputs(table, order, threads, memory_bytes)
