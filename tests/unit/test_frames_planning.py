"""Key types, the columns of a join's result, and errors that help."""

import warnings

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from elevon.errors import DescriptionError, SchemaError
from elevon.frames.schema.join_plan import cast_keys, find_column, plan_join
from elevon.frames.schema.key_types import common_key_type, is_key_type
from elevon.frames.schema.sort_plan import Order, plan_sort

COMMON = [
    (pa.int8(), pa.int64(), pa.int64()),
    (pa.int32(), pa.uint8(), pa.int32()),
    (pa.uint16(), pa.int16(), pa.int32()),
    (pa.uint64(), pa.int8(), pa.decimal128(20, 0)),
    (pa.float32(), pa.float64(), pa.float64()),
    (pa.int32(), pa.float32(), pa.float64()),
    (pa.uint8(), pa.float32(), pa.float32()),
    (pa.int64(), pa.float64(), None),
    (pa.decimal128(5, 2), pa.decimal128(9, 4), pa.decimal128(9, 4)),
    (pa.decimal128(12, 2), pa.int32(), pa.decimal128(12, 2)),
    (pa.decimal128(38, 0), pa.decimal128(38, 10), None),
    (pa.string(), pa.large_string(), pa.large_string()),
    (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
    (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.string()), pa.string()),
    (pa.binary(), pa.binary(4), pa.binary()),
    (pa.string(), pa.binary(), None),
    (pa.date32(), pa.date64(), pa.date64()),
    (pa.date32(), pa.timestamp("s"), None),
    (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
    (pa.timestamp("ms", "UTC"), pa.timestamp("s", "Asia/Tokyo"), pa.timestamp("ms", "UTC")),
    (pa.timestamp("us", "UTC"), pa.timestamp("us"), None),
    (pa.time32("s"), pa.time64("ns"), pa.time64("ns")),
    (pa.duration("s"), pa.duration("ms"), pa.duration("ms")),
    (pa.null(), pa.int16(), pa.int16()),
    (pa.bool_(), pa.int8(), None),
    (pa.decimal256(50, 2), pa.decimal256(50, 2), pa.decimal256(50, 2)),
    (pa.decimal256(50, 2), pa.int8(), None),
    (pa.uuid(), pa.uuid(), pa.uuid()),
    (pa.uuid(), pa.binary(16), pa.binary(16)),
    (pa.month_day_nano_interval(), pa.month_day_nano_interval(), None),
    (pa.list_(pa.int8()), pa.list_(pa.int8()), None),
    (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int8())]), None),
]


@pytest.mark.parametrize(("left", "right", "expected"), COMMON, ids=str)
def test_two_key_types_meet_in_the_type_that_holds_both(left, right, expected):
    assert common_key_type(left, right) == expected


@pytest.mark.parametrize(("left", "right", "expected"), COMMON, ids=str)
def test_the_common_type_does_not_depend_on_the_side(left, right, expected):
    swapped = common_key_type(right, left)
    if expected is not None and pa.types.is_timestamp(expected):
        assert swapped.unit == expected.unit
    else:
        assert swapped == expected


INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64()]
INTEGERS += [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]


