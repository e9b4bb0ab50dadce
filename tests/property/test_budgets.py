"""Every operator under budgets so small that it works in slices, rounds and parts on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.errors import DescriptionError
from elevon.frames.exchange.partitioning import Layout
from elevon.frames.join_sort.distributed import join, sort
from elevon.frames.memory import budget, partitioned
from elevon.frames.memory.spill import Spill
from elevon.frames.operators import rolling as windows
from elevon.frames.operators import spilled_groups
from elevon.frames.operators.expressions import filter_rows, project
from elevon.frames.operators.groupby import groupby
from elevon.frames.operators.ranking import rank_rows
from elevon.frames.operators.rolling import rolling
from elevon.frames.operators.selection import select
from elevon.frames.operators.sets import combine_sets, drop_duplicates
from elevon.frames.operators.slices import concat, equals, repartition
from elevon.model.algebra import Aggregate, Window
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import about_equal, rows_of, shared
from tests.support.frames import KEYS, SIZES, multiset, partitions
from tests.support.native import EVERY_TYPE, scattered

BUDGETS = [1, 500, 5000]


@pytest.fixture(autouse=True, scope="module")
def few_rows_are_worth_a_round() -> Iterator[None]:
    with (
        mock.patch.object(budget, "FEWEST_ROWS", 8),
        mock.patch.object(partitioned, "FEWEST_ROWS", 8),
        mock.patch.object(windows, "FEWEST_ROWS", 8),
    ):
        yield


def with_values(part: pa.Table) -> pa.Table:
    """Values beside the keys: numbers with nulls and NaN, and text."""
    rows = part["row"].to_numpy()
    real = np.where(rows % 11 == 0, np.nan, (rows * 7 % 13) / 4 - 1)
    values = pa.array(real, mask=rows % 5 == 0)
    text = pa.array([f"text {row % 6}" for row in rows.tolist()], pa.string_view())
    return part.append_column("x", values).append_column("s", text)


@st.composite
def parts_of(draw, size: int, keys: int = 2) -> list[pa.Table]:
    kinds = draw(st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=keys))
    return [with_values(part) for part in draw(partitions(kinds, size, "row", 90))]


def together(size, function):
    return ThreadGroup(size, timeout_s=60).run(function)


def keys_of(part: pa.Table) -> list[str]:
    return [name for name in part.column_names if name.startswith("k")]


AGGREGATES = [
    Aggregate("n", "row", "size"),
    Aggregate("total", "row", "sum"),
    Aggregate("mean", "x", "mean"),
    Aggregate("spread", "x", "std"),
    Aggregate("low", "x", "min"),
    Aggregate("last", "s", "max"),
    Aggregate("kinds", "s", "nunique"),
    Aggregate("values", "x", "nunique"),
    Aggregate("half", "row", "quantile", 0.5),
    Aggregate("most", "x", "quantile", 0.9),
]


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    dropna=st.booleans(),
    limit=st.sampled_from(BUDGETS),
)
def test_groups(data, size, dropna, limit):
    parts = data.draw(parts_of(size))
    keys = keys_of(parts[0])
    wanted = data.draw(st.lists(st.sampled_from(AGGREGATES), min_size=1, unique=True))

    def run(memory):
        return pa.concat_tables(
            together(
                size,
                lambda comm: groupby(
                    comm, parts[comm.rank], keys, wanted, dropna, memory_bytes=memory
                ),
            )
        )

    found, expected = run(limit), run(None)
    assert found.schema == expected.schema
    assert about_equal(found, expected, len(keys))


@settings(deadline=None, max_examples=30)
@given(data=st.data(), size=st.sampled_from(SIZES), limit=st.sampled_from(BUDGETS))
def test_aggregates_of_all_rows(data, size, limit):
    parts = data.draw(parts_of(size))
    wanted = data.draw(st.lists(st.sampled_from(AGGREGATES), min_size=1, unique=True))

    def run(memory):
        return pa.concat_tables(
            together(
                size,
                lambda comm: groupby(comm, parts[comm.rank], [], wanted, memory_bytes=memory),
            )
        )

    found, expected = run(limit), run(None)
    assert found.schema == expected.schema
    assert found.num_rows == expected.num_rows == 1
    assert about_equal(found, expected, 0)


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    keep=st.sampled_from(["first", "last"]),
    limit=st.sampled_from(BUDGETS),
)
def test_different_rows(data, size, keep, limit):
    parts = data.draw(parts_of(size))

    def run(memory):
        return together(
            size,
            lambda comm: drop_duplicates(
                comm, parts[comm.rank], keys_of(parts[0]), keep, memory_bytes=memory
            )["row"].to_pylist(),
        )

    assert run(limit) == run(None)


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    kind=st.sampled_from(["union", "intersect", "subtract"]),
    limit=st.sampled_from(BUDGETS),
)
def test_sets(data, size, kind, limit):
    columns = data.draw(st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=2))
    sides = [data.draw(partitions(columns, size, "row", 60)) for _ in range(2)]
    left, right = ([part.drop_columns(["row"]) for part in side] for side in sides)

    def run(memory):
        return together(
            size,
            lambda comm: rows_of(
                combine_sets(comm, kind, left[comm.rank], right[comm.rank], memory_bytes=memory)
            ),
        )

    assert run(limit) == run(None)


@settings(deadline=None, max_examples=30)
@given(data=st.data(), size=st.sampled_from(SIZES), limit=st.sampled_from(BUDGETS))
def test_rows_that_move(data, size, limit):
    parts = data.draw(parts_of(size))
    whole = pa.concat_tables(parts)

    def run(comm, memory):
        own = parts[comm.rank]
        tables = (
            repartition(comm, own, memory_bytes=memory),
            repartition(comm, own, ["k0"], memory_bytes=memory),
            concat(comm, [own, own], memory_bytes=memory),
        )
        return tables, [
            equals(comm, tables[0], own, ordered, memory_bytes=memory) for ordered in (True, False)
        ]

    found = together(size, lambda comm: run(comm, limit))
    expected = together(size, lambda comm: run(comm, None))
    for (few, same), (all_at_once, _) in zip(found, expected, strict=True):
        assert same == [True, True]
        for one, other in zip(few, all_at_once, strict=True):
            assert multiset(one) == multiset(other)
    even = pa.concat_tables(tables[0] for tables, _ in found)
    assert even["row"].to_pylist() == whole["row"].to_pylist()


@settings(deadline=None, max_examples=30)
@given(data=st.data(), size=st.sampled_from(SIZES), limit=st.sampled_from(BUDGETS))
def test_one_different_row_is_found(data, size, limit):
    parts = data.draw(parts_of(size))
    rows = sum(part.num_rows for part in parts)
    if not rows:
        return
    odd = data.draw(st.integers(0, rows - 1))

    def changed(part):
        row = pc.if_else(pc.equal(part["row"], odd), -1, part["row"])
        return part.set_column(part.schema.get_field_index("row"), "row", row)

    def run(comm):
        own = parts[comm.rank]
        other = repartition(comm, changed(own))
        return [equals(comm, own, other, how, memory_bytes=limit) for how in (True, False)]

    assert together(size, run) == [[False, False]] * size


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    method=st.sampled_from(["average", "min", "max", "first", "dense"]),
    ascending=st.booleans(),
    limit=st.sampled_from(BUDGETS),
)
def test_ranks(data, size, method, ascending, limit):
    parts = data.draw(parts_of(size, 1))

    def run(memory):
        ranked = together(
            size,
            lambda comm: rank_rows(
                comm, parts[comm.rank], "k0", method, ascending, memory_bytes=memory
            ),
        )
        return rows_of(pa.concat_tables(ranked).select(["row", "rank"]))

    assert run(limit) == run(None)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), size=st.sampled_from(SIZES), window=st.integers(1, 7))
def test_windows(data, size, window):
    parts = data.draw(parts_of(size, 1))
    functions = ["sum", "mean", "min", "max", "count", "var", "std"]
    columns = [Window(f"{name} of {of}", of, name) for name in functions for of in ("x", "row")]
    limit = (window + 8) * windows.ROW_BYTES + 1

    def run(memory):
        return together(
            size,
            lambda comm: rows_of(
                rolling(comm, parts[comm.rank], window, columns, 1, memory_bytes=memory)
            ),
        )

    assert run(limit) == run(None)


def test_a_window_beyond_the_budget_is_refused_on_every_rank():
    table = pa.table({"x": np.arange(1000.0)})

    def run(comm):
        with pytest.raises(DescriptionError, match=r"a window of 500 rows takes .* more than"):
            rolling(comm, table, 500, [Window("m", "x", "mean")], memory_bytes=10_000)
        return True

    assert together(3, run) == [True] * 3


@settings(deadline=None, max_examples=30)
@given(data=st.data(), size=st.sampled_from(SIZES), limit=st.sampled_from(BUDGETS))
def test_expressions(data, size, limit):
    parts = data.draw(parts_of(size))

    def run(memory):
        return together(
            size,
            lambda comm: [
                rows_of(filter_rows(comm, parts[comm.rank], pc.field("x") > 0, memory)),
                rows_of(
                    project(
                        comm,
                        parts[comm.rank],
                        {"twice": pc.field("row") * 2, "s": "s"},
                        True,
                        memory,
                    )
                ),
            ],
        )

    assert run(limit) == run(None)


@settings(deadline=None, max_examples=30)
@given(data=st.data(), size=st.sampled_from(SIZES), limit=st.sampled_from(BUDGETS))
def test_groups_that_are_whole_on_their_ranks(data, size, limit):
    """Rows that lie by their keys already: nothing but the parts of each rank's own keys."""
    parts = data.draw(parts_of(size, 1))

    def run(comm, memory):
        own = repartition(comm, parts[comm.rank], ["k0"])
        layout = Layout(("k0",), (str(own.schema.field("k0").type),), comm.size, comm.rank)
        return groupby(comm, own, ["k0"], AGGREGATES, True, layout=layout, memory_bytes=memory)

    found = pa.concat_tables(together(size, lambda comm: run(comm, limit)))
    expected = pa.concat_tables(together(size, lambda comm: run(comm, None)))
    assert about_equal(found, expected, 1)


