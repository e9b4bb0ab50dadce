"""Which rank holds which keys: what is known of a partition without looking at its rows.

It does not travel in the schema: a user function may change rows and keep the metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from elevon.frames.schema.join_plan import JoinPlan


@dataclass(frozen=True, slots=True)
class Layout:
    """The rows of a table lie where a shuffle by these keys over ``size`` ranks puts them.

    A row with a null among its keys may lie on any rank.

    Attributes:
        keys: names of the key columns, in the order in which they were hashed.
        types: the types in which they were hashed, as pyarrow spells them.
        size: over how many ranks the rows were spread.
        rank: whose part this is.
    """

    keys: tuple[str, ...]
    types: tuple[str, ...]
    size: int
    rank: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A rank's rows, and how they lie if that is known."""

    table: pa.Table
    layout: Layout | None = None


def spell_types(types: Sequence[pa.DataType]) -> tuple[str, ...]:
    """Types as a layout names them."""
    return tuple(str(kind) for kind in types)


def shuffled(plan: JoinPlan, size: int, rank: int) -> Layout | None:
    """How the result of a join lies whose two sides were both shuffled by their keys.

    Where the two keys of a pair have different names, the side is taken whose rows are all in the
    result with their keys; of an outer join the left one: what it lacks is null, which is free.
    """
    side, on = ("right", plan.right_on) if plan.how == "right" else ("left", plan.left_on)
    names = [_name_in_result(plan, side, index) for index in on]
    return _layout(names, spell_types(plan.key_types), size, rank)


def carried(plan: JoinPlan, side: str, schema: pa.Schema, layout: Layout | None) -> Layout | None:
    """How the result of a join lies whose ``side`` stayed where it was, the other replicated."""
    if layout is None:
        return None
    names = [_name_in_result(plan, side, schema.get_field_index(key)) for key in layout.keys]
    return _layout(names, layout.types, layout.size, layout.rank)


def is_settled(
    table: pa.Table,
    layout: Layout | None,
    on: Sequence[int],
    types: Sequence[pa.DataType],
    place: tuple[int, int],
) -> bool:
    """Whether a rank's rows are where a shuffle would bring them.

    Args:
        table: the rows, before their keys are cast.
        layout: what is known of them.
        on: positions of the key columns.
        types: in which types the keys would be hashed.
        place: the group's size and the caller's rank in it.

    Returns:
        True for no rows, whatever is known of them.
    """
    if not table.num_rows:
        return True
    keys = tuple(table.schema.names[index] for index in on)
    return layout == Layout(keys, spell_types(types), *place)


def _layout(
    names: Sequence[str | None], types: tuple[str, ...], size: int, rank: int
) -> Layout | None:
    known = tuple(name for name in names if name is not None)
    return Layout(known, types, size, rank) if len(known) == len(names) else None


def _name_in_result(plan: JoinPlan, side: str, index: int) -> str | None:
    """What a column of one side is called in the result; a shared key counts for both sides."""
    on = plan.left_on if side == "left" else plan.right_on
    for source, number, name in plan.output:
        shared = source == "key" and on[number] == index
        if shared or (source == side and number == index):
            return name
    return None
