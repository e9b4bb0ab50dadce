"""From raw rows to a small report: filter, group, rank and smooth, on four ranks."""

import pyarrow as pa
import pyarrow.compute as pc

import elevon as ev

ROWS = 100_000


def trips() -> pa.Table:
    return pa.table(
        {
            "day": [i * 365 // ROWS for i in range(ROWS)],
            "city": [f"city {i * 7919 % 40:02d}" for i in range(ROWS)],
            "km": [None if i % 97 == 0 else i * 104_729 % 5003 / 100 for i in range(ROWS)],
        }
    )


def main() -> None:
    with ev.Session() as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=4))
        tasks = ev.TaskManager(session, pilots=[pilot])

        # Nothing here waits: the verbs of a Task submit the next one.
        rows = tasks.from_arrow(trips(), ranks=4)
        long = rows.filter(pc.field("km") > 1.0).assign(miles=pc.field("km") * 0.621371)
        cities = long.groupby(
            "city", trips=("km", "count"), mean=("miles", "mean"), p99=("miles", "quantile", 0.99)
        )
        best = cities.rank("mean", ascending=False, method="first", column="place").head(3)
        days = long.groupby("day", km=("km", "sum")).sort_values("day")
        week = days.rolling(7, week=("km", "mean")).tail(2)

        for row in best.dataset().to_arrow().to_pylist():
            print(row["place"], row["city"], row["trips"], f"{row['mean']:.3f} {row['p99']:.2f}")
        for row in week.dataset().to_arrow().to_pylist():
            print(row["day"], f"{row['km']:.2f} {row['week']:.2f}")
        seen = long.select("city").drop_duplicates()
        print("cities:", seen.dataset().num_rows)
        print("without a trip:", seen.subtract(rows.select("city")).dataset().num_rows)


if __name__ == "__main__":
    main()