@pytest.mark.parametrize("left", INTEGERS, ids=str)
@pytest.mark.parametrize("right", [*INTEGERS, pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_no_integer_changes_its_value_on_the_way_to_the_common_type(left, right):
    common = common_key_type(left, right)
    if common is None:
        assert left.bit_width == 64
        assert pa.types.is_floating(right)
        return
    signed = pa.types.is_signed_integer(left)
    bits = left.bit_width
    extremes = pa.array(
        [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [2**bits - 1], left
    )
    assert extremes.cast(common).cast(left).equals(extremes)


def test_every_common_type_is_one_that_the_kernels_take():
    assert all(is_key_type(kind) for _, _, kind in COMMON if kind is not None)


NAMES = st.lists(st.sampled_from(["a", "b", "c", "d", "a_x"]), min_size=1, max_size=4, unique=True)
SUFFIXES = st.sampled_from([("_x", "_y"), ("", "_r"), ("_l", None), ("_x", "_x"), ("", "")])


@given(
    left=NAMES,
    right=NAMES,
    picks=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=2),
    how=st.sampled_from(["inner", "left", "right", "outer"]),
    suffixes=SUFFIXES,
)
def test_the_columns_are_those_of_pandas_merge(left, right, picks, how, suffixes):
    left_on = [left[i % len(left)] for i, _ in picks]
    right_on = [right[j % len(right)] for _, j in picks]
    assume(len(set(left_on)) == len(left_on) and len(set(right_on)) == len(right_on))
    expected = _pandas_columns(left, right, left_on, right_on, how, suffixes)

    def schema(names):
        return pa.schema([(name, pa.int64()) for name in names])

    if expected is None:
        with pytest.raises(SchemaError, match=r"two columns|both suffixes"):
            plan_join(schema(left), schema(right), left_on, right_on, how, suffixes)
    else:
        plan = plan_join(schema(left), schema(right), left_on, right_on, how, suffixes)
        assert plan.schema.names == expected
        assert [name for _, _, name in plan.output] == expected


def _pandas_columns(left, right, left_on, right_on, how, suffixes):
    """What pandas would call the columns, or None where it refuses or gives two of one name."""
    frames = [pd.DataFrame({name: [1] for name in names}) for names in (left, right)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            merged = frames[0].merge(
                frames[1], left_on=left_on, right_on=right_on, how=how, suffixes=suffixes
            )
    except ValueError:  # MergeError is one, too
        return None
    names = list(merged.columns)
    return names if len(set(names)) == len(names) else None


def test_a_shared_key_has_the_type_of_the_side_its_rows_come_from():
    left, right = pa.schema([("k", pa.int32())]), pa.schema([("k", pa.int64())])
    types = {
        how: plan_join(left, right, ["k"], ["k"], how).schema.field("k").type
        for how in ("inner", "left", "right", "outer", "semi", "anti")
    }
    assert types == {
        "inner": pa.int32(),
        "left": pa.int32(),
        "right": pa.int64(),
        "outer": pa.int64(),
        "semi": pa.int32(),
        "anti": pa.int32(),
    }


def test_keys_of_different_names_keep_both_columns_and_types():
    left, right = pa.schema([("a", pa.int32())]), pa.schema([("b", pa.int64())])
    plan = plan_join(left, right, ["a"], ["b"], "outer")
    assert plan.schema == pa.schema([("a", pa.int32()), ("b", pa.int64())])
    assert plan.key_types == (pa.int64(),)


def test_a_missing_column_is_named_with_the_closest_one():
    schema = pa.schema([("origin", pa.string()), ("dest", pa.string())])
    with pytest.raises(SchemaError, match=r"no column 'orign'.*'dest'.*did you mean 'origin'"):
        find_column(schema, "orign", "the left table")


def test_a_name_that_two_columns_have_is_refused():
    schema = pa.schema([("a", pa.string()), ("a", pa.string())])
    with pytest.raises(SchemaError, match="2 columns called 'a'"):
        find_column(schema, "a", "the table")


def test_key_types_that_do_not_fit_are_named():
    left, right = pa.schema([("k", pa.int64())]), pa.schema([("j", pa.string())])
    with pytest.raises(SchemaError, match=r"'k' \(int64\) with 'j' \(string\)"):
        plan_join(left, right, ["k"], ["j"])


@pytest.mark.parametrize(
    "kind",
    [
        pa.run_end_encoded(pa.int32(), pa.string()),
        pa.sparse_union([pa.field("a", pa.int8())]),
        pa.list_(pa.struct([("u", pa.dense_union([pa.field("a", pa.int8())]))])),
    ],
    ids=str,
)
def test_a_type_that_cannot_be_moved_is_refused_by_name(kind):
    odd, even = pa.schema([("k", pa.int8()), ("v", kind)]), pa.schema([("k", pa.int8())])
    for plan in (
        lambda: plan_join(odd, even, ["k"], ["k"]),
        lambda: plan_join(even, odd, ["k"], ["k"]),
        lambda: plan_sort(odd, "k"),
    ):
        with pytest.raises(SchemaError, match="column 'v' has the type"):
            plan()


@pytest.mark.parametrize(
    ("left_on", "right_on", "how", "message"),
    [
        (["k"], ["k"], "cross", "cross"),
        ([], [], "inner", "at least one"),
        (["k"], [], "inner", "k"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(left_on, right_on, how, message):
    schema = pa.schema([("k", pa.int64())])
    with pytest.raises(DescriptionError, match=message):
        plan_join(schema, schema, left_on, right_on, how)


def test_a_value_that_the_common_type_cannot_hold_is_an_error_that_says_so():
    year_9999 = pa.array([253402300799], pa.timestamp("s"))
    with pytest.raises(SchemaError, match=r"'t' \(timestamp\[s\]\)"):
        cast_keys(pa.table({"t": year_9999}), [0], [pa.timestamp("ns")])


def test_columns_that_fit_are_shared_not_copied():
    table = pa.table({"k": pa.array([1, 2], pa.int64()), "v": [3, 4]})
    assert cast_keys(table, [0], [pa.int64()]) is table


def test_one_direction_stands_for_all_keys():
    schema = pa.schema([("a", pa.int8()), ("b", pa.string())])
    order = plan_sort(schema, ["b", "a"], False, "first")
    assert order == Order((1, 0), (False, False), (True, True))


@pytest.mark.parametrize(
    ("by", "ascending", "na_position", "error"),
    [
        ([], [], "last", DescriptionError),
        (["a"], [True, False], "last", DescriptionError),
        (["a"], True, "middle", DescriptionError),
        (["z"], True, "last", SchemaError),
        (["l"], True, "last", SchemaError),
    ],
)
def test_a_sort_that_makes_no_sense_is_refused(by, ascending, na_position, error):
    schema = pa.schema([("a", pa.int8()), ("l", pa.list_(pa.int8()))])
    with pytest.raises(error):
        plan_sort(schema, by, ascending, na_position)
