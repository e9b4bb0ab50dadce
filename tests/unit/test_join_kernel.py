"""The hash join kernel: payload of every type, what callers get wrong, duplicates, threads."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elevon import _native
from tests.support.native import EVERY_TYPE, scattered

KEY = [("key", 0, "k")]
PLANS = [
    pytest.param({"partition_bits": 0}, id="in-place"),
    pytest.param({"partition_bits": 4}, id="range"),
    pytest.param({"partition_bits": 4, "hash_always": True}, id="hash"),
    pytest.param({"partition_bits": 4, "wide_rows": True, "segment_rows": 3}, id="wide"),
]


def join(
    left, right, how="inner", output=KEY, on=((0,), (0,)), nulls_equal=False, threads=1, **tuning
):
    chosen = _native.JoinTuning(**tuning)
    result = _native.hash_join(
        left, right, *map(list, on), how, output, nulls_equal, threads, tuning=chosen
    )
    table = pa.table(result)
    table.validate(full=True)
    return table


def keyed(values, **columns):
    return pa.table({"k": pa.array(values, pa.int64()), **columns})


@pytest.mark.parametrize("how", ["inner", "left", "right", "outer"])
@pytest.mark.parametrize("plan", PLANS)
def test_payload_of_every_type_arrives_with_its_row(how, plan):
    payload = scattered(EVERY_TYPE, copies=5)
    number = pa.array(range(payload.num_rows), pa.int64())
    # Every third key has no partner on the left, every fifth row none on the right.
    keys = pc.if_else(pc.equal(pc.bit_wise_and(number, 3), 0), pc.negate(number), number)
    left = payload.add_column(0, "k", number).add_column(1, "row", number)
    right = payload.add_column(0, "k", keys).add_column(1, "row", number)
    output = [
        (side, i, f"{side}{i}") for side in ("left", "right") for i in range(left.num_columns)
    ]
    result = join(left, right, how, output, **plan)
    for side, source in (("left", left), ("right", right)):
        rows = result[f"{side}1"].to_pylist()
        for i, name in enumerate(source.column_names):
            values = source.column(name).to_pylist()
            found = result[f"{side}{i}"]
            assert found.type == source.schema.field(name).type
            assert found.to_pylist() == [None if row is None else values[row] for row in rows], name


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("how", "wanted"), [("semi", [0, 2, 4]), ("anti", [1, 3])])
def test_existence_joins_take_whole_rows_of_the_left(plan, how, wanted):
    rows = pa.concat_tables([EVERY_TYPE, EVERY_TYPE.slice(0, 1)])
    left = rows.add_column(0, "k", pa.array([5, 6, 5, None, 7]))
    right = keyed([7, 5, 5, None])
    output = [("left", i, name) for i, name in enumerate(left.column_names)]
    expected = [left.to_pylist()[row] for row in wanted]
    assert join(left, right, how, output, **plan).to_pylist() == expected


def test_a_result_has_rows_without_columns():
    assert join(keyed([1, 2]), keyed([2, 2]), output=[]).num_columns == 0
    table = _native.hash_join(keyed([1, 2]), keyed([2, 2]), [0], [0], "inner", [])
    assert table.num_rows == 2


def test_a_column_may_be_asked_for_twice_and_nullability_follows_the_kind():
    fields = [pa.field("k", pa.int64(), nullable=False), pa.field("v", pa.int8(), nullable=False)]
    side = pa.table([pa.array([1]), pa.array([2], pa.int8())], schema=pa.schema(fields))
    output = [("left", 1, "a"), ("left", 1, "b"), ("right", 1, "c"), ("key", 0, "k")]
    schema = join(side, side, "left", output).schema
    assert schema.names == ["a", "b", "c", "k"]
    assert [field.nullable for field in schema] == [False, False, True, False]


@pytest.mark.parametrize("how", ["inner", "left", "right", "outer", "semi", "anti"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("left", "right"), [([], []), ([1, None], []), ([], [1, None])])
def test_empty_sides(how, plan, left, right):
    kept = {"left": left, "anti": left, "right": right, "outer": left + right}.get(how, [])
    result = join(keyed(left), keyed(right), how, **plan)
    assert Counter(result["k"].to_pylist()) == Counter(kept)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("threads", [1, 2])
def test_equal_keys_give_every_pair_once(plan, threads):
    left = keyed([7] * 3000, v=pa.array(np.arange(3000)))
    right = keyed([7] * 1500, w=pa.array(np.arange(1500)))
    output = [("left", 1, "v"), ("right", 1, "w")]
    plan = plan | {"segment_rows": 50_000}
    result = join(left, right, output=output, threads=threads, **plan)
    pairs = result["v"].to_numpy() * 1500 + result["w"].to_numpy()
    assert np.array_equal(np.sort(pairs), np.arange(3000 * 1500))


@pytest.mark.parametrize("key", [7, "a string that has no exact code"])
def test_an_existence_join_of_equal_keys_is_not_their_product(key):
    """A product of 200,000 x 200,000 rows would take minutes and 300 GB."""
    side = pa.table({"k": pa.repeat(key, 200_000)})
    assert join(side, side, "semi").num_rows == 200_000
    assert join(side, side, "anti", threads=2).num_rows == 0


def test_a_heavy_key_does_not_slow_its_neighbours_down():
    """With one slot per hash, each of these rows meets the heavy key's list once at most."""
    rng = np.random.default_rng(1)
    heavy = np.concatenate([np.full(300_000, 12345), rng.integers(0, 2**62, 300_000)])
    left = keyed(rng.permutation(heavy[: 300_000 + 1]))
    right = keyed(rng.permutation(heavy[299_999:]))
    result = join(left, right)
    expected = Counter(left["k"].to_pylist())
    assert result.num_rows == sum(expected[key] for key in right["k"].to_pylist())


