"""A user's function as the job of one rank."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import cloudpickle

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError
from elevon.model.operations import Call, InputRef
from elevon.rank.inputs import Inputs

Job: TypeAlias = Callable[[Communicator, Inputs], Any]


def prepare_call(operation: Call, function: Callable[..., Any] | None) -> Job:
    """The call with its arguments, which are unpickled here.

    Args:
        operation: what to call, and with what.
        function: what was sent for its digest, or None.

    Raises:
        DescriptionError: the function was never sent to this rank.
    """
    if function is None:
        raise DescriptionError(f"the function {operation.function} was never sent to this rank")
    args, kwargs = cloudpickle.loads(operation.arguments)
    with_comm = wants_communicator(function)

    def call(comm: Communicator, inputs: Inputs) -> Any:
        def fill(value: Any) -> Any:
            return inputs[value.index] if isinstance(value, InputRef) else value

        filled = [fill(value) for value in args]
        if with_comm:
            filled.insert(0, comm)
        return function(*filled, **{name: fill(value) for name, value in kwargs.items()})

    return call


def wants_communicator(function: Callable[..., Any]) -> bool:
    """Whether the first parameter is called ``comm`` or annotated as a Communicator."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False  # some builtins have no signature
    if not parameters:
        return False
    annotation = parameters[0].annotation
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return parameters[0].name == "comm" or name.strip("'\"").rpartition(".")[2] == "Communicator"
