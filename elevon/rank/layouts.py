"""How the rows of a result lie: by the operator's own shuffle, or as they did before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elevon.comm.protocol import Communicator
from elevon.model.algebra import Drop, GroupBy, Project, Rename, Repartition
from elevon.rank.inputs import Inputs

if TYPE_CHECKING:
    from elevon.frames.exchange.partitioning import Layout


def after_shuffle(
    comm: Communicator, operation: GroupBy | Repartition, inputs: Inputs, table: Any
) -> Layout | None:
    """Each row is on the rank of the hash of its keys, where there are any."""
    from elevon.frames.exchange.partitioning import Layout, spell_types

    if not operation.by:
        return None
    types = spell_types([table.schema.field(name).type for name in operation.by])
    return Layout(operation.by, types, comm.size, comm.rank)


def as_before(comm: Communicator, operation: Any, inputs: Inputs, table: Any) -> Layout | None:
    """Rows stay on their rank, and the keys as they are under their names."""
    return inputs.layouts[0] if inputs.layouts else None


def unless_changed(
    comm: Communicator, operation: Project | Rename | Drop, inputs: Inputs, table: Any
) -> Layout | None:
    """Rows stay on their rank, and the keys, too, unless one of them is changed or dropped."""
    known = as_before(comm, operation, inputs, table)
    return known if known is not None and _keeps(operation, set(known.keys)) else None


def _keeps(operation: Project | Rename | Drop, keys: set[str]) -> bool:
    match operation:
        case Drop():
            return not keys & set(operation.columns)
        case Rename():
            return not keys & {old for old, _ in operation.columns}
        case Project(columns, extend):
            kept = {one.name for one in columns if one.name == one.source}
            made = {one.name for one in columns} - kept
            return not keys & made if extend else keys <= kept
