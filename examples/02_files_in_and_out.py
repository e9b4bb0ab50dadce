"""Read files on the ranks, join them with a table of this process, write Parquet again."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import elevon as ev


def write_measurements(directory: Path) -> None:
    """Three files, as another program may have left them."""
    for part in range(3):
        hours = range(part * 1000, (part + 1) * 1000)
        table = pa.table({"station": [h % 4 for h in hours], "value": [h * 0.5 for h in hours]})
        pq.write_table(table, directory / f"part{part}.parquet")


def main() -> None:
    stations = pa.table({"station": [0, 1, 2], "name": ["EWR", "JFK", "LGA"]})
    with tempfile.TemporaryDirectory() as scratch, ev.Session() as session:
        source, target = Path(scratch) / "in", Path(scratch) / "out"
        source.mkdir()
        write_measurements(source)
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=3))
        tasks = ev.TaskManager(session, pilots=[pilot])

        # Each rank reads its share of the rows. A table of this process goes in as it is: pyarrow,
        # pandas, polars, DuckDB, anything with __arrow_c_stream__.
        measured = tasks.read(source, ranks=3)
        known = tasks.join(measured, stations, on="station", how="inner", ranks=3)
        unknown = tasks.join(measured, stations, on="station", how="anti", ranks=3)

        files = known.result().write_parquet(str(target))
        print("rows with a station:", known.result().num_rows)
        print("rows without:", unknown.result().num_rows)
        print("files:", sorted(Path(file).name for file in files))
        print("rows in the files:", pq.read_table(target).num_rows)


if __name__ == "__main__":
    main()
