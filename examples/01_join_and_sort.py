"""Join two tables and sort the result, on four ranks of this machine."""

import pyarrow as pa

import elevon as ev

PLANES = 500
FLIGHTS = 200_000


def flights() -> pa.Table:
    number = pa.array(range(FLIGHTS))
    return pa.table(
        {
            "flight": number,
            "plane": pa.array([f"N{i * 7919 % PLANES:03d}" for i in range(FLIGHTS)]),
            "delay": pa.array([i * 104_729 % 1301 for i in range(FLIGHTS)]),
        }
    )


def planes() -> pa.Table:
    return pa.table(
        {
            "plane": [f"N{i:03d}" for i in range(PLANES)],
            "seats": [100 + i % 5 * 50 for i in range(PLANES)],
        }
    )


def main() -> None:
    with ev.Session() as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(resource="local", ranks=4))
        tasks = ev.TaskManager(session, pilots=[pilot])

        left = tasks.from_arrow(flights(), ranks=4)
        right = tasks.from_arrow(planes(), ranks=2)
        joined = tasks.join(left, right, on="plane", ranks=4)
        ordered = tasks.sort(joined, by=["delay", "flight"], ascending=[False, True], ranks=3)

        # Every task is a future; a frame task's result is a Dataset, which stays on the ranks.
        dataset = ordered.result()
        print(dataset)
        print(dataset.head(3).to_pandas().to_string(index=False))
        print(tasks.report())


if __name__ == "__main__":
    main()
