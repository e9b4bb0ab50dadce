"""TaskManager: the verbs of a user, each of which submits one task.

A verb checks what it is given, makes a frozen TaskDescription and returns its future at once; Tasks
and Datasets given as inputs make the graph.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import cloudpickle

from elevon.errors import DescriptionError
from elevon.model.ids import TaskId
from elevon.model.operations import (
    Call,
    InputRef,
    Load,
    Operation,
    Read,
    makes_dataset,
    operation_name,
)
from elevon.model.tasks import TaskDescription, TaskOptions, with_options
from elevon.session import Session
from elevon.tasks.batch import resolve
from elevon.tasks.dataset import Dataset
from elevon.tasks.dispatcher import Dispatcher, PilotHandle
from elevon.tasks.report import Report
from elevon.tasks.task import Task
from elevon.tasks.verbs import Frame, Verbs, absolute

if TYPE_CHECKING:
    import pyarrow as pa

# Arguments travel through the agent, which is no road for bulk data.
LARGEST_ARGUMENTS_BYTES = 64 * 1024 * 1024
_FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".arrow": "arrow"}


class TaskManager(Verbs[Task]):
    """Submits tasks to one or several pilots.

    The verbs from frames to frames (join, groupby, filter, ...) are those of ``Verbs``; their
    first argument is a Task, a Dataset or a table of this process.

    Args:
        session: the session of the pilots.
        pilots: where tasks may run; a task goes where its inputs are.
    """

    def __init__(self, session: Session, pilots: Sequence[PilotHandle]) -> None:
        self._dispatcher = Dispatcher(session, pilots, self)
        self._options = TaskOptions()

    def options(self, **options: Any) -> TaskManager:
        """The same TaskManager with other options for what is submitted through the answer.

        Raises:
            DescriptionError: an unknown option (with a suggestion) or a bad value.
        """
        other = TaskManager.__new__(TaskManager)
        other._dispatcher = self._dispatcher
        other._options = with_options(self._options, _with_ids(options))
        return other

    # -------------------------------------------------------------- frames in

    def read(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        format: str | None = None,
        columns: Sequence[str] | None = None,
        **options: Any,
    ) -> Task:
        """Read files (Parquet, CSV, Arrow IPC) as a dataset, a share per rank.

        Args:
            path: a file, directory or glob, or several; as the ranks see them.
            format: "parquet", "csv" or "arrow"; by the first path's ending where None.
            columns: what to read, all where None.
            **options: see TaskOptions.
        """
        paths = [path] if isinstance(path, str | os.PathLike) else list(path)
        names = tuple(absolute(os.fspath(entry)) for entry in paths)
        if not names:
            raise DescriptionError("read: no path is given")
        kind = format or _FORMATS.get(os.path.splitext(names[0])[1], "parquet")
        if kind not in ("parquet", "csv", "arrow"):
            raise DescriptionError(f"read: format={kind!r} is none of parquet, csv, arrow")
        chosen = None if columns is None else tuple(columns)
        return self.run(Read(names, kind, chosen), (), options)  # type: ignore[arg-type]

    def from_arrow(self, data: Any, **options: Any) -> Task:
        """Bring a table of this process in: pyarrow, pandas, polars, DuckDB, ...

        Rank r takes the r-th share of the rows, in order. The table is kept here until they have.

        Raises:
            DescriptionError: the data has no Arrow form.
        """
        table = _to_table(data)
        task = self._dispatcher.new_id()
        load = Load(self._dispatcher.upload(task, table), table.num_rows)
        chosen = with_options(self._options, _with_ids(options))
        return self._dispatcher.submit([(task, TaskDescription(operation=load, options=chosen))])[0]

    # -------------------------------------------------------------- functions

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task:
        """Call a function on every rank of a gang (``options(ranks=...)``).

        A first parameter called ``comm`` (or annotated ``Communicator``) gets the private
        communicator of the gang. Tasks and Datasets among the arguments arrive as this rank's
        partition (an Arrow table) or as the value. The result is rank 0's value, unless
        ``options(returns=...)`` says otherwise.

        Raises:
            DescriptionError: the arguments are larger than what may travel with a task.
        """
        inputs: list[Task | Dataset] = []

        def replace(value: Any) -> Any:
            if not isinstance(value, Task | Dataset):
                return value
            inputs.append(value)
            return InputRef(len(inputs) - 1)

        packed = tuple(replace(value) for value in args), {k: replace(v) for k, v in kwargs.items()}
        arguments = cloudpickle.dumps(packed)
        if len(arguments) > LARGEST_ARGUMENTS_BYTES:
            raise DescriptionError(
                f"the arguments take {len(arguments):,} bytes, more than the "
                f"{LARGEST_ARGUMENTS_BYTES:,} that travel with a task: bring tables in with "
                "from_arrow and give the Task as an argument"
            )
        digest = self._dispatcher.put_function(cloudpickle.dumps(function))
        call = Call(digest, arguments, len(inputs), self._options.returns)
        name = self._options.name or getattr(function, "__name__", type(function).__name__)
        return self.run(call, inputs, {"name": name})

    def submit_tasks(self, descriptions: Iterable[TaskDescription]) -> list[Task]:
        """Submit a graph at once; an input may be the name of another description of the batch.

        Returns the tasks in the order of ``descriptions``.

        Raises:
            DescriptionError: an unknown input, a name used twice, or a cycle; nothing is submitted.
        """
        given = list(descriptions)
        if not given:
            return []
        ordered = resolve(given, self._dispatcher.new_id, self._dispatcher.known)
        tasks = self._dispatcher.submit([(task, about) for _, task, about in ordered])
        by_place = {place: task for (place, _, _), task in zip(ordered, tasks, strict=True)}
        return [by_place[place] for place in range(len(given))]

    # -------------------------------------------------------------- questions

    def report(self) -> Report:
        """Where the time of all tasks that have ended went."""
        return Report(list(self._dispatcher.rows))

    def explain(self, task: Task | TaskId) -> str:
        """Why the task is where it is: what it waits for, or what became of it."""
        return self._dispatcher.explain(task.id if isinstance(task, Task) else task)

    # -------------------------------------------------------------- inside

    def run(self, operation: Operation, frames: Sequence[Frame], options: dict[str, Any]) -> Task:
        """Submit one operation; every verb ends here.

        Args:
            operation: what to do.
            frames: its inputs; tables of this process are brought in first.
            options: task options, over those of this TaskManager.

        Returns:
            The task.

        Raises:
            DescriptionError: an option is wrong, there are more or fewer inputs than needed, or one
                of them is going to be a value.
        """
        if not isinstance(operation, Call):
            _refuse_values(operation, frames)
        chosen = with_options(self._options, _with_ids(options))
        inputs = tuple(self._input(frame, chosen) for frame in frames)
        description = TaskDescription(operation=operation, inputs=inputs, options=chosen)
        return self._dispatcher.submit([(self._dispatcher.new_id(), description)])[0]

    def _input(self, frame: Frame, options: TaskOptions) -> TaskId:
        if isinstance(frame, Task | Dataset):
            return frame.id
        return self.options(ranks=options.ranks).from_arrow(frame).id


def _refuse_values(operation: Operation, frames: Sequence[Frame]) -> None:
    """Every rank would take the whole value, even an Arrow table, for its part of a frame."""
    for frame in frames:
        if isinstance(frame, Task) and not makes_dataset(frame.description.operation):
            raise DescriptionError(
                f"{operation_name(operation)}: {frame.id} ({frame.name}) gives a value, not a "
                f'frame: have its function return Arrow tables, with options(returns="dataset")'
            )


def _with_ids(options: dict[str, Any]) -> dict[str, Any]:
    """Options as the model wants them: ``after`` may hold Tasks."""
    if "after" not in options:
        return options
    given = options["after"]
    tasks = [given] if isinstance(given, Task | str) else list(given)
    return {**options, "after": tuple(t.id if isinstance(t, Task) else TaskId(t) for t in tasks)}


def _to_table(data: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return data
    if not hasattr(data, "__arrow_c_stream__"):
        raise DescriptionError(
            f"from_arrow: {type(data).__name__} has no Arrow form (__arrow_c_stream__); give a "
            "pyarrow.Table, a pandas or polars DataFrame, or a DuckDB result"
        )
    return pa.table(data)
