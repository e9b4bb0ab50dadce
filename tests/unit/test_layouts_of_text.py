"""Text and bytes are the same whatever their layout: pandas, Polars and Arrow differ in theirs."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from elevon.errors import SchemaError
from elevon.frames.operators.sets import combine_sets
from elevon.frames.operators.slices import concat, equals
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import errors_of, shared

TEXTS = [pa.string(), pa.large_string(), pa.string_view()]
BYTES = [pa.binary(), pa.large_binary(), pa.binary_view()]
PAIRS = [*itertools.permutations(TEXTS, 2), *itertools.permutations(BYTES, 2)]
WORDS = ["a", None, "longer than a view holds inline", "a"]


def table_of(kind):
    words = WORDS if kind in TEXTS else [word and word.encode() for word in WORDS]
    return pa.table({"n": [1, 2, 3, 1], "v": pa.array(words, kind)})


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kinds", PAIRS, ids=str)
def test_tables_that_differ_in_layout_meet(kinds, size):
    left, right = map(table_of, kinds)

    def body(comm):
        sides = shared(left, comm), shared(right, comm)
        same = [equals(comm, *sides, ordered=ordered) for ordered in (True, False)]
        return same, concat(comm, sides), combine_sets(comm, "intersect", *sides)

    same, whole, both = zip(*ThreadGroup(size).run(body), strict=True)
    assert all(answer == [True, True] for answer in same)
    assert pa.concat_tables(whole).to_pylist() == left.to_pylist() + left.to_pylist()
    assert pa.concat_tables(both).num_rows == 3


def test_text_is_not_bytes():
    text, data = table_of(pa.string()), table_of(pa.binary())
    for verb in (
        lambda comm: concat(comm, [text, data]),
        lambda comm: combine_sets(comm, "union", text, data),
    ):
        assert {type(error) for error in errors_of(2, verb)} == {SchemaError}
    assert ThreadGroup(2).run(lambda comm: equals(comm, text, data)) == [False, False]
