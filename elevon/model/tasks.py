"""TaskDescription and TaskOptions: what a user asks for, checked when it is made.

All are frozen.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from elevon.errors import DescriptionError
from elevon.model.ids import TaskId
from elevon.model.operations import Operation, Returns, operation_name


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a task is to be run.

    Attributes:
        ranks: size of the gang; all of it or nothing is placed.
        cores_per_rank: cores, and threads of a kernel, that each rank may use.
        gpus_per_rank: accelerators that each rank needs.
        memory_per_rank: bytes of working memory that each rank may take, beside its inputs and its
            result; a join or a sort that needs more works over the local disk. 0: no limit.
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
        _at_least("ranks", self.ranks, 1)
        _at_least("cores_per_rank", self.cores_per_rank, 1)
        _at_least("gpus_per_rank", self.gpus_per_rank, 0)
        _at_least("memory_per_rank", self.memory_per_rank, 0)
        _at_least("retries", self.retries, 0)
        if isinstance(self.priority, bool) or not isinstance(self.priority, int):
            raise DescriptionError(f"priority must be a whole number, not {self.priority!r}")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise DescriptionError(f"timeout_s must be greater than 0, not {self.timeout_s!r}")
        if self.returns not in ("rank0", "all", "dataset"):
            raise DescriptionError(f"returns={self.returns!r} is none of 'rank0', 'all', 'dataset'")


def _at_least(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DescriptionError(f"{name} must be a whole number of at least {least}, not {value!r}")


OPTION_NAMES: tuple[str, ...] = TaskOptions.__struct_fields__


def with_options(base: TaskOptions, changes: Mapping[str, Any]) -> TaskOptions:
    """``base`` with some options changed.

    Raises:
        DescriptionError: an option does not exist (the error suggests one) or has a bad value.
    """
    for name in changes:
        if name not in OPTION_NAMES:
            near = difflib.get_close_matches(name, OPTION_NAMES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DescriptionError(
                f"there is no task option {name!r}{hint} (known: {', '.join(OPTION_NAMES)})"
            )
    return msgspec.structs.replace(base, **changes)


class TaskDescription(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
        if len(self.inputs) != self.operation.inputs:
            raise DescriptionError(
                f"{operation_name(self.operation)} takes {self.operation.inputs} inputs, "
                f"{len(self.inputs)} given"
            )

    @property
    def name(self) -> str:
        """The name for reports."""
        return self.options.name or operation_name(self.operation)


class TaskSubmission(msgspec.Struct, frozen=True, gc=False):
    """A named task on its way to an agent. ``submitted_s``: the client's monotonic clock."""

    task: TaskId
    description: TaskDescription
    submitted_s: float
