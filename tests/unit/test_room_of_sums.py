"""A sum is the true one, or an error of ours on every rank; never a number that wrapped around."""

from __future__ import annotations

from decimal import Context, Decimal

import pyarrow as pa
import pytest

from elevon.errors import SchemaError
from elevon.frames.operators.groupby import groupby
from elevon.model.algebra import Aggregate
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import errors_of, shared

EXACT = Context(prec=80)
DIGITS_38, DIGITS_76 = 10**38 - 1, 10**76 - 1
#: The largest value of each type whose sums have no type that is wider.
LARGEST = {
    pa.decimal128(38, 0): Decimal(DIGITS_38),
    pa.decimal128(38, 38): Decimal(DIGITS_38).scaleb(-38, EXACT),
    pa.decimal256(76, 0): Decimal(DIGITS_76),
    pa.int64(): 2**63 - 1,
    pa.uint64(): 2**64 - 1,
    pa.duration("ns"): 2**63 - 1,
}
#: These are added up in wider ones.
NARROW = {
    pa.decimal32(9, 2): Decimal("9999999.99"),
    pa.decimal64(18, 0): Decimal(10**18 - 1),
    pa.decimal128(20, 0): Decimal(10**20 - 1),
    pa.decimal256(40, 0): Decimal(10**40 - 1),
    pa.int8(): 127,
    pa.uint32(): 2**32 - 1,
    pa.bool_(): True,
}
SUM = [Aggregate("total", "v", "sum")]


def table_of(kind, values):
    if pa.types.is_duration(kind):
        return pa.table({"g": [1] * len(values), "v": pa.array(values, pa.int64()).cast(kind)})
    return pa.table({"g": [1] * len(values), "v": pa.array(values, kind)})


def total(table, size, by=("g",), memory_bytes=None):
    parts = ThreadGroup(size, timeout_s=20).run(
        lambda comm: groupby(comm, shared(table, comm), by, SUM, memory_bytes=memory_bytes)
    )
    (found,) = pa.concat_tables(parts)["total"].to_pylist()
    return found


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("by", [["g"], []], ids=["groups", "all"])
@pytest.mark.parametrize("memory_bytes", [None, 1], ids=["memory", "disk"])
@pytest.mark.parametrize("kind", LARGEST, ids=str)
def test_a_sum_without_room_is_an_error_on_every_rank(kind, memory_bytes, by, size):
    # Two fit nowhere, and four of the decimals wrap around once and more.
    for times in (2, 4, 7):
        table = table_of(kind, [LARGEST[kind]] * times)
        errors = errors_of(
            size,
            lambda comm, table=table: groupby(
                comm, shared(table, comm), by, SUM, memory_bytes=memory_bytes
            ),
        )
        assert {type(error) for error in errors} == {SchemaError}
        assert all("the sum of 'v'" in str(error) for error in errors)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("kind", [k for k in LARGEST if not pa.types.is_duration(k)], ids=str)
def test_a_sum_that_comes_back_into_the_type_is_right(kind, size):
    most = LARGEST[kind]
    values = [most, 0, None]
    if kind != pa.uint64():
        least = most.copy_negate() if isinstance(most, Decimal) else -most
        values = [most, most, least, least, most, None]
    assert total(table_of(kind, values), size) == most


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", NARROW, ids=str)
def test_narrow_types_are_added_up_in_wider_ones(kind, size):
    value = NARROW[kind]
    assert total(table_of(kind, [value] * 1_000), size) == EXACT.multiply(Decimal(value), 1_000)


def test_a_mean_of_the_largest_integers_does_not_wrap():
    for kind, value in ((pa.int64(), 2**63 - 1), (pa.uint64(), 2**64 - 1)):
        mean = [Aggregate("m", "v", "mean"), Aggregate("s", "v", "std")]
        table = table_of(kind, [value] * 4)
        parts = ThreadGroup(2).run(
            lambda comm, t=table, m=mean: groupby(comm, shared(t, comm), ["g"], m)
        )
        assert pa.concat_tables(parts).to_pylist() == [{"g": 1, "m": float(value), "s": 0.0}]
