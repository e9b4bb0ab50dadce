"""TaskManager: the verbs of a user, each of which submits one task.

A verb checks what it is given, makes a frozen TaskDescription and returns its future at once; Tasks
and Datasets given as inputs make the graph.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from elevon.errors import DescriptionError
from elevon.model import checks
from elevon.model.ids import TaskId
from elevon.model.operations import (
    LARGEST_ARGUMENTS_BYTES,
    Call,
    InputRef,
    Load,
    Operation,
    Read,
)
from elevon.model.shown import function_name, shown, type_name
from elevon.model.tasks import TaskDescription, TaskOptions, with_options
from elevon.session import NotSent, Session
from elevon.tasks.arguments import Handle, as_options
from elevon.tasks.batch import resolve
from elevon.tasks.dispatcher import Dispatcher, PilotHandle
from elevon.tasks.packing import pack, pack_arguments
from elevon.tasks.report import Report
from elevon.tasks.task import Task
from elevon.tasks.verbs import Frame, Verbs, absolute
from elevon.wire.encodable import check_tasks

if TYPE_CHECKING:
    import pyarrow as pa

#: Ranks keep functions; what they refer to and is larger should be an argument.
LARGEST_FUNCTION_BYTES = 64 << 20
_ADVICE = "bring tables in with from_arrow and give the Task as an argument"
_MOST_OF_A_BATCH = 1_000_000
_FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".arrow": "arrow"}


class TaskManager(NotSent, Verbs[Task]):
    """Submits tasks to one or several pilots.

    The verbs from frames to frames (join, groupby, filter, ...) are those of ``Verbs``; their
    first argument is a Task, a Dataset or a table of this process.

    Args:
        session: the session of the pilots.
        pilots: where tasks may run; a task goes where its inputs are.

    Raises:
        DescriptionError: no pilot is given, or something else.
    """

    def __init__(self, session: Session, pilots: Sequence[PilotHandle]) -> None:
        handles = checks.listed("pilots", pilots)
        for pilot in handles:
            with checks.foreign(f"pilots holds {shown(pilot)}, which is no Pilot"):
                _ = pilot.link
        self._dispatcher = Dispatcher(session, handles, self)
        self._options = TaskOptions()

    def options(self, **options: Any) -> TaskManager:
        """The same TaskManager with other options for what is submitted through the answer.

        Raises:
            DescriptionError: an unknown option (with a suggestion) or a bad value.
        """
        other = TaskManager.__new__(TaskManager)
        other._dispatcher = self._dispatcher
        other._options = self._chosen(options)
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
        paths = tuple([absolute(entry) for entry in checks.paths("read: path", path)])
        ending = os.path.splitext(paths[0])[1] if paths else ""
        kind = _FORMATS.get(ending, "parquet") if format is None else format
        return self.run(Read(paths, kind, columns), (), options)  # type: ignore[arg-type]

    def from_arrow(self, data: Any, **options: Any) -> Task:
        """Bring a table of this process in: pyarrow, pandas, polars, DuckDB, ...

        Rank r takes the r-th share of the rows, in order. The table is kept here until they have.

        Raises:
            DescriptionError: the data has no Arrow form.
        """
        chosen = self._chosen(options)
        table = _to_table(data)
        task = self._dispatcher.new_id()
        return self._send([(task, self._load(table, chosen))], {task: table})

    # -------------------------------------------------------------- functions

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task:
        """Call a function on every rank of a gang (``options(ranks=...)``).

        A first parameter called ``comm`` (or annotated ``Communicator``) gets the private
        communicator of the gang. Tasks and Datasets among the arguments arrive as this rank's
        partition (an Arrow table) or as the value. The result is rank 0's value, unless
        ``options(returns=...)`` says otherwise.

        Raises:
            NotPicklable: the function or the arguments cannot be pickled.
            DescriptionError: the function cannot be called, or more than may travel with a task
                would have to.
        """
        if not callable(function):
            raise DescriptionError(
                f"submit: {shown(function)} is no function: give something that can be called "
                "(for a program, subprocess.run with its command as the argument)"
            )
        inputs: list[Handle] = []

        def replace(value: Any) -> Any:
            if not checks.is_a(value, Handle):
                return value
            inputs.append(value)
            return InputRef(len(inputs) - 1)

        given = tuple([replace(value) for value in args])
        named = {name: replace(value) for name, value in kwargs.items()}
        arguments = pack_arguments(given, named, LARGEST_ARGUMENTS_BYTES, _ADVICE)
        blob = pack("the function and what it refers to", function, LARGEST_FUNCTION_BYTES, _ADVICE)
        digest = hashlib.sha256(blob).hexdigest()
        call = Call(digest, arguments, len(inputs), self._options.returns)
        chosen = _named(self._options, self._options.name or function_name(function))
        return self._run(call, inputs, chosen, {digest: blob})

    def submit_tasks(self, descriptions: Iterable[TaskDescription]) -> list[Task]:
        """Submit a graph at once; an input may be the name of another description of the batch.

        Returns the tasks in the order of ``descriptions``.

        Raises:
            DescriptionError: an unknown input, a name used twice, or a cycle; nothing is submitted.
        """
        given = checks.values("tasks", descriptions, TaskDescription, _MOST_OF_A_BATCH)
        if not given:
            return []
        ordered = resolve(given, self._dispatcher.new_id, self._dispatcher.known)
        batch = [(task, about) for _, task, about in ordered]
        check_tasks(batch)
        tasks = self._dispatcher.submit(batch)
        by_place = {place: task for (place, _, _), task in zip(ordered, tasks, strict=True)}
        return [by_place[place] for place in range(len(given))]

    # -------------------------------------------------------------- questions

    def report(self) -> Report:
        """Where the time of all tasks that have ended went."""
        return Report(list(self._dispatcher.rows))

    def explain(self, task: Task | TaskId) -> str:
        """Why the task is where it is: what it waits for, or what became of it."""
        if checks.is_a(task, Handle):
            return self._dispatcher.explain(task.id)  # type: ignore[union-attr]
        return self._dispatcher.explain(TaskId(checks.text("explain: task", task)))

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
        return self._run(operation, frames, self._chosen(options), {})

    def _run(
        self,
        operation: Operation,
        frames: Sequence[Frame],
        chosen: TaskOptions,
        functions: Mapping[str, bytes],
    ) -> Task:
        """A task and the loads of its tables go in one message, so that none is lost between."""
        if not isinstance(operation, Call):
            _refuse_values(operation, frames)
        found = [frame.id if checks.is_a(frame, Handle) else _to_table(frame) for frame in frames]
        tables: dict[TaskId, pa.Table] = {}
        batch: list[tuple[TaskId, TaskDescription]] = []
        inputs: list[TaskId] = []
        for one in found:
            task = TaskId(one) if isinstance(one, str) else self._dispatcher.new_id()
            inputs.append(task)
            if not isinstance(one, str):
                tables[task] = one
                loading = with_options(self._options, {"ranks": chosen.ranks})
                batch.append((task, self._load(one, loading)))
        description = TaskDescription(operation=operation, inputs=tuple(inputs), options=chosen)
        batch.append((self._dispatcher.new_id(), description))
        return self._send(batch, tables, functions)

    def _load(self, table: pa.Table, options: TaskOptions) -> TaskDescription:
        load = Load(self._dispatcher.address(), table.num_rows)
        return TaskDescription(operation=load, options=options)

    def _send(
        self,
        batch: list[tuple[TaskId, TaskDescription]],
        tables: Mapping[TaskId, pa.Table],
        functions: Mapping[str, bytes] | None = None,
    ) -> Task:
        """Submit tasks that belong together; the last one is what the caller asked for."""
        check_tasks(batch)
        return self._dispatcher.submit(batch, tables, functions or {})[-1]

    def _chosen(self, options: dict[str, Any]) -> TaskOptions:
        return with_options(self._options, as_options(options, self._dispatcher.known))


@lru_cache(maxsize=256)
def _named(options: TaskOptions, name: str) -> TaskOptions:
    """The options of a function: the same for each call of thousands."""
    return with_options(options, {"name": name})


def _refuse_values(operation: Operation, frames: Sequence[Frame]) -> None:
    """Every rank would take the whole value, even an Arrow table, for its part of a frame."""
    for frame in frames:
        if checks.is_a(frame, Task) and frame.description.operation.result != "partitions":
            raise DescriptionError(
                f"{operation.verb}: {frame.id} ({frame.name}) gives a value, not a "
                f'frame: have its function return Arrow tables, with options(returns="dataset")'
            )


def _to_table(data: Any) -> pa.Table:
    import pyarrow as pa

    if checks.is_a(data, pa.Table):
        return _sendable(data)
    with checks.foreign(f"from_arrow: {type_name(data)} cannot be read as a table"):
        if not hasattr(data, "__arrow_c_stream__"):
            raise DescriptionError(
                f"from_arrow: {type_name(data)} has no Arrow form (__arrow_c_stream__); give a "
                "pyarrow.Table, a pandas or polars DataFrame, or a DuckDB result"
            )
        _refuse_objects(data)
        return _sendable(pa.table(data))


def _sendable(table: pa.Table) -> pa.Table:
    """The table as it comes through Arrow's streams.

    Raises:
        DescriptionError: it has rows, but no columns; or a column's type or name would come back as
            another.
    """
    from elevon.frames.schema.dictionaries import decode_extensions
    from elevon.frames.schema.join_plan import check_names

    if not table.num_columns and table.num_rows:
        raise DescriptionError(
            f"from_arrow: a table without columns keeps none of its {table.num_rows:,} rows"
        )
    with checks.foreign("from_arrow: the table cannot be sent"):
        check_names(table.schema)
        return decode_extensions(table)


def _refuse_objects(data: Any) -> None:
    """Polars hands out the addresses of Python objects."""
    if type(data).__module__.partition(".")[0] == "polars":
        for name, kind in zip(data.columns, data.dtypes, strict=True):
            if str(kind) == "Object":
                raise DescriptionError(
                    f"from_arrow: column {name!r} holds Python objects, which polars does not "
                    "convert; cast it, or leave it out"
                )
