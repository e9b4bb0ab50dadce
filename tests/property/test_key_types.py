"""Keys and payloads of every type: the right rows on any number of ranks, or an error of ours."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from elevon.errors import ElevonError, ResourceError, SchemaError, UsageError
from elevon.frames import kernels
from elevon.frames.join_sort.distributed import join, sort
from elevon.frames.schema import join_plan
from elevon.testing.threads import ThreadGroup

SIZES = (1, 2, 3)
ONE, TWO, THREE = Decimal(1), Decimal(2), Decimal(3)
TEXT = ["b", "a", None, "c", "a"]


def dictionary(indices: list[int | None], values: Any, ordered: bool = False) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), values, ordered=ordered)


def bool8(values: list[int | None]) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.bool8(), pa.array(values, pa.int8()))


#: In each family every type joins with every other, by value.
FAMILIES: dict[str, dict[str, pa.Array]] = {
    "numbers": {
        "null": pa.nulls(4),
        "int64": pa.array([1, 2, None, 3]),
        "int8": pa.array([1, 2, None, 3], pa.int8()),
        "uint64": pa.array([1, 2, None, 3], pa.uint64()),
        "dictionary": pa.array([1, 2, None, 3]).dictionary_encode(),
        "null in dictionary": dictionary([1, 2, 0, 3], pa.array([None, 1, 2, 3])),
        "decimal128(10, 2)": pa.array([ONE, TWO, None, THREE], pa.decimal128(10, 2)),
        "decimal128(20, 5)": pa.array([ONE, TWO, None, THREE], pa.decimal128(20, 5)),
    },
    "text": {
        "null": pa.nulls(5),
        "string": pa.array(TEXT),
        "large_string": pa.array(TEXT, pa.large_string()),
        "string_view": pa.array(TEXT, pa.string_view()),
        "dictionary": pa.array(TEXT).dictionary_encode(),
        "of views": dictionary([1, 0, None, 2, 0], pa.array(["a", "b", "c"], pa.string_view())),
        "ordered": dictionary([2, 1, None, 0, 1], pa.array(["c", "a", "b"]), True),
        "null in dictionary": dictionary([0, 2, 1, 3, 2], pa.array(["b", None, "a", "c"])),
    },
    "truth": {"bool8": bool8([1, 5, None, 0]), "other": bool8([7, 0, None, 0])},
}
PAIRS = [
    (family, left, right)
    for family, columns in FAMILIES.items()
    for left, right in itertools.product(columns, repeat=2)
]


def part(table: pa.Table, comm: Any) -> pa.Table:
    begin, end = (table.num_rows * r // comm.size for r in (comm.rank, comm.rank + 1))
    return table.slice(begin, end - begin)


def values(column: pa.Array) -> list[Any]:
    """As Python compares them: numbers by value, and any bool8 but 0 is true."""
    if isinstance(column.type, pa.BaseExtensionType):
        return [None if one is None else bool(one) for one in column.storage.to_pylist()]
    return list(column.to_pylist())


def rows_of(parts: list[pa.Table], *names: str) -> list[tuple[Any, ...]]:
    """The rows of all parts, sorted; nested values as text, so that they can be."""
    plain = [
        [value if isinstance(value, int) else str(value) for value in one[name].to_pylist()]
        for name in names
        for one in [pa.concat_tables(parts)]
    ]
    return sorted(zip(*plain, strict=True))


@pytest.mark.parametrize("nulls_equal", [False, True])
@pytest.mark.parametrize(("family", "left", "right"), PAIRS)
def test_keys_join_by_value(family: str, left: str, right: str, nulls_equal: bool) -> None:
    keys = FAMILIES[family][left], FAMILIES[family][right]
    here = pa.table({"k": keys[0], "x": range(len(keys[0]))})
    there = pa.table({"k": keys[1], "y": range(len(keys[1]))})
    expected = sorted(
        (x, y)
        for (x, one), (y, other) in itertools.product(*map(enumerate, map(values, keys)))
        if one == other and (nulls_equal or one is not None)
    )

    for size in SIZES:
        joined = ThreadGroup(size).run(
            lambda comm: join(
                comm, part(here, comm), part(there, comm), ["k"], ["k"], nulls_equal=nulls_equal
            )
        )
        assert rows_of(joined, "x", "y") == expected, size
        assert all(table.schema == joined[0].schema for table in joined)


#: Order of rows by an ordered dictionary's own order and by that of plain values.
ORDERED = dictionary([0, 2, None, 1, 2, 0], pa.array(["low", "mid", "high"]), True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_an_ordered_dictionary_sorts_by_its_order(size: int, ascending: bool, first: bool) -> None:
    table = pa.table({"level": pa.chunked_array([ORDERED, ORDERED]), "x": range(12)})
    place = "first" if first else "last"
    expected = [*["low"] * 4, *["mid"] * 2, *["high"] * 4]
    expected = expected if ascending else expected[::-1]
    expected = [None, None, *expected] if first else [*expected, None, None]

    sorted_parts = ThreadGroup(size).run(
        lambda comm: sort(comm, part(table, comm), "level", ascending, place)
    )
    assert [level for one in sorted_parts for level in one["level"].to_pylist()] == expected
    local = kernels.sort(table, "level", ascending, place)
    assert local["level"].to_pylist() == expected
    assert local["level"].type.ordered


@pytest.mark.parametrize("how", ["inner", "left", "outer"])
@pytest.mark.parametrize("size", SIZES)
def test_an_ordered_key_that_met_plain_text_has_no_order_left(size: int, how: str) -> None:
    """As in pandas, where it is plain text; in no case another order than before."""
    left = pa.table({"level": dictionary([2, 0, 1], pa.array(["low", "mid", "high"]), True)})
    right = pa.table({"level": ["mid", "low", "high"]})

    joined = ThreadGroup(size).run(
        lambda comm: join(comm, part(left, comm), part(right, comm), ["level"], ["level"], how)
    )
    again = ThreadGroup(size).run(lambda comm: sort(comm, joined[comm.rank], "level"))
    levels = [level for one in again for level in one["level"].to_pylist()]
    assert levels == ["high", "low", "mid"]


@pytest.mark.parametrize("size", SIZES)
def test_an_ordered_payload_keeps_its_order(size: int) -> None:
    """Each rank has rows of its own levels only; what arrives still knows the order of all."""
    levels = dictionary([2, 2, 1, 1, 0, 0], pa.array(["low", "mid", "high"]), True)
    table = pa.table({"k": [0, 1, 2, 3, 4, 5], "level": levels})

    moved = ThreadGroup(size).run(lambda comm: sort(comm, part(table, comm), "k", False))
    again = kernels.sort(pa.concat_tables(moved).combine_chunks(), "level")
    assert again["level"].to_pylist() == ["low", "low", "mid", "mid", "high", "high"]


def test_a_part_of_an_ordered_dictionary_goes_with_the_whole() -> None:
    part_of = dictionary([1, 0], pa.array(["low", "high"]), True)
    whole = dictionary([1, 2], pa.array(["low", "mid", "high"]), True)
    table = pa.table({"level": pa.chunked_array([part_of, whole])})

    for size in SIZES:
        parts = ThreadGroup(size).run(lambda comm: sort(comm, part(table, comm), "level"))
        levels = [level for one in parts for level in one["level"].to_pylist()]
        assert levels == ["low", "mid", "high", "high"]


def test_orders_that_contradict_each_other_are_refused() -> None:
    up = dictionary([0, 1], pa.array(["low", "high"]), True)
    down = dictionary([0, 1], pa.array(["high", "low"]), True)
    table = pa.table({"level": pa.chunked_array([up, down]), "k": range(4)})

    with pytest.raises(UsageError, match="different orders"):
        ThreadGroup(1).run(lambda comm: sort(comm, table, "k"))


PAYLOADS: dict[str, pa.Array] = {
    "dictionary of lists": dictionary([0, 1, None, 0], pa.array([[1], [2]])),
    "dictionary of structs": dictionary([0, 1, None, 0], pa.array([{"a": 1}, {"a": 2}])),
    "null dictionary": dictionary([0, None, 0, 0], pa.nulls(1)),
    "tensor": pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int8(), [2, 1], permutation=[1, 0]),
        pa.array([[1, 2], [3, 4], [5, 6], [7, 8]], pa.list_(pa.int8(), 2)),
    ),
    "map": pa.array([[(1, 2)], None, [], [(3, 4)]], pa.map_(pa.int8(), pa.int8())),
    "list view": pa.array([[1], None, [2, 3], []], pa.list_view(pa.int8())),
    "union": pa.UnionArray.from_sparse(
        pa.array([0, 1, 0, 1], pa.int8()), [pa.array([1, 2, 3, 4]), pa.array(list("abcd"))]
    ),
    "run end encoded": pa.RunEndEncodedArray.from_arrays([2, 4], [1, 2]),
    "month_day_nano": pa.array([(1, 2, 3)] * 4, pa.month_day_nano_interval()),
}
REFUSED = {"union", "run end encoded"}


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_come_along_or_are_refused_by_name(name: str) -> None:
    column = PAYLOADS[name]
    table = pa.table({"p": pa.chunked_array([column, column]), "k": [3, 1, 2, 0, 7, 6, 5, 4]})
    told = table["p"].to_pylist() if name not in REFUSED else []
    expected = [told[at] for at in (3, 1, 2, 0, 7, 6, 5, 4)] if told else []

    for size in SIZES:
        group = ThreadGroup(size)
        if name in REFUSED:
            with pytest.raises(SchemaError, match="'p'"):
                group.run(lambda comm: sort(comm, part(table, comm), "k"))
            continue
        ordered = group.run(lambda comm: sort(comm, part(table, comm), "k"))
        assert [row for one in ordered for row in one["p"].to_pylist()] == expected
        joined = group.run(
            lambda comm: join(
                comm, part(table, comm), part(table.select(["k"]), comm), ["k"], ["k"], "left"
            )
        )
        assert rows_of(joined, "k", "p") == list(enumerate(map(str, expected)))


def test_a_result_without_room_says_how_many_rows_it_would_have() -> None:
    left, right = pa.table({"k": [1, 1, 2, None]}), pa.table({"k": [1, 1, 1, 3, None]})

    with (
        mock.patch.object(join_plan._native, "hash_join", side_effect=MemoryError),
        pytest.raises(ResourceError, match="6 pairs of equal keys") as told,
    ):
        kernels.join(left, right, on="k")
    assert isinstance(told.value, ElevonError)
