"""What a demonstration hands over, and its two forms: text for people, JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from elevon.tasks.report import Report


@dataclass(frozen=True, slots=True)
class DemoResult:
    """One run of a demonstration.

    Attributes:
        text: what it did, for a person, without the report.
        rows_joined: rows of the last join.
        checksum: of the joined rows, whatever their order; 16 hexadecimal digits.
        first_task_s: from the start of the process to the first result of a task.
        wall_s: from the start of the process to the last result.
        report: where the time of each task went.
        verdict: what the result was checked against, and that it was equal.
    """

    text: str
    rows_joined: int
    checksum: str
    first_task_s: float
    wall_s: float
    report: Report
    verdict: str

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(
            {
                "rows_joined": self.rows_joined,
                "checksum": self.checksum,
                "first_task_s": round(self.first_task_s, 6),
                "wall_s": round(self.wall_s, 6),
                "verdict": self.verdict,
                "tasks": [
                    {
                        "name": row.name,
                        "ranks": row.ranks,
                        "phases": row.phases,
                        "wall_s": row.wall_s,
                    }
                    for row in self.report.tasks
                ],
            }
        )

    def __str__(self) -> str:
        times = (
            f"first task result after {self.first_task_s:.2f} s, all after {self.wall_s:.2f} s, "
            "counted from the start of the process"
        )
        return "\n".join([self.text, "", str(self.report), times, self.verdict])
