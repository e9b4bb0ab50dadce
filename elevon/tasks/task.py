"""Task: the future of one submitted task."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn

from elevon.model.ids import TaskId
from elevon.model.tasks import TaskDescription
from elevon.tasks.methods import FrameMethods, on_frame
from elevon.tasks.verbs import Verbs

if TYPE_CHECKING:
    from elevon.tasks.dataset import Dataset


class Task(Future[Any], FrameMethods["Task"]):
    """A real ``concurrent.futures.Future``; its result is a Dataset or a function's value.

    The methods that are verbs (merge, groupby, filter, ...) submit a further task on the dataset
    that this one is going to make; they do not wait for it.

    Attributes:
        id: its name for machines.
        description: what was submitted.
        verbs: where its methods submit.
    """

    def __init__(
        self,
        task: TaskId,
        description: TaskDescription,
        request_cancel: Callable[[TaskId], None],
        verbs: Verbs[Task],
    ) -> None:
        super().__init__()
        self.id = task
        self.description = description
        self.verbs = verbs
        self._request_cancel = request_cancel

    head = on_frame(Verbs.head)
    tail = on_frame(Verbs.tail)

    @property
    def name(self) -> str:
        """The name in reports."""
        return self.description.name

    @property
    def made_on(self) -> int:
        """How many ranks make the result."""
        return self.description.options.ranks

    def cancel(self) -> bool:
        """Ask the agent to cancel the task, running or not.

        Returns False where the task has ended already. The future is cancelled once the agent
        says so: a task that ends well meanwhile keeps its result.
        """
        if self.done():
            return self.cancelled()
        self._request_cancel(self.id)
        return True

    def dataset(self, timeout_s: float | None = None) -> Dataset:
        """The result of a frame task.

        Raises:
            TypeError: the task's result is a value.
        """
        from elevon.tasks.dataset import Dataset

        result = self.result(timeout_s)
        if not isinstance(result, Dataset):
            raise TypeError(f"{self.id} ({self.name}) returns a value, not a dataset")
        return result

    def resolve_canceled(self) -> None:
        """Called by the manager: the agent has confirmed the cancellation."""
        super().cancel()
        self.set_running_or_notify_cancel()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self.id} cannot be pickled: give a Task as an argument of its own to submit, not "
            "inside a list, a dict or a closure"
        )

    def __repr__(self) -> str:
        state = "pending"
        if self.done():
            state = "canceled" if self.cancelled() else "failed" if self.exception() else "done"
        return f"Task({self.id!r}, {self.name!r}, {state})"
