"""The verbs over frames as methods: of a Task, whose frame is still being made, and of a Dataset.

A method submits what the verb of the same name submits, with the frame itself as the first
argument, on as many ranks as made the frame.
"""

from __future__ import annotations

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from elevon.model.ids import TaskId
from elevon.model.operations import Operation
from elevon.model.tasks import TaskOptions, with_options
from elevon.tasks.arguments import Handle, as_options
from elevon.tasks.verbs import Frame, Verbs

T = TypeVar("T")
P = ParamSpec("P")


def on_frame(
    verb: Callable[Concatenate[Verbs[T], Any, P], T],
) -> Callable[Concatenate[FrameMethods[T], P], T]:
    """The verb as a method of its frame, with its own signature but for the frame."""

    @functools.wraps(verb)
    def method(self: FrameMethods[T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        kwargs.setdefault("ranks", self.made_on)
        return verb(self.verbs, self.frame, *args, **kwargs)

    own = inspect.signature(verb)
    this, _, *rest = own.parameters.values()
    method.__signature__ = own.replace(parameters=[this, *rest])  # type: ignore[attr-defined]
    return method


class FrameMethods(Handle, Generic[T]):
    """Methods that submit a task on this frame and give it back.

    Attributes:
        verbs: where they are submitted.
    """

    verbs: Verbs[T]

    @property
    @abstractmethod
    def made_on(self) -> int:
        """How many ranks make the frame; as many work on it, unless ``ranks`` says otherwise."""

    @property
    def frame(self) -> FrameMethods[T]:
        """What the methods work on."""
        return self

    def options(self, **options: Any) -> FrameWithOptions[T]:
        """This frame, with task options for what its methods submit.

        In ``select``, ``assign``, ``groupby``, ``aggregate`` and ``rolling`` a keyword may be meant
        as a column: here it cannot.

        Raises:
            DescriptionError: an unknown option (with a suggestion) or a bad value.
        """
        return FrameWithOptions(self, options)

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


class FrameWithOptions(FrameMethods[T]):
    """A frame whose methods submit with other options. Also ``head`` and ``tail`` are tasks here.

    Args:
        frame: the frame.
        options: task options; a keyword of a method goes before one of them.

    Raises:
        DescriptionError: an unknown option or a bad value.
    """

    def __init__(self, frame: FrameMethods[T], options: dict[str, Any]) -> None:
        chosen = with_options(TaskOptions(), as_options(options, lambda _: True))
        self._frame = frame.frame
        self._ranks = chosen.ranks if "ranks" in options else frame.made_on
        self.verbs = _VerbsWithOptions(frame.verbs, options)

    @property
    def id(self) -> TaskId:  # type: ignore[override]
        """The frame's own id."""
        return self._frame.id

    @property
    def frame(self) -> FrameMethods[T]:
        """The frame itself."""
        return self._frame

    @property
    def made_on(self) -> int:
        """The ranks that were chosen, or those that made the frame."""
        return self._ranks

    head = on_frame(Verbs.head)
    tail = on_frame(Verbs.tail)


class _VerbsWithOptions(Verbs[T]):
    """Verbs that submit elsewhere, with some options filled in."""

    def __init__(self, verbs: Verbs[T], options: dict[str, Any]) -> None:
        self._verbs = verbs
        self._options = options

    def run(self, operation: Operation, frames: Sequence[Frame], options: dict[str, Any]) -> T:
        """Submit with all options."""
        return self._verbs.run(operation, frames, {**self._options, **options})
