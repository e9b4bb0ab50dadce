"""Slices of every type travel, spill, are served, pickled and kept with their own bytes only."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.frames.exchange.own_bytes import own_bytes, owned, writable
from elevon.frames.exchange.packed import whole
from elevon.frames.exchange.shuffle import exchange_slices, replicate, shuffle
from elevon.frames.files import ipc
from elevon.frames.files.pickles import dumps
from elevon.frames.join_sort.distributed import sort
from elevon.frames.memory.spill import Spill
from elevon.testing.threads import ThreadGroup

ROWS = 8_000
#: Schemas, padding and headers of a message or stream, for a table of one column.
OVERHEAD = 4096

LETTERS = "abcdefghijklmnopqrst"
TEXT = [f"comment number {i:030d}" for i in range(ROWS)]
WORDS = [text if i % 7 else None for i, text in enumerate(TEXT)]
COLUMNS: dict[str, pa.Array] = {
    "int64": pa.array(range(ROWS)),
    "bool": pa.array([i % 3 == 0 for i in range(ROWS)]),
    "null": pa.nulls(ROWS),
    "string": pa.array(WORDS),
    "large_string": pa.array(WORDS, pa.large_string()),
    "string_view": pa.array(WORDS, pa.string_view()),
    "binary_view": pa.array([None if w is None else w.encode() for w in WORDS], pa.binary_view()),
    "fixed": pa.array([text[-10:].encode() for text in TEXT], pa.binary(10)),
    "list": pa.array([[text] for text in TEXT]),
    "list of views": pa.array([[w, "short"] for w in WORDS], pa.list_(pa.string_view())),
    "large_list": pa.array([[i, i] for i in range(ROWS)], pa.large_list(pa.int64())),
    "list_view": pa.array([[text] for text in TEXT], pa.list_view(pa.string())),
    "large_list_view": pa.array([[w] for w in WORDS], pa.large_list_view(pa.string_view())),
    "fixed_list": pa.array([[text, "x"] for text in TEXT], pa.list_(pa.string_view(), 2)),
    "map": pa.array([[(text, 1)] for text in TEXT], pa.map_(pa.string_view(), pa.int8())),
    "struct": pa.array(
        [{"a": w, "b": i} for i, w in enumerate(WORDS)],
        pa.struct([("a", pa.string_view()), ("b", pa.int64())]),
    ),
    "dictionary": pa.array(WORDS).dictionary_encode(),
    "dictionary of views": pa.DictionaryArray.from_arrays(
        pa.array(range(ROWS), pa.int32()), pa.array(TEXT, pa.string_view())
    ),
    "few long entries": pa.DictionaryArray.from_arrays(
        pa.array(np.arange(ROWS) % 20, pa.int8()), pa.array([word * 1000 for word in LETTERS])
    ),
    "list of dictionaries": pa.ListArray.from_arrays(
        pa.array(range(ROWS + 1), pa.int32()), pa.array(TEXT).dictionary_encode()
    ),
    "extension": pa.ExtensionArray.from_storage(
        pa.json_(pa.string_view()), pa.array(WORDS, pa.string_view())
    ),
}
#: What no kernel moves: it is only written, pickled and kept.
OTHERS: dict[str, pa.Array] = {
    "sparse union": pa.UnionArray.from_sparse(
        pa.array([i % 2 for i in range(ROWS)], pa.int8()), [pa.array(TEXT), pa.array(range(ROWS))]
    ),
    "dense union": pa.UnionArray.from_dense(
        pa.array([0] * ROWS, pa.int8()), pa.array(range(ROWS), pa.int32()), [pa.array(TEXT)]
    ),
    "run ends": pc.run_end_encode(pa.array(TEXT)),
}
EVERY = {**COLUMNS, **OTHERS}


def plain_bytes(table: pa.Table) -> int:
    """The rows' own bytes, counted another way: they are rebuilt from Python's values."""
    kind = table.schema.field(0).type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    values = table.column(0).to_pylist()
    if pa.types.is_dictionary(kind):
        distinct = [value for value in dict.fromkeys(values) if value is not None]
        return 4 * len(values) + sum(len(value) + 16 for value in distinct)
    if pa.types.is_union(kind) or pa.types.is_run_end_encoded(kind):
        return sum(len(str(value)) + 16 for value in values)
    if kind == COLUMNS["list of dictionaries"].type:
        return sum(len(value[0]) + 16 for value in values)
    rebuilt = pa.array(values, kind)
    return rebuilt.nbytes + len(values)


@st.composite
def slices(draw, name: str) -> pa.Table:
    """Some rows out of the middle of one or two chunks, cut once or twice."""
    column = pa.chunked_array([EVERY[name]] * draw(st.sampled_from([1, 2])))
    table = pa.table({"c": column})
    for _ in range(draw(st.sampled_from([1, 2]))):
        start = draw(st.integers(0, table.num_rows))
        table = table.slice(start, draw(st.sampled_from([0, 1, 10, 500, ROWS])))
    return table


def is_small(nbytes: int, table: pa.Table) -> bool:
    return nbytes <= 2 * plain_bytes(table) + OVERHEAD


@pytest.mark.parametrize("name", list(EVERY))
@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_own_bytes_are_the_rows_and_nothing_else(name, data):
    table = data.draw(slices(name))
    assert is_small(own_bytes(table), table)
    assert 2 * own_bytes(table) + OVERHEAD >= plain_bytes(table) - table.num_rows


@pytest.mark.parametrize("name", list(COLUMNS))
@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_messages_and_spilled_pieces(name, data):
    table = data.draw(slices(name))
    assert is_small(whole(table).nbytes, table)
    with Spill() as spill:
        piece = spill.write(table)
        assert is_small(spill.written_bytes, table)
        assert spill.read(piece).to_pylist() == table.to_pylist()


@pytest.mark.parametrize("name", list(EVERY))
@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_partitions_that_are_served_pickled_or_kept(name, data):
    table = data.draw(slices(name))
    descriptor = os.memfd_create("test")
    try:
        ipc.write_stream(table, descriptor)
        size = os.fstat(descriptor).st_size
        os.lseek(descriptor, 0, os.SEEK_SET)
        served = ipc.read_stream(memoryview(os.read(descriptor, size)))
    finally:
        os.close(descriptor)
    pickled, kept = dumps({"rows": [table]}), owned(table)
    slack = 70_000  # so much may be kept without a copy
    assert served.to_pylist() == kept.to_pylist() == table.to_pylist()
    assert pickle.loads(pickled)["rows"][0].to_pylist() == table.to_pylist()
    for nbytes in (size, len(pickled), kept.get_total_buffer_size()):
        assert nbytes <= 3 * plain_bytes(table) + OVERHEAD + slack
    assert is_small(own_bytes(kept), table)
    assert served.schema == kept.schema == writable(table).schema == table.schema


@pytest.mark.parametrize("kind", ["array", "chunks", "batch"])
@pytest.mark.parametrize("name", list(EVERY))
def test_arrays_and_batches_are_pickled_as_they_are(name, kind):
    table = pa.table({"c": EVERY[name]}).slice(100, 10)
    value = {
        "array": table.column(0).chunk(0),
        "chunks": table.column(0),
        "batch": table.to_batches()[0],
    }[kind]
    data = dumps(value)
    assert len(data) < 3 * plain_bytes(table) + 75_000
    back = pickle.loads(data)
    assert type(back) is type(value)
    assert back.to_pylist() == value.to_pylist()


def test_what_is_wholly_used_is_not_copied():
    for array in EVERY.values():
        table = pa.table({"c": array})
        assert owned(table) is table
        assert writable(table) is table


def test_a_slice_of_no_rows_is_pickled():
    batch = pa.table({"c": COLUMNS["string_view"]}).to_batches()[0].slice(5, 0)
    assert pickle.loads(dumps(batch)).num_rows == 0
    assert len(dumps(batch)) < OVERHEAD


@pytest.mark.parametrize("name", list(COLUMNS))
def test_what_is_exchanged(name, monkeypatch):
    table = pa.table({"k": np.arange(ROWS) % 97, "c": COLUMNS[name]})
    sent = []

    def run(comm):
        own = table.slice(4000 * comm.rank, 300)
        bounds = [0, 100, 200, 300]
        before = comm.alltoallv, comm.allgatherv

        def alltoallv(arrays):
            sent.append(sum(array.nbytes for array in arrays))
            return before[0](arrays)

        def allgatherv(array):
            sent.append(array.nbytes)
            return before[1](array)

        comm.alltoallv, comm.allgatherv = alltoallv, allgatherv
        found = [
            shuffle(comm, own, [0], rounds=1),
            pa.concat_tables(exchange_slices(comm, own, bounds)),
            replicate(comm, own),
        ]
        return [part.column("c").to_pylist() for part in found]

    parts = ThreadGroup(3).run(run)
    expected = [v for rank in range(3) for v in table["c"].slice(4000 * rank, 300).to_pylist()]
    assert parts[0][2] == expected
    for number in (0, 1):
        values = [value for part in parts for value in part[number]]
        assert sorted(map(repr, values)) == sorted(map(repr, expected))
    limit = 3 * (plain_bytes(table.select(["c"]).slice(0, 300)) + 300 * 8 + OVERHEAD)
    assert len(sent) == 9
    assert max(sent) <= limit


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "null"])
@pytest.mark.parametrize("size", [1, 2])
def test_a_spilled_sort_writes_about_its_input(name, size, monkeypatch):
    """Hundreds of pieces of runs that share their buffers.

    A dictionary is written once, and what pieces have of it before that is no more.
    """
    rng = np.random.default_rng(1)
    table = pa.table({"k": rng.permutation(ROWS), "c": COLUMNS[name]})
    written = []
    close = Spill.__exit__

    def watched(spill, *error):
        written.append(spill.written_bytes)
        return close(spill, *error)

    monkeypatch.setattr(Spill, "__exit__", watched)

    def run(comm):
        step = ROWS // size
        own = table.slice(comm.rank * step, step)
        return sort(comm, own, "k", memory_bytes=plain_bytes(table.select(["c"])) // 10)

    found = pa.concat_tables(ThreadGroup(size).run(run))
    order = np.argsort(table["k"].to_numpy())
    assert found["k"].to_pylist() == list(range(ROWS))
    values = table["c"].to_pylist()
    assert found["c"].to_pylist() == [values[row] for row in order]
    assert len(written) == size
    limit = plain_bytes(table.select(["c"]))
    assert sum(written) <= 3 * limit + 16 * ROWS + 500_000