@pytest.mark.parametrize("size", [1, 3])
def test_columns_of_every_type_come_back_from_the_disk(size):
    table = scattered(EVERY_TYPE, copies=30)
    rows = pa.array(range(table.num_rows), pa.int64())
    table = table.append_column("row", rows).append_column("k", pc.bit_wise_and(rows, 15))
    other = pa.table({"k": pa.array(range(12), pa.int64()), "y": [str(i) for i in range(12)]})

    def run(comm, memory):
        own = shared(table, comm)
        return (
            sort(comm, own, ["k"], memory_bytes=memory),
            join(comm, own, shared(other, comm), ["k"], ["k"], "left", memory_bytes=memory),
            drop_duplicates(comm, own, ["utf8", "k"], memory_bytes=memory),
            rank_rows(comm, own, "int32", memory_bytes=memory),
            repartition(comm, own, ["row"], memory_bytes=memory),
            concat(comm, [own, own], memory_bytes=memory),
        )

    found = together(size, lambda comm: run(comm, 2000))
    expected = together(size, lambda comm: run(comm, None))
    for number in range(6):
        few, whole = (pa.concat_tables(part[number] for part in all) for all in (found, expected))
        assert few.schema == whole.schema
        assert sorted(map(repr, few.to_pylist())) == sorted(map(repr, whole.to_pylist()))


