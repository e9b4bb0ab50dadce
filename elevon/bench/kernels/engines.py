"""Engines that join and sort one workload, each in its own best form.

An engine gets its input in the form it likes best, outside the clock, and gives a whole result in
memory. All are asked for the same rows; only Elevon and pandas promise a stable order of equal
keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, Protocol

import pyarrow as pa

from elevon.bench.kernels.workload import Workload


class Engine(Protocol):
    """One engine with its tables loaded."""

    def join(self) -> Any:
        """The inner join of left and right by the workload's keys."""

    def sort(self) -> Any:
        """The left table by the workload's keys, ascending."""

    def arrow(self, result: Any) -> pa.Table:
        """A result as an Arrow table, for the check after the clock has stopped."""


class Elevon:
    """The kernels of this package."""

    def __init__(self, work: Workload, threads: int) -> None:
        self._keys, self._threads = work.key_names, threads
        self._left, self._right = work.table("left"), work.table("right")

    def join(self) -> Any:  # noqa: D102
        from elevon.frames.kernels import join

        return join(self._left, self._right, on=self._keys, threads=self._threads)

    def sort(self) -> Any:  # noqa: D102
        from elevon.frames.kernels import sort

        return sort(self._left, by=self._keys, threads=self._threads)

    def arrow(self, result: Any) -> pa.Table:  # noqa: D102
        return result


class DuckDb:
    """DuckDB: the join of Arrow tables and the sort of a table of its own, as each was faster."""

    def __init__(self, work: Workload, threads: int) -> None:
        import duckdb

        self._connection = duckdb.connect(config={"threads": threads})
        self._connection.register("l", work.table("left"))
        self._connection.register("r", work.table("right"))
        self._connection.execute("create table own as from l")
        keys = ", ".join(work.key_names)
        columns = ", ".join(work.payload_names("left") + work.payload_names("right"))
        self._join = f"select {keys}, {columns} from l join r using ({keys})"
        self._sort = f"select * from own order by {keys}"

    def join(self) -> Any:  # noqa: D102
        # A join need not keep an order; it is slower where it does.
        self._connection.execute("set preserve_insertion_order = false")
        return self._connection.sql(self._join).to_arrow_table()

    def sort(self) -> Any:  # noqa: D102
        self._connection.execute("set preserve_insertion_order = true")
        return self._connection.sql(self._sort).to_arrow_table()

    def arrow(self, result: Any) -> pa.Table:  # noqa: D102
        return result


class Polars:
    """Polars; its number of threads is fixed when it is imported."""

    def __init__(self, work: Workload, threads: int) -> None:
        os.environ["POLARS_MAX_THREADS"] = str(threads)
        import polars

        self._keys = work.key_names
        self._left: Any = polars.from_arrow(work.table("left"))
        self._right: Any = polars.from_arrow(work.table("right"))

    def join(self) -> Any:  # noqa: D102
        return self._left.join(self._right, on=self._keys)

    def sort(self) -> Any:  # noqa: D102
        return self._left.sort(self._keys)

    def arrow(self, result: Any) -> pa.Table:  # noqa: D102
        return result.to_arrow()


class PyArrow:
    """Arrow's own engine."""

    def __init__(self, work: Workload, threads: int) -> None:
        pa.set_cpu_count(threads)
        self._keys, self._threads = work.key_names, threads
        self._left, self._right = work.table("left"), work.table("right")

    def join(self) -> Any:  # noqa: D102
        return self._left.join(
            self._right, self._keys, join_type="inner", use_threads=self._threads > 1
        )

    def sort(self) -> Any:  # noqa: D102
        return self._left.sort_by([(name, "ascending") for name in self._keys])

    def arrow(self, result: Any) -> pa.Table:  # noqa: D102
        return result


class Pandas:
    """pandas, which has one thread."""

    def __init__(self, work: Workload, threads: int) -> None:
        self._keys = work.key_names
        self._left, self._right = work.table("left").to_pandas(), work.table("right").to_pandas()

    def join(self) -> Any:  # noqa: D102
        return self._left.merge(self._right, on=self._keys)

    def sort(self) -> Any:  # noqa: D102
        return self._left.sort_values(self._keys, ignore_index=True)

    def arrow(self, result: Any) -> pa.Table:  # noqa: D102
        return pa.Table.from_pandas(result, preserve_index=False)


ENGINES: Final[dict[str, Callable[[Workload, int], Engine]]] = {
    "elevon": Elevon,
    "duckdb": DuckDb,
    "polars": Polars,
    "pyarrow": PyArrow,
    "pandas": Pandas,
}
#: They use one thread, whatever they are told.
ONE_THREAD: Final = frozenset({"pandas"})
