"""TaskDescription and TaskOptions: what a user asks for, checked when it is made.

All are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec

from elevon.errors import DescriptionError
from elevon.model import checks
from elevon.model.checks import MOST_CORES, MOST_RANKS, Suggesting, nearest, whole
from elevon.model.ids import TaskId
from elevon.model.operations import RETURNS, Operation, Returns
from elevon.model.shown import shown

MOST_RETRIES: Final = 1_000_000
#: With the number of a task below it, a priority makes one integer, by which the queue is sorted.
MOST_PRIORITY: Final = 2**31 - 1
_OPERATIONS: Final = frozenset(get_args(Operation))


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True, gc=False, metaclass=Suggesting):
    """How a task is to be run.

    Attributes:
        ranks: size of the gang; all of it or nothing is placed.
        cores_per_rank: cores, and threads of a kernel, that each rank may use.
        gpus_per_rank: accelerators that each rank needs.
        memory_per_rank: bytes of working memory that each rank may take, beside its inputs and its
            result; a verb that needs more works in slices and over the local disk. Refused for
            functions. 0: no limit.
        timeout_s: seconds that the task may run (from start, not from submission), or None.
        retries: how often a lost rank or node may cost the task another start.
        retry_errors: whether the user's own exception is retried, too.
        priority: the greater goes first; equal ones go in order of submission.
        after: tasks that must have ended well before this one starts, without giving it data.
        name: the name in reports; chosen from the operation where empty.
        returns: for functions: rank 0's value, the list by rank, or the returned tables as a
            dataset that stays on the ranks.
    """

    ranks: int = 1
    cores_per_rank: int = 1
    gpus_per_rank: int = 0
    memory_per_rank: int = 0
    timeout_s: float | None = None
    retries: int = 0
    retry_errors: bool = False
    priority: int = 0
    after: tuple[TaskId, ...] = ()
    name: str = ""
    returns: Returns = "rank0"

    def __post_init__(self) -> None:
        checks.keep(
            self,
            ranks=whole("ranks", self.ranks, 1, MOST_RANKS),
            cores_per_rank=whole("cores_per_rank", self.cores_per_rank, 1, MOST_CORES),
            gpus_per_rank=whole("gpus_per_rank", self.gpus_per_rank, 0, MOST_RANKS),
            memory_per_rank=whole("memory_per_rank", self.memory_per_rank, 0),
            timeout_s=checks.optional(checks.seconds, "timeout_s", self.timeout_s),
            retries=whole("retries", self.retries, 0, MOST_RETRIES),
            retry_errors=checks.flag("retry_errors", self.retry_errors),
            priority=whole("priority", self.priority, -MOST_PRIORITY, MOST_PRIORITY),
            after=checks.names("after", self.after),
            name=checks.text("name", self.name),
            returns=checks.one_of("returns", self.returns, RETURNS),
        )


OPTION_NAMES: tuple[str, ...] = TaskOptions.__struct_fields__


def with_options(base: TaskOptions, changes: Mapping[str, Any]) -> TaskOptions:
    """``base`` with some options changed.

    Raises:
        DescriptionError: an option does not exist (the error suggests one) or has a bad value.
    """
    for name in changes:
        if name not in OPTION_NAMES:
            raise DescriptionError(
                f"there is no task option {shown(name)}{nearest(name, OPTION_NAMES)} "
                f"(known: {', '.join(OPTION_NAMES)})"
            )
    return msgspec.structs.replace(base, **changes)


class TaskDescription(msgspec.Struct, frozen=True, kw_only=True, gc=False, metaclass=Suggesting):
    """One task, complete: what, on which inputs, how.

    Attributes:
        operation: the work.
        inputs: the tasks whose outputs are inputs 0, 1, ... of the operation.
        options: ranks, limits and the rest.
    """

    operation: Operation
    inputs: tuple[TaskId, ...] = ()
    options: TaskOptions = TaskOptions()

    def __post_init__(self) -> None:
        if type(self.operation) not in _OPERATIONS:
            raise DescriptionError(
                f"operation must be one of elevon.model.operations, not {shown(self.operation)}"
            )
        if not checks.is_a(self.options, TaskOptions):
            raise DescriptionError(f"options must be TaskOptions, not {shown(self.options)}")
        if type(self.inputs) is not tuple or self.inputs:
            checks.keep(self, inputs=checks.names("inputs", self.inputs))
        if len(self.inputs) != self.operation.inputs:
            raise DescriptionError(
                f"{self.operation.verb} takes {self.operation.inputs} inputs, "
                f"{len(self.inputs)} given"
            )
        if self.options.memory_per_rank and not self.operation.keeps_memory:
            raise DescriptionError(
                f"memory_per_rank={self.options.memory_per_rank:,} is of no effect on a function: "
                f"what memory it takes is its own business; leave the option out, or use a verb"
            )

    @property
    def name(self) -> str:
        """The name for reports."""
        return self.options.name or self.operation.verb


class TaskSubmission(msgspec.Struct, frozen=True, gc=False):
    """A named task on its way to an agent. ``submitted_s``: the client's monotonic clock."""

    task: TaskId
    description: TaskDescription
    submitted_s: float