# ------------------------------------------------------------------ one key, many rows


@pytest.mark.parametrize("size", [1, 3])
def test_a_group_beyond_the_budget_has_its_quantile_and_its_different_values(size, monkeypatch):
    """Its values are never in memory at once: they are counted where they lie on the disk."""
    values = np.random.default_rng(3).normal(size=6000)
    values[:100], values[100:200] = np.nan, -0.0
    table = pa.table({"k": ["heavy"] * 5000 + ["light"] * 1000, "x": values})
    wanted = [Aggregate("m", "x", "quantile", 0.3), Aggregate("n", "x", "nunique")]
    pieces, selected = [], []

    def watched(spill, *rows):
        pieces.append(rows[0].nbytes)
        return write(spill, *rows)

    def counting(*arguments):
        selected.append(arguments)
        return select_in(*arguments)

    write, select_in = Spill.write_packed, spilled_groups._select_in
    monkeypatch.setattr(Spill, "write_packed", watched)
    monkeypatch.setattr(spilled_groups, "_select_in", counting)

    def run(comm, memory):
        return groupby(comm, shared(table, comm), ["k"], wanted, memory_bytes=memory)

    found = pa.concat_tables(together(size, lambda comm: run(comm, 20_000)))
    expected = pa.concat_tables(together(1, lambda comm: run(comm, None)))
    assert about_equal(found, expected, 1)
    assert selected
    assert 0 < max(pieces) < 20_000


@given(
    values=st.lists(st.floats() | st.sampled_from([0.0, -0.0, np.nan]), min_size=1, max_size=40),
    groups=st.integers(1, 3),
)
def test_selection_is_the_sorted_order(values, groups):
    numbers = np.arange(len(values)) % groups
    reals = np.array(values, dtype=np.float64)
    for place in range(len(values) // groups):
        found = select(lambda: [(numbers, reals)], np.full(groups, place))
        for group in range(groups):
            ordered = np.sort(reals[numbers == group])
            np.testing.assert_equal(found[group] + 0.0, ordered[place] + 0.0)
