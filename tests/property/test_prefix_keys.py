"""String keys whose first bytes make a code: where it is exact, where it just is not, and beyond.

What a code covers depends on the prefix that all values share (one look at 32 places finds up to
16 of them), on the range of the bytes behind it, and on the lengths.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon import _native
from tests.support.frames import in_two_chunks

KINDS = [pa.binary(), pa.large_binary(), pa.binary_view()]
#: Bytes of the part that differs: narrow and wide ranges, with both ends of a byte.
ALPHABETS = [b"01", b"0123456789", b"az", b"\0\1", b"\xfe\xff", b"\0\xff", b" ~"]


@st.composite
def values(draw):
    """A pool of byte strings: one prefix, then up to 18 bytes of one alphabet."""
    prefix = b"p" * draw(st.sampled_from([0, 1, 7, 15, 16, 17, 31, 32, 33, 60]))
    alphabet = st.sampled_from(draw(st.sampled_from(ALPHABETS)))
    lengths = draw(st.sampled_from([(0, 3), (0, 18), (8, 8), (16, 16), (17, 17), (5, 12)]))
    tails = st.lists(alphabet, min_size=lengths[0], max_size=lengths[1]).map(bytes)
    return [prefix + tail for tail in draw(st.lists(tails, min_size=1, max_size=12))]


@st.composite
def columns(draw, pool, max_rows=40):
    nulls = [None] * draw(st.sampled_from([0, 2]))
    drawn = draw(st.lists(st.sampled_from([*pool, *nulls]), max_size=max_rows))
    return pa.array(drawn, draw(st.sampled_from(KINDS)))


def numbered(keys):
    return in_two_chunks(pa.table({"k": keys, "row": pa.array(range(len(keys)), pa.int64())}))


@settings(max_examples=200)
@given(
    data=st.data(),
    pool=values(),
    ascending=st.booleans(),
    nulls_first=st.booleans(),
    bucket_rows=st.sampled_from([1, 16384]),
)
def test_sort_is_stable_by_bytes(data, pool, ascending, nulls_first, bucket_rows):
    table = numbered(data.draw(columns(pool)))
    keys = table["k"].to_pylist()
    tuning = _native.SortTuning(bucket_rows=bucket_rows, direct_buckets=8)
    result = pa.table(_native.sort(table, [0], [ascending], [nulls_first], 2, tuning=tuning))
    result.validate(full=True)
    valid = [row for row in range(len(keys)) if keys[row] is not None]
    valid.sort(key=keys.__getitem__, reverse=not ascending)
    nulls = [row for row in range(len(keys)) if keys[row] is None]
    assert result["row"].to_pylist() == (nulls + valid if nulls_first else valid + nulls)
    assert result["k"].to_pylist() == [keys[row] for row in result["row"].to_pylist()]


@settings(max_examples=200)
@given(data=st.data(), pool=values(), other=values(), nulls_equal=st.booleans())
def test_join_matches_equal_bytes_only(data, pool, other, nulls_equal):
    # A few values of the other side's own: its prefix and its bytes may be unlike.
    left = numbered(data.draw(columns(pool)))
    right = numbered(data.draw(columns([*pool, *other[:2]])))
    output = [("key", 0, "k"), ("left", 1, "left"), ("right", 1, "right")]
    bits = data.draw(st.sampled_from([-1, 0, 3]))
    result = pa.table(
        _native.hash_join(
            left, right, [0], [0], "inner", output, nulls_equal, 2,
            tuning=_native.JoinTuning(partition_bits=bits),
        )
    )  # fmt: skip
    result.validate(full=True)
    lefts, rights = left["k"].to_pylist(), right["k"].to_pylist()
    expected = Counter(
        (key, i, j)
        for i, key in enumerate(lefts)
        for j, partner in enumerate(rights)
        if key == partner and (key is not None or nulls_equal)
    )
    assert Counter(zip(*result.to_pydict().values(), strict=True)) == expected
