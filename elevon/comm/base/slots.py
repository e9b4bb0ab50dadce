"""Which slots may form a group: one rule for every kind of world."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from elevon.errors import UsageError


def check_members(slot: int, slots: Collection[int], members: Sequence[int]) -> None:
    """Check what ``open_group`` was asked for.

    Args:
        slot: the rank's own.
        slots: all of its world.
        members: of the group that is to be opened.

    Raises:
        UsageError: the rank is no member, a slot is named twice, or the world does not have it.
    """
    if slot not in members:
        raise UsageError(f"slot {slot} cannot open a group of {members}: it is no member")
    if len(set(members)) != len(members):
        raise UsageError(f"a slot is named twice in {members}")
    if unknown := sorted(set(members) - set(slots)):
        raise UsageError(f"this world has no slots {unknown}; it has {sorted(slots)}")
