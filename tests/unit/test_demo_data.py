"""What the demonstrations compute and check, without a pilot."""

from __future__ import annotations

import itertools

import pandas as pd
import pyarrow as pa
import pytest

from elevon.cli import flights, flights_check, synthetic_data
from elevon.testing.threads import ThreadGroup


def test_a_synthetic_table_does_not_depend_on_how_it_is_cut() -> None:
    rows = 3 * synthetic_data.BLOCK_ROWS + 17
    whole = synthetic_data.rows_of(1, rows, 0, rows)
    cuts = [
        0,
        1,
        synthetic_data.BLOCK_ROWS,
        synthetic_data.BLOCK_ROWS + 5,
        rows - 1,
        rows - 1,
        rows,
    ]
    parts = [synthetic_data.rows_of(1, rows, a, b) for a, b in itertools.pairwise(cuts)]

    assert pa.concat_tables(parts).combine_chunks() == whole.combine_chunks()
    assert whole != synthetic_data.rows_of(2, rows, 0, rows)


def test_the_checksum_sees_values_and_columns_but_not_the_order() -> None:
    table = pa.table({"k": [1, 2, 3], "v": [4, 5, 6]})
    total = synthetic_data.row_sum(table)

    assert synthetic_data.row_sum(table.take([2, 0, 1])) == total
    assert synthetic_data.row_sum(table.select(["v", "k"])) != total
    assert synthetic_data.row_sum(table.slice(0, 2)) != total


@pytest.mark.parametrize(
    ("parts", "in_order"),
    [
        ([[1, 2], [2, 3], [3]], True),
        ([[1, 2], [], [2]], True),
        ([[], [], []], True),
        ([[1, 3], [2, 4], [5]], False),
        ([[1, 2], [5, 4, 6], [7]], False),
        ([[3], [], [2]], False),
    ],
)
def test_order_is_examined_on_every_rank_and_between_ranks(
    parts: list[list[int]], in_order: bool
) -> None:
    tables = [pa.table({"k": pa.array(part, pa.int64()), "v": part}) for part in parts]
    tables = [table.cast(pa.schema([("k", pa.int64()), ("v", pa.int64())])) for table in tables]
    found = ThreadGroup(3).run(lambda comm: synthetic_data.examine(comm, tables[comm.rank]))
    rows = sum(map(len, parts))
    total = synthetic_data.row_sum(pa.concat_tables(tables).combine_chunks())

    assert found == [(rows, f"{total:016x}", in_order)] * 3


def test_delays_by_visibility_are_means_over_all_ranks() -> None:
    tables = [
        pa.table({"visib": [0.2, 10.0], "dep_delay": [10, None]}),
        pa.table({"visib": [0.9, None], "dep_delay": [20, 7]}),
        pa.table({"visib": [10.0], "dep_delay": [-4]}),
    ]
    found = ThreadGroup(3).run(lambda comm: flights.delay_by_visibility(comm, tables[comm.rank]))

    assert found == [[(0, 2, 15.0), (10, 1, -4.0)]] * 3


def small_flights() -> pd.DataFrame:
    return pd.DataFrame({"dep_delay": [3.0, None, 7.0], "visib": [1.0, 1.0, 2.5]})


def test_differences_to_pandas_are_named() -> None:
    expected = small_flights()
    means = [(1, 1, 3.0), (2, 1, 7.0)]
    ordered = pa.Table.from_pandas(expected.iloc[[2, 0, 1]], preserve_index=False)

    def found(table: pa.Table, by_visibility: list[tuple[int, int, float]]) -> str:
        return "; ".join(flights_check.differences(table, by_visibility, expected))

    assert found(ordered, means) == ""
    assert "descending" in found(ordered.take([1, 0, 2]), means)
    assert "visibility" in found(ordered, means[:1])
    assert "2 rows" in found(ordered.slice(0, 2), means)
    changed = ordered.set_column(1, "visib", pa.array([2.5, 1.0, 9.0]))
    assert "1 rows are missing, in columns ['visib']" in found(changed, means)
    assert "columns" in found(ordered.select(["dep_delay"]), means)
