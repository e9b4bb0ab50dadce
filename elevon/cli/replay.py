"""What a pilot's journal tells: its events, replayed into a scheduler of our own.

The journal is only read, so that this may be done while the agent writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from elevon.agent.journal import replay
from elevon.agent.scheduling.events import EndTask, Submitted
from elevon.agent.scheduling.scheduler import Scheduler
from elevon.cli.sessions import PilotHome
from elevon.errors import UsageError
from elevon.model.ids import TaskId
from elevon.model.outcomes import TaskOutcome
from elevon.model.tasks import TaskDescription
from elevon.tasks.report import TaskRow, task_row


@dataclass(frozen=True, slots=True)
class Replayed:
    """A pilot as its journal has it.

    Attributes:
        scheduler: in the state after the last event.
        ended: the tasks that have ended, in the order of their ends.
        pending: how many have not.
    """

    scheduler: Scheduler
    ended: tuple[TaskRow, ...]
    pending: int


def replayed(home: PilotHome) -> Replayed:
    """Replay the journal of one pilot.

    Raises:
        UsageError: the pilot has none.
        WireError: it is of another release.
    """
    journal = home.directory / "journal.sqlite"
    if not journal.exists():
        raise UsageError(f"{home.pilot} has no journal at {journal}: its agent never came so far")
    scheduler = Scheduler(
        ranks=home.description.ranks, communicator_cache=home.description.communicator_cache
    )
    submitted: dict[TaskId, TaskDescription] = {}
    ended: dict[TaskId, TaskRow] = {}
    for event in replay(journal):
        if isinstance(event, Submitted):
            submitted[event.submission.task] = event.submission.description
        for command in scheduler.step(event):
            # A dataset that was lost and made again is told again; the first end is the task's.
            if isinstance(command, EndTask) and command.task not in ended:
                about = submitted[command.task]
                ended[command.task] = _row(command.task, about, command.outcome)
    return Replayed(scheduler, tuple(ended.values()), len(submitted) - len(ended))


def _row(task: TaskId, about: TaskDescription, outcome: TaskOutcome) -> TaskRow:
    """As the client's report has it, but that it ends when the agent, not the client, knew."""
    profile = outcome.profile
    return task_row(
        task, about.name, about.options.ranks, outcome, profile.submitted_s, profile.ended_s
    )
