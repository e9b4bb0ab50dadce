"""One rank's share of a distributed join or sort, checked: what it proposes to the group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.partitioning import Layout, is_settled
from elevon.frames.exchange.shuffle import take_rows
from elevon.frames.memory.budget import check_memory
from elevon.frames.schema.join_plan import LEFT_ONLY, JoinPlan, cast_keys, find_column, plan_join
from elevon.frames.schema.sort_plan import Order

#: Which rows without a partner are part of the result.
KEEPS_LEFT: Final = ("left", "outer", "anti")
KEEPS_RIGHT: Final = ("right", "outer")

Layouts = tuple[Layout | None, Layout | None]
UNKNOWN: Final[Layouts] = (None, None)


@dataclass(frozen=True, slots=True)
class JoinWork:
    """One rank's share of a join, keys cast.

    Attributes:
        left: the left rows.
        right: the right rows.
        plan: what to do.
        nulls_equal: whether a null key matches a null key.
        memory_bytes: the budget of the rank, or None.
        settled: for each side, whether its rows lie already where a shuffle would put them.
    """

    left: pa.Table
    right: pa.Table
    plan: JoinPlan
    nulls_equal: bool
    memory_bytes: int | None = None
    settled: tuple[bool, bool] = (False, False)

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
    def facts(self) -> tuple[int, ...]:
        """Bytes of both sides, rows of both sides, which are settled, bytes copied before that."""
        left, right = self.left, self.right
        sizes = own_bytes(left), own_bytes(right)
        return (*sizes, left.num_rows, right.num_rows, *self.settled, self._copied_bytes(sizes))

    def _copied_bytes(self, sizes: tuple[int, int]) -> int:
        """Of the larger side that has null keys, which are taken out before the rest is sent."""
        if self.nulls_equal:
            return 0
        sides = ((self.left, self.plan.left_on), (self.right, self.plan.right_on))
        return max(
            nbytes * any(table.column(index).null_count for index in on)
            for nbytes, (table, on) in zip(sizes, sides, strict=True)
        )


@dataclass(frozen=True, slots=True)
class SortWork:
    """One rank's share of a sort.

    Attributes:
        table: the rows.
        order: what to sort by.
        memory_bytes: the budget of the rank, or None.
        numbers: whether the keys are plain numbers, see ``ranges.has_numbers``.
    """

    table: pa.Table
    order: Order
    memory_bytes: int | None = None
    numbers: bool = False

    @property
    def terms(self) -> str:
        """See agreement.Proposal."""
        return (
            f"sort of {spell(self.table.schema)} by {self.order}, memory_bytes={self.memory_bytes}"
        )

    @property
    def facts(self) -> tuple[int, ...]:
        """Rows, bytes, whether the keys are numbers."""
        return self.table.num_rows, own_bytes(self.table), self.numbers


def prepare_join(
    left: pa.Table,
    right: pa.Table,
    left_on: Sequence[str],
    right_on: Sequence[str],
    how: str,
    suffixes: tuple[str | None, str | None],
    nulls_equal: bool,
    memory_bytes: int | None,
    layouts: Layouts,
    place: tuple[int, int],
) -> JoinWork:
    """Check one rank's share; a semi or anti join needs the keys of the right side only.

    Args:
        left: and the following as for ``distributed.join``.
        place: the group's size and the caller's rank in it.

    Raises:
        DescriptionError: ``how``, the number of keys or the budget is wrong.
        SchemaError: a column or its type does not fit.
    """
    check_memory(memory_bytes)
    if how in LEFT_ONLY:
        keys = dict.fromkeys(
            find_column(right.schema, name, "the right table") for name in right_on
        )
        right = right.select(list(keys))
    plan = plan_join(left.schema, right.schema, left_on, right_on, how, suffixes)
    # A layout says nothing of null keys, and equal ones have to meet.
    settled = (
        not nulls_equal and is_settled(left, layouts[0], plan.left_on, plan.key_types, place),
        not nulls_equal and is_settled(right, layouts[1], plan.right_on, plan.key_types, place),
    )
    return JoinWork(
        cast_keys(left, plan.left_on, plan.key_types),
        cast_keys(right, plan.right_on, plan.key_types),
        plan,
        nulls_equal,
        memory_bytes,
        settled,
    )


def part_null_keys(table: pa.Table, on: Sequence[int], keep: bool) -> tuple[pa.Table, pa.Table]:
    """The rows whose keys are all there, and the others (none of them unless they are kept).

    A row with a null key has no partner to meet. It stays where it is, or is left out where the
    join does not keep it: otherwise one rank would get them all.
    """
    nulls = [column.is_null() for column in map(table.column, on) if column.null_count]
    if not nulls:
        return table, table.slice(0, 0)
    missing = np.logical_or.reduce([column.to_numpy() for column in nulls])
    alone = take_rows(table, np.flatnonzero(missing)) if keep else table.slice(0, 0)
    return take_rows(table, np.flatnonzero(~missing)), alone
