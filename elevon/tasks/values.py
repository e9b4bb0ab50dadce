"""Return values and exceptions of functions, as they travel: opened by whoever asks for them.

Unpickling runs foreign code, which may raise anything, take long, or never return. So it runs on
the thread of the caller that wants the value, and never on one that other tasks need.
"""

from __future__ import annotations

import threading
from typing import Any

import cloudpickle

from elevon.errors import ElevonError, TaskError
from elevon.model.operations import Operation
from elevon.model.texts import error_text


class SentValue:
    """The value of a task, pickled until somebody asks for it.

    Args:
        what: the task, for messages.
        operation: what was run; it says whether the value is rank 0's or the list of all.
        values: the pickles, by rank.
    """

    def __init__(self, what: str, operation: Operation, values: tuple[bytes, ...]) -> None:
        self._what = what
        self._operation = operation
        self._values: tuple[bytes, ...] | None = values
        self._value: Any = None
        self._error: ElevonError | None = None
        # Unpickling may ask for this very value again, on the same thread.
        self._lock = threading.RLock()

    def open(self) -> Any:
        """The value itself, unpickled by the first call.

        Raises:
            ElevonError: its unpickling has raised; the cause is what it raised.
        """
        with self._lock:
            if self._error is None and self._values is not None:
                self._unpickle(self._values)
            if self._error is not None:
                raise self._error
            return self._value

    def _unpickle(self, values: tuple[bytes, ...]) -> None:
        try:
            self._value = decode_values(self._operation, values)
        except BaseException as error:
            told = ElevonError(
                f"the value of {self._what} cannot be unpickled here: {error_text(error)}"
            )
            told.__cause__ = error
            if isinstance(error, KeyboardInterrupt):  # perhaps a person's, who may ask again
                raise told from error
            self._error = told
        self._values = None


def decode_values(operation: Operation, values: tuple[bytes, ...]) -> Any:
    """Rank 0's value, or the list by rank where the operation returns all."""
    if operation.result == "value":
        return cloudpickle.loads(values[0])
    return [cloudpickle.loads(value) for value in values]


def open_causes(error: BaseException | None) -> None:
    """Unpickle the remote exceptions that an error and its causes brought along.

    Where one cannot be unpickled here, its text, which has all that is known, stands alone.
    """
    while isinstance(error, TaskError):
        pickled, error.pickled_cause = error.pickled_cause, b""
        if pickled:
            _open_cause(error, pickled)
        error = error.__cause__


def _open_cause(error: TaskError, pickled: bytes) -> None:
    try:
        cause = cloudpickle.loads(pickled)
    except BaseException as second:  # noqa: BLE001 - foreign code
        error.remark(f"the remote exception cannot be unpickled here: {error_text(second)}")
        return
    if issubclass(type(cause), BaseException):
        error.__cause__ = cause
