"""The tables of ``elevon bench``: the right shape, and checks that tell right from wrong."""

import numpy as np
import pyarrow as pa
import pytest

from elevon.bench.kernels.workload import Workload, checksum, in_order


def test_the_papers_table_has_two_columns_of_int64_below_nine_tenths_of_its_rows() -> None:
    table = Workload(10_000).table("left")

    assert table.schema == pa.schema([("k", pa.int64()), ("a", pa.int64())])
    assert table.num_rows == 10_000
    for column in table.columns:
        assert column.to_numpy().min() >= 0
        assert 8_500 < column.to_numpy().max() < 9_000


def test_sides_and_parts_differ_and_repeat() -> None:
    work = Workload(1000, parts=2)

    assert work.table("left").equals(work.table("left"))
    assert not work.table("left")["k"].equals(work.table("right")["k"])
    assert not work.table("left").equals(Workload(1000, part=1, parts=2).table("left"))


def test_several_keys_share_the_digits_of_one_value() -> None:
    single = Workload(5000).table("left")["k"].to_numpy()
    table = Workload(5000, keys=("int32", "int32")).table("left")

    assert table.schema.names == ["k0", "k1", "a"]
    assert table.schema.field("k0").type == pa.int32()
    radix = table["k0"].to_numpy().max() + 1
    joined = table["k1"].to_numpy().astype(np.int64) * radix + table["k0"].to_numpy()
    assert len(np.unique(joined)) == len(np.unique(single))


def test_strings_and_payload() -> None:
    table = Workload(10, keys=("string",), payload=3).table("right")

    assert table.schema.names == ["k", "b", "b1", "b2"]
    assert all(value.startswith("key-") for value in table["k"].to_pylist())


def test_zipf_skews_the_left_side_only() -> None:
    work = Workload(10_000, distribution="zipf")

    def most(side: str) -> int:
        return np.unique(work.table(side)["k"].to_numpy(), return_counts=True)[1].max()  # type: ignore[arg-type]

    assert most("left") > 1000
    assert most("right") < 20


def test_the_checksum_knows_rows_not_their_order_nor_that_of_columns() -> None:
    table = pa.table({"k": [1, 2, 3], "a": ["x", None, "z"]})
    turned = table.take([2, 0, 1]).select(["a", "k"])

    assert checksum(turned) == checksum(table)
    assert checksum(table.set_column(1, "a", pa.array(["x", None, "y"]))) != checksum(table)
    assert checksum(table.slice(1)) != checksum(table)
    swapped = pa.table({"k": [1, 2, 3], "a": [None, "x", "z"]})
    assert checksum(swapped) != checksum(table)


@pytest.mark.parametrize(
    ("k0", "k1", "expected"),
    [
        ([1, 1, 2], [5, 6, 0], True),
        ([1, 1, 2], [6, 5, 0], False),
        ([2, 1], [0, 1], False),
        ([], [], True),
        ([7], [7], True),
    ],
)
def test_in_order_reads_keys_from_the_left(k0: list, k1: list, expected: bool) -> None:
    table = pa.table({"k0": pa.array(k0, pa.int64()), "k1": pa.array(k1, pa.int64())})

    assert in_order(table, ["k0", "k1"]) is expected
