"""A graph of tasks of different sizes, submitted at once; results in the order of their ends."""

from concurrent.futures import as_completed

import pyarrow as pa

import elevon as ev
from elevon.errors import DependencyFailed


def slow_square(comm: ev.Communicator, value: int) -> int:
    """Every rank of the gang works on its own part of the sum."""
    part = sum(value for number in range(value) if number % comm.size == comm.rank)
    return int(comm.allreduce(part))


def refuse(value: int) -> int:
    raise ValueError(f"{value} is refused")


def main() -> None:
    with ev.Session() as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=4))
        tasks = ev.TaskManager(session, pilots=[pilot])

        # Gangs of 1, 2 and 3 ranks: those that fit together run at the same time.
        squares = {tasks.options(ranks=n).submit(slow_square, n * 1000): n for n in (1, 2, 3)}
        for task in as_completed(squares):
            assert task.result() == (squares[task] * 1000) ** 2
        print("squares:", sorted(task.result() for task in squares))

        # A Task as an argument makes the graph; what it needs waits on the agent, not here.
        table = tasks.from_arrow(pa.table({"k": [3, 1, 2]}), ranks=2)
        smallest = tasks.submit(lambda part: part["k"][0].as_py(), tasks.sort(table, by="k"))
        bad = tasks.submit(refuse, smallest)
        child = tasks.submit(slow_square, bad)
        print("smallest:", smallest.result())

        # A failed task fails those that need it; the first error is at the end of the chain.
        try:
            child.result()
        except DependencyFailed as error:
            print("child failed because:", repr(error.__cause__.__cause__))
        for row in tasks.report().tasks:
            print(f"{row.name:<12} {row.ranks} ranks  {row.state}")


if __name__ == "__main__":
    main()
