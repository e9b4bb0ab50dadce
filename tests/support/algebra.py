"""What the tests of the table algebra share: DuckDB as the oracle, and comparable rows."""

from __future__ import annotations

import math

import duckdb
import pyarrow as pa
import pytest

from elevon.errors import UsageError
from elevon.testing.threads import ThreadGroup
from tests.support.frames import plain

DUCKDB = duckdb.connect()


def ask(query: str, **tables: pa.Table) -> pa.Table:
    """What DuckDB answers; the tables are called as the arguments are."""
    for name, table in tables.items():
        DUCKDB.register(name, without_durations(table))
    return DUCKDB.sql(query).to_arrow_table()


def without_durations(table: pa.Table) -> pa.Table:
    """DuckDB has intervals of months, days and nanoseconds instead; a count will do."""
    schema = [
        pa.field(field.name, pa.int64()) if pa.types.is_duration(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(schema))


def rows_of(table: pa.Table) -> list[tuple[object, ...]]:
    """The rows in order, each value equal to what the engines call equal."""
    columns = [column.to_pylist() for column in without_durations(table).columns]
    return [tuple(plain(value) for value in row) for row in zip(*columns, strict=True)]


def about_equal(found: pa.Table, expected: pa.Table, keys: int) -> bool:
    """Whether two tables hold the same rows in any order, floats after the keys but for rounding.

    The first ``keys`` columns must name a row.
    """
    assert found.column_names == expected.column_names
    left = {row[:keys]: row[keys:] for row in rows_of(found)}
    right = {row[:keys]: row[keys:] for row in rows_of(expected)}
    assert len(left) == found.num_rows, "a key is there twice"
    assert left.keys() == right.keys()
    return all(close(a, b) for key in left for a, b in zip(left[key], right[key], strict=True))


def close(a: object, b: object) -> bool:
    """Whether two values are equal but for rounding."""
    if isinstance(a, str | bytes) or a is None or b is None or isinstance(b, str | bytes):
        return a == b
    if isinstance(a, float) or isinstance(b, float):
        return math.isclose(float(a), float(b), rel_tol=1e-9, abs_tol=1e-9)
    return a == b


def errors_of(size, function):
    """What each rank raised; it must have come out of the collectives without a deadline."""

    def run(comm):
        with pytest.raises(UsageError) as caught:
            function(comm)
        comm.barrier()
        return caught.value

    return ThreadGroup(size, timeout_s=20).run(run)


def shared(table: pa.Table, comm) -> pa.Table:
    """The rank's even share of the rows."""
    start = table.num_rows * comm.rank // comm.size
    return table.slice(start, table.num_rows * (comm.rank + 1) // comm.size - start)
