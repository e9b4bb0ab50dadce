"""The synthetic demonstration: the join and the sort of the Radical-Cylon papers.

Two tables of two int64 columns, uniform in [0, 0.9 * rows), are made on the ranks, joined on the
first column and sorted by it. The papers seed a generator with the rank; here each block of rows
has its own seed, so that the tables, and with them the count and the checksum, are the same at
every number of ranks. ``--rows`` is the size of one table over all ranks together (strong scaling).
"""

from __future__ import annotations

import elevon as ev
from elevon.cli.common import FirstResult, local_pilot, process_age_s
from elevon.cli.demo_result import DemoResult
from elevon.errors import ElevonError


def run(description: ev.PilotDescription, rows: int) -> DemoResult:
    """Make, join, sort and examine tables of ``rows`` rows.

    Raises:
        ElevonError: the sorted rows are out of order, or not as many as the join has made.
    """
    ranks = description.ranks
    first = FirstResult()
    with local_pilot(description) as tasks:
        # The agent and the ranks start while numpy and Arrow are imported here.
        from elevon.cli.synthetic_data import LEFT, RIGHT, examine, make_table

        make = tasks.options(ranks=ranks, returns="dataset")
        left = first.watch(make.options(name="make left").submit(make_table, LEFT, rows))
        right = first.watch(make.options(name="make right").submit(make_table, RIGHT, rows))
        joined = tasks.join(left, right, on="k", ranks=ranks)
        ordered = tasks.sort(joined, by="k", ranks=ranks)
        counted, checksum, in_order = tasks.options(ranks=ranks).submit(examine, ordered).result()
        rows_joined = joined.dataset().num_rows
        if counted != rows_joined or not in_order:
            raise ElevonError(
                f"the sort of {rows_joined:,} joined rows gave {counted:,} rows, "
                f"{'' if in_order else 'not '}in order: this is a defect, please report it"
            )
        return DemoResult(
            text=_text(description, rows, rows_joined, checksum),
            rows_joined=rows_joined,
            checksum=checksum,
            first_task_s=first.age_s,
            wall_s=process_age_s(),
            report=tasks.report(),
            verdict=f"checked: {counted:,} sorted rows, in order on every rank and between ranks",
        )


def _text(description: ev.PilotDescription, rows: int, rows_joined: int, checksum: str) -> str:
    return (
        f"Two tables of {rows:,} rows on a local pilot of {description.ranks} ranks\n"
        f"joined rows: {rows_joined:,}\n"
        f"checksum: {checksum}"
    )
