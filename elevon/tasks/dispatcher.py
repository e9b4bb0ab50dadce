"""The engine behind TaskManager: ids, links, futures, uploads and rows of the report.

Two kinds of threads meet here: users submit, links report; one lock guards the tables, and no
future is resolved while it is held. Foreign code runs on neither: a value is unpickled by whoever
asks the future for it, and callbacks have a thread of their own.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Protocol

from elevon.errors import DescriptionError, ElevonError, PilotLost
from elevon.frames.files import ipc
from elevon.model.ids import IdSource, PilotId, TaskId
from elevon.model.outcomes import Failure, FailureKind, TaskOutcome
from elevon.model.pilots import PilotDescription
from elevon.model.states import PilotState
from elevon.model.tasks import TaskDescription, TaskSubmission
from elevon.session import Session
from elevon.tasks.callbacks import CallbackThread
from elevon.tasks.dataset import Dataset
from elevon.tasks.failures import to_exception
from elevon.tasks.report import TaskRow, task_row
from elevon.tasks.task import Task
from elevon.tasks.values import SentValue
from elevon.tasks.verbs import Verbs
from elevon.wire.data import PartitionRequest, PartitionServer
from elevon.wire.link import Link
from elevon.wire.messages import (
    AgentMessage,
    Cancel,
    Explain,
    Explanation,
    PilotChanged,
    PutFunction,
    Release,
    Submit,
    TaskEnded,
)

if TYPE_CHECKING:
    import pyarrow as pa

EXPLAIN_WITHIN_S = 10.0


class PilotHandle(Protocol):
    """What is needed of a pilot: its name, its size and a link to its agent."""

    id: PilotId
    description: PilotDescription
    link: Link


class Dispatcher:
    """Submits descriptions, resolves futures.

    Args:
        session: for the directory of the upload socket; closing it ends what is pending.
        pilots: where tasks may go.
        verbs: where the methods of tasks and datasets submit.
    """

    def __init__(
        self,
        session: Session,
        pilots: Sequence[PilotHandle],
        verbs: Verbs[Task],
    ) -> None:
        if not pilots:
            raise DescriptionError("TaskManager: needs at least one pilot")
        self._session = session
        self._pilots = tuple(pilots)
        self._verbs = verbs
        self._ids = IdSource("task")
        self._lock = threading.Lock()
        self._pending: dict[PilotId, dict[TaskId, Task]] = {pilot.id: {} for pilot in pilots}
        self._homes: dict[TaskId, PilotHandle] = {}
        self._ends: dict[PilotId, str] = {}
        self._datasets: weakref.WeakValueDictionary[TaskId, Dataset] = weakref.WeakValueDictionary()
        self._errors: weakref.WeakValueDictionary[TaskId, ElevonError] = (
            weakref.WeakValueDictionary()
        )
        self._functions: dict[PilotId, set[str]] = {pilot.id: set() for pilot in pilots}
        self._uploads: dict[TaskId, pa.Table] = {}
        self._server: PartitionServer | None = None
        self._questions: dict[int, Future[str]] = {}
        self._question_numbers = itertools.count(1)
        self._callbacks = CallbackThread()
        self._closing = False
        self.rows: list[TaskRow] = []
        session.on_close(self._close)
        for pilot in pilots:
            pilot.link.subscribe(partial(self._receive, pilot), partial(self._link_lost, pilot))

    # -------------------------------------------------------------- for the user's thread

    def new_id(self) -> TaskId:
        """A fresh task id."""
        return TaskId(self._ids.next())

    def known(self, task: str) -> bool:
        """Whether a task of this id was submitted and its output may still be there."""
        return task in self._homes

    def submit(
        self,
        batch: Sequence[tuple[TaskId, TaskDescription]],
        tables: Mapping[TaskId, pa.Table] | None = None,
        functions: Mapping[str, bytes] | None = None,
    ) -> list[Task]:
        """Send tasks to one pilot, in order, with what they need from here.

        Args:
            batch: tasks that ``check_tasks`` has passed.
            tables: what loads among them take, served to the ranks until these have ended.
            functions: pickles by their digest, for a pilot that has not had them.

        Raises:
            DescriptionError: the inputs lie on different pilots, or the session is closed; nothing
                was sent.
        """
        self._session.check_open()
        pilot = self._choose([description for _, description in batch])
        tasks = [
            Task(task, description, self.cancel, self._verbs, self._callbacks)
            for task, description in batch
        ]
        # One lock for all of it: no other thread's task overtakes the function that it calls, and
        # no answer comes before the task is known here.
        with self._lock:
            end = self._ends.get(pilot.id)
            if end is None:
                self._post(pilot, batch, tables or {}, functions or {})
                self._pending[pilot.id].update({task.id: task for task in tasks})
            self._homes.update({task.id: pilot for task in tasks})
        if end is not None:
            for task in tasks:
                task.set_exception(PilotLost(f"{pilot.id} has ended: {end}"))
        return tasks

    def _post(
        self,
        pilot: PilotHandle,
        batch: Sequence[tuple[TaskId, TaskDescription]],
        tables: Mapping[TaskId, pa.Table],
        functions: Mapping[str, bytes],
    ) -> None:
        now = time.monotonic()
        submit = Submit(tuple([TaskSubmission(task, about, now) for task, about in batch]))
        for digest, blob in functions.items():
            if digest not in self._functions[pilot.id]:
                pilot.link.post(PutFunction(digest, blob))
                self._functions[pilot.id].add(digest)
        self._uploads.update(tables)  # before a rank can ask for them
        try:
            pilot.link.post(submit)
        except DescriptionError:
            for task in tables:
                del self._uploads[task]
            raise

    def address(self) -> str:
        """Where tables are served to the ranks."""
        with self._lock:
            if self._server is None:
                name = f"client.{secrets.token_hex(4)}.sock"
                self._server = PartitionServer(self._session.directory / name, self._serve)
            return self._server.address

    def cancel(self, task: TaskId) -> None:
        """Ask for a task's cancellation."""
        self._homes[task].link.post(Cancel((task,)))

    def explain(self, task: TaskId) -> str:
        """The agent's answer to "why is this task where it is?".

        Raises:
            DescriptionError: no such task was submitted here.
            TimeoutError: the agent did not answer.
        """
        home = self._homes.get(task)
        if home is None:
            raise DescriptionError(f"no task {task!r} was submitted by this TaskManager")
        number = next(self._question_numbers)
        answer = self._questions[number] = Future()
        home.link.post(Explain(number, task))
        try:
            return answer.result(EXPLAIN_WITHIN_S)
        finally:
            del self._questions[number]

    # -------------------------------------------------------------- for the links' threads

    def _receive(self, pilot: PilotHandle, message: AgentMessage) -> None:
        match message:
            case TaskEnded():
                self._ended(pilot, message.task, message.outcome)
            case PilotChanged() if message.state.final:
                self._pilot_ended(pilot, message.state, message.reason)
            case Explanation():
                question = self._questions.get(message.request)
                if question is not None and not question.done():
                    question.set_result(message.text)

    def _ended(self, pilot: PilotHandle, task_id: TaskId, outcome: TaskOutcome) -> None:
        with self._lock:
            task = self._pending[pilot.id].pop(task_id, None)
            self._uploads.pop(task_id, None)
        if task is None:
            self._moved(task_id, outcome)
            return
        now = time.monotonic()
        submitted = outcome.profile.submitted_s or now
        ranks = task.description.options.ranks
        self.rows.append(task_row(task.id, task.name, ranks, outcome, submitted, now))
        if outcome.failure is None and task.description.operation.result == "partitions":
            task.set_result(self._dataset(task, outcome))
            return
        # A dataset's handle releases what the agent remembers; here it is the task's own.
        weakref.finalize(task, self._release, task.id).atexit = False
        if outcome.failure is not None:
            self._resolve_failure(task, outcome.failure)
        else:
            self._resolve_value(task, outcome)

    def _moved(self, task_id: TaskId, outcome: TaskOutcome) -> None:
        """A dataset was made again after the loss of a rank: the handle learns its new place."""
        dataset = self._datasets.get(task_id)
        if dataset is not None and outcome.failure is None:
            dataset.relocate(outcome.partitions)

    def _dataset(self, task: Task, outcome: TaskOutcome) -> Dataset:
        dataset = Dataset(
            task.id, task.name, outcome.schema, outcome.partitions, self._verbs, self._release
        )
        self._datasets[task.id] = dataset
        return dataset

    def _resolve_value(self, task: Task, outcome: TaskOutcome) -> None:
        what = f"{task.id} ({task.name})"
        task.set_result(SentValue(what, task.description.operation, outcome.values))

    def _resolve_failure(self, task: Task, failure: Failure) -> None:
        if failure.kind is FailureKind.CANCELED:
            task.resolve_canceled()
            return
        error = to_exception(task.id, failure, self._errors.get)
        self._errors[task.id] = error
        task.set_exception(error)

    def _pilot_ended(self, pilot: PilotHandle, state: PilotState, reason: str) -> None:
        for task in self._take_pending(pilot, reason):
            if state is PilotState.FAILED and not self._closing:
                task.set_exception(PilotLost(f"{task.id} ({task.name}): {pilot.id}: {reason}"))
            else:
                task.resolve_canceled()

    def _link_lost(self, pilot: PilotHandle, reason: str) -> None:
        self._pilot_ended(pilot, PilotState.FAILED, reason)

    def _take_pending(self, pilot: PilotHandle, reason: str) -> Iterable[Task]:
        with self._lock:
            self._ends[pilot.id] = reason
            taken = self._pending[pilot.id]
            self._pending[pilot.id] = {}
            questions = list(self._questions.values())
        for question in questions:
            if not question.done():
                question.set_result(f"{pilot.id} has ended: {reason}")
        return taken.values()

    # -------------------------------------------------------------- inside

    def _choose(self, descriptions: Iterable[TaskDescription]) -> PilotHandle:
        homes = {
            self._homes[task].id: self._homes[task]
            for description in descriptions
            for task in (*description.inputs, *description.options.after)
            if task in self._homes
        }
        if len(homes) > 1:
            raise DescriptionError(
                f"inputs lie on different pilots ({', '.join(homes)}): take one of them through "
                "the client (to_arrow, from_arrow), or run both on one pilot"
            )
        if homes:
            return next(iter(homes.values()))
        most = max(description.options.ranks for description in descriptions)
        able = [pilot for pilot in self._pilots if pilot.description.ranks >= most]
        return min(able or self._pilots, key=lambda pilot: len(self._pending[pilot.id]))

    def _release(self, task: TaskId) -> None:
        # Called by the garbage collector, on any thread, maybe with the lock held: no lock here.
        home = self._homes.pop(task, None)
        if home is not None and not self._closing:
            home.link.post(Release((task,)))

    def _serve(self, request: PartitionRequest, descriptor: int) -> None:
        table = self._uploads[TaskId(request.key)]
        ipc.write_stream(table.slice(request.offset, request.rows), descriptor)

    def _close(self, detach: bool) -> None:
        self._closing = True
        if not detach:
            for pilot in self._pilots:
                if pending := tuple(self._pending[pilot.id]):
                    pilot.link.post(Cancel(pending))
        if self._server is not None:
            self._server.close()
