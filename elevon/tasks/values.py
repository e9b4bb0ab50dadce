"""Return values of functions, as they travel."""

from __future__ import annotations

from typing import Any

import cloudpickle

from elevon.model.operations import Call, Operation, WriteParquet


def decode_values(operation: Operation, values: tuple[bytes, ...]) -> Any:
    """Rank 0's value, or the list by rank where the operation returns all."""
    many = isinstance(operation, WriteParquet) or (
        isinstance(operation, Call) and operation.returns == "all"
    )
    decoded = [cloudpickle.loads(value) for value in (values if many else values[:1])]
    return decoded if many else decoded[0]
