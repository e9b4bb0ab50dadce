"""Task: the future of one submitted task."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from elevon.errors import DescriptionError, ElevonError
from elevon.model import checks
from elevon.model.ids import TaskId
from elevon.model.tasks import TaskDescription
from elevon.tasks.callbacks import CallbackThread, run_callback
from elevon.tasks.methods import FrameMethods, on_frame
from elevon.tasks.values import SentValue, open_causes
from elevon.tasks.verbs import Verbs

if TYPE_CHECKING:
    from elevon.tasks.dataset import Dataset


class Task(Future[Any], FrameMethods["Task"]):
    """A real ``concurrent.futures.Future``; its result is a Dataset or a function's value.

    The methods that are verbs (merge, groupby, filter, ...) submit a further task on the dataset
    that this one is going to make; they do not wait for it.

    Foreign code runs on no thread that other tasks need: a value is unpickled by the caller that
    first asks for it, and callbacks have a thread of their own.

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
        callbacks: CallbackThread,
    ) -> None:
        super().__init__()
        self.id = task
        self.description = description
        self.verbs = verbs
        self._request_cancel = request_cancel
        self._callbacks = callbacks

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

    def result(self, timeout: float | None = None, *, timeout_s: float | None = None) -> Any:
        """The Dataset or value of the task; waits for its end.

        Args:
            timeout: how many seconds to wait at most; ``timeout_s`` is another name for it.
            timeout_s: the same.

        Raises:
            TimeoutError: it has not ended by then; it goes on.
            CancelledError: it was cancelled.
            ElevonError: it failed, or its value cannot be unpickled here.
        """
        try:
            result = super().result(_one_limit(timeout, timeout_s))
        except ElevonError as error:
            open_causes(error)
            raise
        return result.open() if isinstance(result, SentValue) else result

    def exception(
        self, timeout: float | None = None, *, timeout_s: float | None = None
    ) -> BaseException | None:
        """What ``result`` would raise, or None; waits for the end.

        Raises:
            TimeoutError: it has not ended by then; it goes on.
            CancelledError: it was cancelled.
        """
        error = super().exception(_one_limit(timeout, timeout_s))
        open_causes(error)
        if error is None:
            try:
                self.result(0)
            except ElevonError as unreadable:
                return unreadable
        return error

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call ``fn`` with the task once it has ended, on the thread of callbacks.

        Where it has ended already, ``fn`` is called by the caller's own thread, at once.
        """
        if self.done():
            run_callback(fn, self)
        else:
            super().add_done_callback(partial(self._callbacks.call, fn))

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
            failed = not self.cancelled() and super().exception() is not None
            state = "canceled" if self.cancelled() else "failed" if failed else "done"
        return f"Task({self.id!r}, {self.name!r}, {state})"


def _one_limit(timeout: object, timeout_s: object) -> float | None:
    """The time limit, whichever of its two names it came under.

    Raises:
        DescriptionError: it came under both, or is no number.
    """
    if timeout is not None and timeout_s is not None:
        raise DescriptionError("give either timeout or timeout_s: they are the same")
    limit = checks.optional(checks.patience, "timeout", timeout if timeout_s is None else timeout_s)
    return None if limit is None else min(limit, threading.TIMEOUT_MAX)
