"""The verbs over frames as methods: of a Task, whose frame is still being made, and of a Dataset.

A method submits what the verb of the same name submits, with the frame itself as the first
argument, on as many ranks as made the frame.
"""

from __future__ import annotations

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from elevon.tasks.verbs import Verbs

T = TypeVar("T")
P = ParamSpec("P")


def on_frame(
    verb: Callable[Concatenate[Verbs[T], Any, P], T],
) -> Callable[Concatenate[FrameMethods[T], P], T]:
    """The verb as a method of its frame, with its own signature but for the frame."""

    @functools.wraps(verb)
    def method(self: FrameMethods[T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        kwargs.setdefault("ranks", self.made_on)
        return verb(self.verbs, self, *args, **kwargs)

    own = inspect.signature(verb)
    this, _, *rest = own.parameters.values()
    method.__signature__ = own.replace(parameters=[this, *rest])  # type: ignore[attr-defined]
    return method


class FrameMethods(Generic[T]):
    """Methods that submit a task on this frame and give it back.

    Attributes:
        verbs: where they are submitted.
    """

    verbs: Verbs[T]

    @property
    @abstractmethod
    def made_on(self) -> int:
        """How many ranks make the frame; as many work on it, unless ``ranks`` says otherwise."""

    merge = on_frame(Verbs.merge)
    sort_values = on_frame(Verbs.sort_values)
    groupby = on_frame(Verbs.groupby)
    aggregate = on_frame(Verbs.aggregate)
    rolling = on_frame(Verbs.rolling)
    rank = on_frame(Verbs.rank)
    drop_duplicates = on_frame(Verbs.drop_duplicates)
    union = on_frame(Verbs.union)
    intersect = on_frame(Verbs.intersect)
    subtract = on_frame(Verbs.subtract)
    filter = on_frame(Verbs.filter)
    select = on_frame(Verbs.select)
    assign = on_frame(Verbs.assign)
    rename = on_frame(Verbs.rename)
    drop = on_frame(Verbs.drop)
    slice = on_frame(Verbs.slice)
    repartition = on_frame(Verbs.repartition)
    equals = on_frame(Verbs.equals)
