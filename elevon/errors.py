"""Every error that Elevon raises on purpose, named by who is to blame.

::

    ElevonError
    ├── UsageError (ValueError)          the caller asked for something that cannot be
    │   ├── DescriptionError             a field of a description or an option is wrong
    │   │   └── NotPicklable (TypeError)     a function or an argument cannot travel to a rank
    │   ├── SchemaError                  a column is missing or its type does not fit
    │   └── ResourceError                more ranks (or other resources) than the pilot has
    ├── TaskError                        a task ended without a result; names task, rank, host
    │   ├── TaskFailed                   the user's function raised; the cause is its exception
    │   ├── TaskTimeout (TimeoutError)   the task's own time limit passed
    │   ├── DependencyFailed             a task it needs failed; the cause is that task's error
    │   ├── RankLost                     the process of a member died or fell silent
    │   └── DataLost                     a partition it needs went down with its rank
    ├── CommunicatorError                a collective could not finish
    │   ├── GroupAborted                 a member called abort, or failed
    │   ├── CollectiveTimeout (TimeoutError)  the group's deadline passed
    │   └── MemberLost                   a member of the group is dead
    ├── PilotError                       the pilot could not start, or is gone
    │   ├── PilotStartFailed
    │   └── PilotLost
    └── WireError                        a message that is not ours: wrong key, version or form

Every message says what, where, why and what to do. Nothing else in the package defines errors;
foreign exceptions are mapped at one border each (launcher, provider, kernel binding).
"""

from __future__ import annotations


class ElevonError(Exception):
    """Base of all errors raised on purpose by this package."""


class UsageError(ElevonError, ValueError):
    """The caller asked for something that cannot be done as asked."""


class DescriptionError(UsageError):
    """A field of a description, or an option, has a value that is not allowed."""


class NotPicklable(DescriptionError, TypeError):
    """A function, or an argument of one, cannot be pickled; ``__cause__`` is what pickling raised.

    Also a TypeError, because that is what pickle raises for most of what it cannot take.
    """


class SchemaError(UsageError):
    """A named column does not exist, or the types of two columns do not fit each other."""


class ResourceError(UsageError):
    """A task asks for more than the pilot has, so it could never be placed."""


class TaskError(ElevonError):
    """A task ended without a result.

    Attributes:
        task: the task's id, or "" where it is not known.
        rank: the rank that failed first, or None where no single rank is to blame.
        host: the host of that rank, or "".
        remote_traceback: the traceback text from the rank, or "".
        pickled_cause: the remote exception, until the error is asked for and it becomes the cause.
    """

    def __init__(
        self,
        message: str,
        *,
        task: str = "",
        rank: int | None = None,
        host: str = "",
        remote_traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.task = task
        self.rank = rank
        self.host = host
        self.remote_traceback = remote_traceback
        self.pickled_cause = b""
        self._remark = ""

    def remark(self, text: str) -> None:
        """Add a sentence to what the error says."""
        self._remark = f"\n({text})"

    def __str__(self) -> str:
        text = f"{super().__str__()}{self._remark}"
        return f"{text}\n\n{self.remote_traceback}" if self.remote_traceback else text


class TaskFailed(TaskError):
    """The function or operator of a task raised; ``__cause__`` is the exception itself."""


class TaskTimeout(TaskError, TimeoutError):
    """The task ran longer than its ``timeout_s``."""


class DependencyFailed(TaskError):
    """A task that this one needs did not succeed; ``__cause__`` is that task's error."""


class RankLost(TaskError):
    """A rank of the task's gang died or stopped answering."""


class DataLost(TaskError):
    """A partition that the task needs was resident on a rank that is gone."""


class CommunicatorError(ElevonError):
    """A collective could not finish. ``rank`` is the group rank to blame, where known."""

    def __init__(self, message: str, *, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank


class GroupAborted(CommunicatorError):
    """A member aborted the group, so no collective on it can finish."""


class CollectiveTimeout(CommunicatorError, TimeoutError):
    """The group's deadline passed inside a collective."""


class MemberLost(CommunicatorError):
    """A member of the group is dead."""


class PilotError(ElevonError):
    """The pilot could not be started, or is gone."""


class PilotStartFailed(PilotError):
    """The agent or its ranks did not come up; the message carries the end of their log."""


class PilotLost(PilotError):
    """The agent of an active pilot died or fell silent."""


class WireError(ElevonError):
    """A message has the wrong version, form or origin."""
