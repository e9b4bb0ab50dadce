"""What clients ask of the agent: their messages become events, answers, and ends of the pilot."""

from __future__ import annotations

from collections.abc import Callable

from elevon.agent.clients import ClientTable
from elevon.agent.dispatch import FunctionStore
from elevon.agent.endpoints import Endpoints
from elevon.agent.scheduling.events import CancelAsked, Event, Released, Submitted
from elevon.model.ids import TaskId
from elevon.model.states import PilotState
from elevon.model.tasks import TaskSubmission
from elevon.wire import refusals
from elevon.wire.channels import Unreadable
from elevon.wire.messages import (
    PROTOCOL,
    Cancel,
    ClientAlive,
    ClientHello,
    ClientMessage,
    Explain,
    Explanation,
    Goodbye,
    PilotChanged,
    PutFunction,
    Release,
    Shutdown,
    Submit,
)


class ClientRequests:
    """Serves the clients' socket.

    Args:
        endpoints: where messages come from and answers go.
        clients: who is there, and who owns which task.
        functions: where functions are kept for the ranks.
        step: takes an event.
        explain: why a task is where it is.
        shut_down: ends the pilot, for this reason.
        status: the pilot's state.
        clock: the host's monotonic clock.
    """

    def __init__(
        self,
        *,
        endpoints: Endpoints,
        clients: ClientTable,
        functions: FunctionStore,
        step: Callable[[Event], None],
        explain: Callable[[TaskId], str],
        shut_down: Callable[[str], None],
        status: Callable[[], PilotChanged],
        clock: Callable[[], float],
    ) -> None:
        self._endpoints = endpoints
        self._clients = clients
        self._functions = functions
        self._step = step
        self._explain = explain
        self._shut_down = shut_down
        self._status = status
        self._clock = clock

    def receive(self) -> None:
        """Do all that has come."""
        while (frame := self._endpoints.clients.receive_nowait()) is not None:
            client, messages = frame
            self._clients.heard(client, self._clock())
            for message in messages:
                self._on_message(client, message)

    def _on_message(self, client: bytes, message: ClientMessage | Unreadable) -> None:
        match message:
            case Submit():
                for submission in message.tasks:
                    self._submitted(client, submission)
            case PutFunction():
                self._functions.put(message.digest, message.blob)
            case Release():
                for task in message.tasks:
                    self._step(Released(task, self._clock()))
                    self._clients.disown(task)
            case Cancel():
                for task in message.tasks:
                    self._step(CancelAsked(task, "the client cancelled it", self._clock()))
            case ClientHello():
                self._welcome(client, message)
            case Explain():
                answer = Explanation(message.request, self._explain(message.task))
                self._endpoints.to_client(client, answer)
            case Goodbye():
                self._clients.left(client, keep=message.keep)
            case Shutdown():
                self._shut_down(message.reason)
            case ClientAlive():
                pass
            case Unreadable():
                self._refuse(client, message)

    def _submitted(self, client: bytes, submission: TaskSubmission) -> None:
        self._clients.own(submission.task, client)
        self._step(Submitted(submission, self._clock()))

    def _welcome(self, client: bytes, message: ClientHello) -> None:
        answer = self._status()
        if message.protocol != PROTOCOL:
            reason = f"the agent speaks protocol {PROTOCOL}, the client {message.protocol}"
            answer = PilotChanged(PilotState.FAILED, 0, reason)
        self._endpoints.to_client(client, answer)

    def _refuse(self, client: bytes, message: Unreadable) -> None:
        """What can be read of it is done, and the rest ends with the reason.

        One client of another release must not end the pilot for the others: where it cannot be
        told what the message was about, the pilot has failed for that client only.
        """
        explanation = refusals.explanation(message)
        answers = list(refusals.submissions(message)) if explanation is None else [explanation]
        for answer in answers:
            if isinstance(answer, TaskSubmission):
                self._submitted(client, answer)
            else:
                self._endpoints.to_client(client, answer)
        if not answers:
            print(f"a client's {message}", flush=True)
            reason = f"the agent cannot read what this client sends: {message}"
            self._endpoints.to_client(client, PilotChanged(PilotState.FAILED, 0, reason))
