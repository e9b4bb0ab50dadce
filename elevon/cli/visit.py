"""A short conversation with a living agent, by somebody who only asks.

The visitor leaves with a goodbye, so that the agent does not wait for it.
"""

from __future__ import annotations

import os
import queue
import secrets
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from elevon.errors import PilotLost
from elevon.model.ids import TaskId
from elevon.wire.keys import ConnectionFile
from elevon.wire.link import Link
from elevon.wire.messages import AgentMessage, Explain, Explanation, PilotChanged

_T = TypeVar("_T", PilotChanged, Explanation)


class Visit:
    """Connected while in the ``with`` block.

    Args:
        connection: the agent's connection file.
        within_s: seconds in which each answer must come.
    """

    def __init__(self, connection: ConnectionFile, within_s: float) -> None:
        self._within_s = within_s
        self._states: queue.SimpleQueue[PilotChanged | str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Explanation | str] = queue.SimpleQueue()
        ready: Future[ConnectionFile] = Future()
        ready.set_result(connection)
        # Not the identity of the client that owns the session: the agent keeps them apart.
        self._link = Link(f"visit:{os.getpid()}:{secrets.token_hex(4)}", ready)
        self._link.subscribe(self._receive, self._lose)

    def state(self) -> PilotChanged:
        """The pilot's state, which an agent tells every client that says hello.

        Raises:
            PilotLost: the agent went, or did not answer in time.
        """
        return _answer(self._states, self._within_s)

    def explain(self, task: TaskId) -> str:
        """Why the task is where it is.

        Raises:
            PilotLost: the agent went, or did not answer in time.
        """
        self._link.post(Explain(1, task))
        return _answer(self._answers, self._within_s).text

    def __enter__(self) -> Visit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._link.close(keep=False)

    def _receive(self, message: AgentMessage) -> None:
        match message:
            case PilotChanged():
                self._states.put(message)
            case Explanation():
                self._answers.put(message)

    def _lose(self, reason: str) -> None:
        self._states.put(reason)
        self._answers.put(reason)


def _answer(answers: queue.SimpleQueue[_T | str], within_s: float) -> _T:
    try:
        answer = answers.get(timeout=within_s)
    except queue.Empty:
        raise PilotLost(f"the agent did not answer within {within_s:g} s") from None
    if isinstance(answer, str):
        raise PilotLost(f"the agent cannot be asked: {answer}")
    return answer