@pytest.mark.parametrize("how", ["inner", "outer", "anti"])
@pytest.mark.parametrize("hash_always", [False, True])
def test_the_result_does_not_depend_on_timing(how, hash_always):
    rng = np.random.default_rng(2)
    left = keyed(rng.integers(0, 90_000, 100_000), v=pa.array(np.arange(100_000)))
    right = keyed(rng.integers(-5_000, 90_000, 100_000), w=pa.array(np.arange(100_000)))
    output = [*KEY, ("left", 1, "v")]
    plan = {"partition_bits": 5, "hash_always": hash_always}
    first = join(left, right, how, output, threads=3, **plan)
    assert first.equals(join(left, right, how, output, threads=3, **plan))
    alone = join(left, right, how, output, threads=1, **plan)
    order = [("k", "ascending"), ("v", "ascending")]
    assert first.sort_by(order).equals(alone.sort_by(order))


def test_two_wide_columns_are_compared_and_two_narrow_ones_packed():
    rng = np.random.default_rng(3)
    for spread in (2**62, 50):
        columns = [rng.integers(-spread, spread, 500) for _ in range(2)]
        left = pa.table({"a": columns[0], "b": columns[1]})
        right = pa.table({"b": columns[1][::-1], "a": columns[0][::-1]})
        output = [("key", 0, "a"), ("key", 1, "b")]
        result = join(left, right, output=output, on=((0, 1), (1, 0)))
        pairs = Counter(zip(columns[0].tolist(), columns[1].tolist(), strict=True))
        assert result.num_rows == sum(count**2 for count in pairs.values())


INTEGERS = keyed([1])
STRINGS = pa.table({"k": ["a"]})
LISTS = pa.table({"k": [[1]]})


@pytest.mark.parametrize(
    ("left", "right", "arguments", "words"),
    [
        (INTEGERS, STRINGS, {}, '"k" .int64. and "k" .utf8. cannot be compared'),
        (LISTS, LISTS, {}, "cannot be compared"),
        (INTEGERS, pa.table({"k": pa.array([1], pa.uint64())}), {}, "cannot be compared"),
        (INTEGERS, INTEGERS, {"how": "cross"}, "how must be inner"),
        (INTEGERS, INTEGERS, {"output": [("middle", 0, "x")]}, "left, right or key"),
        (INTEGERS, INTEGERS, {"output": [("key", 1, "x")]}, "no key pair 1"),
        (INTEGERS, INTEGERS, {"output": [("key", -1, "x")]}, "no key pair -1"),
        (INTEGERS, INTEGERS, {"output": [("left", 1, "x")]}, "column 1"),
        (INTEGERS, INTEGERS, {"how": "semi", "output": [("right", 0, "x")]}, "no right columns"),
        (INTEGERS, INTEGERS, {"on": ((), ())}, "at least one"),
        (INTEGERS, INTEGERS, {"on": ((0, 0), (0,))}, "as many left as right"),
        (INTEGERS, INTEGERS, {"on": ((2,), (0,))}, "column 2"),
        (INTEGERS, INTEGERS, {"threads": 0}, "threads"),
        (INTEGERS, INTEGERS, {"partition_bits": 60}, "tuning"),
    ],
)
def test_what_a_caller_gets_wrong_is_a_value_error(left, right, arguments, words):
    with pytest.raises(ValueError, match=words):
        join(left, right, **arguments)


def test_no_table_is_a_type_error():
    with pytest.raises(TypeError, match="__arrow_c_stream__"):
        join([1, 2], INTEGERS)
