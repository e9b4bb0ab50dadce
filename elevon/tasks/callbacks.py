"""The thread on which done-callbacks run: user code that may block or raise whatever it likes."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

Callback = Callable[[Future[Any]], object]
# Where the standard library tells of them, too.
_log = logging.getLogger("concurrent.futures")


class CallbackThread:
    """Runs callbacks one after the other, in the order in which their futures ended.

    One that blocks delays other callbacks and nothing else: futures end, and those who wait for
    them go on, on threads that run no foreign code. The thread starts with the first callback, and
    an interpreter that ends does not wait for it.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callback, Future[Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def call(self, callback: Callback, future: Future[Any]) -> None:
        """Run the callback soon."""
        self._calls.put((callback, future))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="callbacks", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            run_callback(*self._calls.get())


def run_callback(callback: Callback, future: Future[Any]) -> None:
    """Call it; what it raises is logged, as the standard library does, and goes no further."""
    try:
        callback(future)
    except BaseException:  # noqa: BLE001 - sys.exit() in a callback must not end this thread
        _log.exception("exception calling callback for %s", object.__repr__(future))
