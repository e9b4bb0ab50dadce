"""Your own SPMD function: a private communicator, partitions in, a dataset out."""

import numpy as np
import pyarrow as pa

import elevon as ev

ROWS = 100_000


def make(comm: ev.Communicator, rows: int) -> pa.Table:
    """Each rank makes its share; with returns="dataset" the shares stay where they are."""
    own = np.arange(comm.rank, rows, comm.size)
    return pa.table({"x": own, "y": np.sin(own / 1000.0)})


def standardise(comm: ev.Communicator, table: pa.Table) -> pa.Table:
    """Column y with mean 0 and deviation 1 over all ranks."""
    y = table["y"].to_numpy()
    count, total, squares = comm.allreduce(np.array([len(y), y.sum(), (y**2).sum()]))
    mean = total / count
    deviation = np.sqrt(squares / count - mean**2)
    return table.set_column(1, "y", pa.array((y - mean) / deviation))


def moments(comm: ev.Communicator, table: pa.Table) -> tuple[int, float, float]:
    """Rows, mean and deviation; every rank computes them, rank 0's value is the result."""
    y = table["y"].to_numpy()
    count, total, squares = comm.allreduce(np.array([len(y), y.sum(), (y**2).sum()]))
    return (
        int(count),
        round(abs(float(total / count)), 6),
        round(float(np.sqrt(squares / count)), 6),
    )


def where(comm: ev.Communicator) -> tuple[int, int]:
    return comm.rank, comm.size


def main() -> None:
    with ev.Session() as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=4))
        tasks = ev.TaskManager(session, pilots=[pilot])

        to_dataset = tasks.options(returns="dataset")
        made = to_dataset.options(ranks=4).submit(make, ROWS)
        even = to_dataset.options(ranks=3).submit(standardise, made)
        print("rows, mean, deviation:", tasks.options(ranks=2).submit(moments, even).result())

        # returns="all" gives the value of every rank of the gang, in order.
        print("ranks:", tasks.options(ranks=3, returns="all").submit(where).result())


if __name__ == "__main__":
    main()
