"""Descriptions that name each other: an order in which every input comes before its consumer."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Sequence

import msgspec

from elevon.errors import DescriptionError
from elevon.model.ids import TaskId
from elevon.model.shown import shown
from elevon.model.tasks import TaskDescription

# How many tasks of a circle an error names.
_OF_A_CIRCLE = 20


def resolve(
    descriptions: Sequence[TaskDescription],
    new_id: Callable[[], TaskId],
    known: Callable[[str], bool],
) -> list[tuple[int, TaskId, TaskDescription]]:
    """(place in ``descriptions``, id, description with ids as inputs), inputs first.

    An input is the ``name`` of another description of the batch, or the id of a task that was
    submitted before.

    Raises:
        DescriptionError: an input is neither, two descriptions share a name, or there is a cycle.
    """
    ids = [new_id() for _ in descriptions]
    places = _places_by_name(descriptions)
    needs = {
        place: {places[name] for name in _names(description) if name in places}
        for place, description in enumerate(descriptions)
    }
    try:
        order = list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError as error:
        circle = [shown(descriptions[place].name) for place in error.args[1]]
        spelt = " -> ".join([*circle[:_OF_A_CIRCLE], *(["..."] if circle[_OF_A_CIRCLE:] else [])])
        raise DescriptionError(f"tasks that wait for each other: {spelt}") from None

    def to_id(name: str, consumer: TaskDescription) -> TaskId:
        if name in places:
            return ids[places[name]]
        if known(name):
            return TaskId(name)
        raise DescriptionError(
            f"task {shown(consumer.name)} needs {shown(name)}, which is neither the name of a "
            "task of this batch nor the id of one submitted before"
        )

    return [(place, ids[place], _with_ids(descriptions[place], to_id)) for place in order]


def _places_by_name(descriptions: Sequence[TaskDescription]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, description in enumerate(descriptions):
        name = description.options.name
        if name in places:
            raise DescriptionError(f"two tasks of the batch are called {shown(name)}")
        if name:
            places[name] = place
    return places


def _names(description: TaskDescription) -> tuple[str, ...]:
    return (*description.inputs, *description.options.after)


def _with_ids(
    description: TaskDescription, to_id: Callable[[str, TaskDescription], TaskId]
) -> TaskDescription:
    after = tuple(to_id(name, description) for name in description.options.after)
    return msgspec.structs.replace(
        description,
        inputs=tuple(to_id(name, description) for name in description.inputs),
        options=msgspec.structs.replace(description.options, after=after),
    )
