"""What every operation says of itself, beside its own fields."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Result: TypeAlias = Literal["partitions", "value", "value of each rank"]


class OperationBase(msgspec.Struct, frozen=True, gc=False):
    """Base of all operations; one that differs from these answers overrides them."""

    @property
    def verb(self) -> str:
        """The verb that makes it, for reports and messages."""
        return str(self.__struct_config__.tag)

    @property
    def result(self) -> Result:
        """What comes out: partitions that stay on the ranks, rank 0's value, or a list by rank."""
        return "partitions"

    @property
    def repeatable(self) -> bool:
        """Whether running it again on the same inputs is safe and gives the same rows."""
        return True

    @property
    def keeps_memory(self) -> bool:
        """Whether it keeps to a budget of memory."""
        return True
