"""Parts of a written table: all of them or none, and nothing of the user's is touched."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elevon.errors import DescriptionError, ResourceError, SchemaError, UsageError
from elevon.frames.files import parquet_parts
from elevon.frames.files.parquet_parts import write_parquet
from elevon.frames.files.partitions import read_parquet_partition, read_partition
from elevon.testing.threads import ThreadGroup

SIZES = [1, 2, 3, 7]


def table_of(rows, start=0):
    text = pa.array([f"row {i}" for i in range(rows)], pa.string())
    return pa.table({"id": np.arange(start, start + rows), "text": text})


def write(size, path, *arguments, parts=None, **options):
    """What every rank gets, or the error that every rank raises."""
    tables = parts or [table_of(10 * rank, 100 * rank) for rank in range(size)]

    def run(comm):
        try:
            return write_parquet(comm, tables[comm.rank], path, *arguments, **options)
        except UsageError as error:
            comm.barrier()
            return error

    return ThreadGroup(size, timeout_s=20).run(run)


def refused(found, kind, text):
    for error in found:
        assert isinstance(error, kind), error
        assert text in str(error)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("compression", ["zstd", "none", "snappy"])
def test_what_is_written_is_read_back(tmp_path, size, compression):
    target = tmp_path / "out" / "deep"
    paths = write(size, target, compression)
    assert [os.path.basename(path) for path in paths] == [
        f"part-{rank:05d}.parquet" for rank in range(size)
    ]
    assert sorted(os.listdir(target)) == sorted(map(os.path.basename, paths))
    expected = pa.concat_tables(table_of(10 * rank, 100 * rank) for rank in range(size))
    assert read_parquet_partition(target).equals(expected)


def test_dictionaries_of_views_are_written_and_keep_their_order(tmp_path):
    levels = pa.DictionaryArray.from_arrays(
        pa.array([1, 0, None], pa.int8()), pa.array(["low", "high"], pa.string_view()), ordered=True
    )
    write(1, tmp_path / "out", parts=[pa.table({"level": levels})])

    found = pq.read_table(tmp_path / "out" / "part-00000.parquet")["level"]
    assert found.to_pylist() == ["high", "low", None]
    assert found.type.ordered


def test_a_file_url_and_a_link_to_a_directory_are_written_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(1, tmp_path / "link", parts=[table_of(3)])
    assert read_parquet_partition(tmp_path / "real").num_rows == 3
    write(1, f"file://{tmp_path}/url", parts=[table_of(4)])
    assert read_parquet_partition(tmp_path / "url").num_rows == 4


def test_a_directory_whose_name_is_no_text_is_written_to(tmp_path):
    target = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\x80"))
    write(2, target)
    assert read_parquet_partition(target).num_rows == 10


@pytest.mark.parametrize("size", [1, 3])
def test_parts_that_are_there_are_refused_unless_they_may_be_replaced(tmp_path, size):
    (tmp_path / "part-00000.parquet").write_text("somebody's own")
    (tmp_path / "notes.txt").write_text("somebody's own")
    refused(write(size, tmp_path), DescriptionError, "part-00000.parquet already")
    assert (tmp_path / "part-00000.parquet").read_text() == "somebody's own"
    assert len(list(tmp_path.iterdir())) == 2
    write(size, tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "somebody's own"
    assert read_parquet_partition(tmp_path).num_rows == 10 * sum(range(size))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["notes.parquet", "part-1.parquet", "below/part-00000.parquet"])
def test_files_that_would_be_read_as_parts_are_refused(tmp_path, name, overwrite):
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    pq.write_table(table_of(3), own)
    refused(write(2, tmp_path, overwrite=overwrite), DescriptionError, f"{name}, which is no part")
    assert len(list(tmp_path.iterdir())) == 1
    own.rename(own.with_name(f"_{own.name}"))
    write(2, tmp_path)
    assert read_parquet_partition(tmp_path).num_rows == 10


@pytest.mark.parametrize("names", [[], ["a", "b", "a"]])
def test_tables_that_could_not_be_read_again_are_refused(tmp_path, names):
    table = pa.Table.from_arrays([pa.array([1, 2])] * len(names), names)
    refused(write(2, tmp_path / "out", parts=[table] * 2), SchemaError, "column")
    assert not (tmp_path / "out").exists()


def test_a_type_that_parquet_has_no_form_for_is_refused(tmp_path):
    table = pa.table({"a": pa.array([b"", None], pa.binary(0))})
    refused(write(2, tmp_path / "out", parts=[table] * 2), SchemaError, "cannot be written")


def test_a_file_whose_name_looks_like_a_partition_is_a_file(tmp_path):
    pq.write_table(table_of(3), tmp_path / "run=7.parquet")
    assert read_parquet_partition(tmp_path).num_rows == 3
    (tmp_path / "run=8").mkdir()
    pq.write_table(table_of(3), tmp_path / "run=8" / "x.parquet")
    with pytest.raises(DescriptionError, match="run=8"):
        read_parquet_partition(tmp_path)


def test_parts_of_a_wider_write_are_refused_or_removed(tmp_path):
    write(3, tmp_path)
    refused(write(1, tmp_path), DescriptionError, "overwrite=True")
    (tmp_path / "part-00001.parquet.mine").touch()
    (tmp_path / "_part-1.parquet").touch()
    write(1, tmp_path, overwrite=True, parts=[table_of(5)])
    assert sorted(os.listdir(tmp_path)) == [
        "_part-1.parquet",
        "part-00000.parquet",
        "part-00001.parquet.mine",
    ]
    assert pq.read_table(tmp_path / "part-00000.parquet").equals(table_of(5))


def test_a_link_in_the_place_of_a_part_is_replaced_not_followed(tmp_path):
    own = tmp_path / "own.parquet"
    own.write_text("somebody's own")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-00000.parquet").symlink_to(own)
    refused(write(1, tmp_path / "out"), DescriptionError, "already")
    write(1, tmp_path / "out", overwrite=True, parts=[table_of(2)])
    assert own.read_text() == "somebody's own"
    assert read_parquet_partition(tmp_path / "out").num_rows == 2


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", ["file", "dangling", "below a file", "directory of that name"])
def test_what_is_in_the_way_is_named_on_every_rank(tmp_path, size, kind):
    target = tmp_path / "out"
    if kind == "file":
        target.touch()
    elif kind == "dangling":
        target.symlink_to(tmp_path / "gone")
    elif kind == "below a file":
        target.touch()
        target = target / "below"
    else:
        (target / "part-00000.parquet").mkdir(parents=True)
    for overwrite in (False, True):
        for error in write(size, target, overwrite=overwrite):
            assert isinstance(error, DescriptionError | ResourceError), error
            assert "out" in str(error)


@pytest.mark.parametrize("path", ["no://where", "with\0nul"])
def test_a_path_that_cannot_be_is_refused(path):
    for error in write(2, path):
        assert isinstance(error, DescriptionError | ResourceError), error


@pytest.mark.parametrize("size", [1, 3])
def test_an_unknown_codec_is_refused(tmp_path, size):
    refused(write(size, tmp_path / "out", "rar"), DescriptionError, "'rar' is none of zstd")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [1, 3])
def test_a_type_without_a_form_is_refused_before_anything_is_written(tmp_path, size):
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    found = write(size, tmp_path / "out", parts=[pa.table({"u": union})] * size)
    refused(found, SchemaError, "part-0000")
    assert not (tmp_path / "out").exists()


def test_different_columns_are_refused_before_anything_is_written(tmp_path):
    found = write(2, tmp_path / "out", parts=[table_of(1), pa.table({"other": [1]})])
    refused(found, SchemaError, "the ranks ask for different things")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", ["write", "replace"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_one_rank_cannot_write_is_written_by_none(tmp_path, monkeypatch, step, overwrite):
    if overwrite:
        write(3, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def failing(name, original):
        def run(*arguments, **options):
            if "part-00001" in str(arguments[name]):
                raise OSError(28, "No space left on device")
            return original(*arguments, **options)

        return run

    if step == "write":
        kind = parquet_parts._Target
        monkeypatch.setattr(kind, "write", failing(2, kind.write))
    else:
        monkeypatch.setattr(os, "replace", failing(0, os.replace))
    refused(write(3, tmp_path, overwrite=overwrite), ResourceError, "No space left on device")
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    # Once parts are renamed what they replaced is gone; before that, all is as it was.
    expected = before if step == "write" else {k: v for k, v in before.items() if "00001" in k}
    assert left.keys() <= before.keys()
    assert expected.items() <= left.items()
    if not overwrite:
        assert not left


def test_a_part_is_replaced_whole_while_others_read_it(tmp_path):
    """A reader finds one of the two contents, never a piece of one or of both."""
    (path,) = write(1, tmp_path, parts=[table_of(2000)])
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            with open(path, "rb") as file:
                seen.add(pq.read_table(file).num_rows)
            try:
                seen.add(read_parquet_partition(tmp_path, 0, 1).num_rows)
            except UsageError as error:
                seen.add(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for i in range(50):
            write(1, tmp_path, overwrite=True, parts=[table_of(2000 + i % 2)])
    finally:
        stop.set()
        reader.join(30)
    assert seen
    assert seen <= {2000, 2001, f"read: {path} was replaced while it was read; read it again"}


def test_a_budget_makes_row_groups_smaller(tmp_path):
    table = table_of(100_000)
    write(1, tmp_path / "few", parts=[table])
    write(1, tmp_path / "many", parts=[table], memory_bytes=1 << 20)
    groups = {
        name: pq.ParquetFile(tmp_path / name / "part-00000.parquet").num_row_groups
        for name in ("few", "many")
    }
    assert groups["few"] == 1
    assert groups["many"] > 5
    assert read_partition(Path(tmp_path / "many")).equals(table)
