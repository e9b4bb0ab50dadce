"""Where every task's time went, per rank: overheads first.

The phases of a rank add up to the task's wall time by construction: each begins where the one
before it ends.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from elevon.model.ids import RankId, TaskId
from elevon.model.outcomes import PHASES, RankProfile, TaskOutcome, TaskProfile


@dataclass(frozen=True, slots=True)
class RankRow:
    """One rank's part: seconds by phase, in the order of ``PHASES``."""

    rank: RankId
    phases: dict[str, float]


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task. ``wall_s`` runs from the client's call to the resolved future."""

    task: TaskId
    name: str
    ranks: int
    state: str
    attempts: int
    rows: int | None
    wall_s: float
    parts: tuple[RankRow, ...]

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by phase of the slowest way: the rank that worked longest."""
        if not self.parts:
            return dict.fromkeys(PHASES, 0.0)
        return max(self.parts, key=lambda part: _working(part.phases)).phases

    @property
    def overhead_s(self) -> float:
        """What the runtime adds: decoding and the communicator, the mean over the ranks.

        This is the "overheads" column of Table 2 in the Radical-Cylon paper.
        """
        if not self.parts:
            return 0.0
        total = sum(part.phases["decoded"] + part.phases["communicator"] for part in self.parts)
        return total / len(self.parts)

    @property
    def execution_s(self) -> float:
        """From the dispatch to the end of the last part."""
        return _working(self.phases)


def _working(phases: dict[str, float]) -> float:
    return sum(phases[name] for name in PHASES[PHASES.index("decoded") : -1])


def task_row(
    task: TaskId, name: str, ranks: int, outcome: TaskOutcome, submitted: float, resolved: float
) -> TaskRow:
    """The row of a task that has ended. Moments are of the client's monotonic clock."""
    profile = outcome.profile
    failure = outcome.failure
    partitions = outcome.partitions
    return TaskRow(
        task=task,
        name=name,
        ranks=ranks,
        state="done" if failure is None else failure.kind.value,
        attempts=profile.attempts,
        rows=sum(p.rows for p in partitions) if partitions else None,
        wall_s=resolved - submitted,
        parts=tuple(
            RankRow(part.rank, _phases(profile, part, submitted, resolved))
            for part in profile.parts
        ),
    )


def _phases(
    profile: TaskProfile, part: RankProfile, submitted: float, resolved: float
) -> dict[str, float]:
    stamps = part.stamps
    moments = (
        submitted,
        profile.received_s,
        profile.ready_s,
        profile.placed_s,
        stamps.received,
        stamps.decoded,
        stamps.opened,
        stamps.fetched,
        stamps.computed,
        stamps.finished,
        resolved,
    )
    spans = [later - earlier for earlier, later in itertools.pairwise(moments)]
    exchange = min(stamps.in_collectives_s, spans[7])
    return dict(zip(PHASES, [*spans[:7], exchange, spans[7] - exchange, *spans[8:]], strict=True))


class Report:
    """The rows of all tasks that have ended, in the order of their ends."""

    def __init__(self, rows: Iterable[TaskRow]) -> None:
        self.tasks: tuple[TaskRow, ...] = tuple(rows)

    def to_json(self) -> str:
        """A JSON list, one object per task."""
        return json.dumps([{**asdict(row), "phases": row.phases} for row in self.tasks])

    def to_csv(self) -> str:
        """One line per task and rank, seconds by phase."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["task", "name", "ranks", "state", "rank", *PHASES, "wall_s"])
        for row in self.tasks:
            for part in row.parts:
                times = [f"{part.phases[phase]:.6f}" for phase in PHASES]
                head = [row.task, row.name, row.ranks, row.state, part.rank]
                writer.writerow([*head, *times, f"{row.wall_s:.6f}"])
        return out.getvalue()

    def __str__(self) -> str:
        from rich.console import Console

        out = io.StringIO()
        # The table needs 140 columns; a terminal wraps it, a log file keeps it whole.
        console = Console(file=out, width=150, color_system=None)
        console.print(_overheads(self.tasks))
        console.print(_phase_table(self.tasks))
        return out.getvalue()


def _overheads(rows: Iterable[TaskRow]) -> object:
    from rich.table import Table

    table = Table(title="Execution time and overheads (seconds)", title_justify="left")
    for name in ("task", "ranks", "state", "rows", "wall", "execution", "overheads", "share"):
        table.add_column(name, justify="left" if name in ("task", "state") else "right")
    for row in rows:
        share = row.overhead_s / row.execution_s if row.execution_s > 0 else 0.0
        table.add_row(
            row.name,
            str(row.ranks),
            row.state,
            "" if row.rows is None else f"{row.rows:,}",
            f"{row.wall_s:.4f}",
            f"{row.execution_s:.4f}",
            f"{row.overhead_s:.4f}",
            f"{share:.1%}",
        )
    return table


def _phase_table(rows: Iterable[TaskRow]) -> object:
    from rich.table import Table

    table = Table(title="Where the time went (ms, by rank)", title_justify="left")
    table.add_column("task")
    table.add_column("rank", justify="right")
    for phase in PHASES:
        table.add_column(phase[:9], justify="right")
    for row in rows:
        for part in row.parts:
            times = [f"{part.phases[phase] * 1e3:.1f}" for phase in PHASES]
            table.add_row(row.name, str(part.rank), *times)
    return table
