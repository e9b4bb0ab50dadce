"""Shares of files: every row once and in order, whatever the format."""

import gzip
import os

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elevon.errors import DescriptionError, SchemaError, UsageError
from elevon.frames.files import csv as csv_shares
from elevon.frames.files.partitions import (
    read_parquet_partition,
    read_partition,
)
from elevon.frames.files.paths import expand
from elevon.frames.files.shares import share

SIZES = [1, 2, 3, 4, 7]


def table_of(rows, start=0):
    numbers = range(start, start + rows)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "name": pa.array([None if i % 5 == 0 else f"row {i}" for i in numbers], pa.string()),
            "x": pa.array([i / 4 for i in numbers], pa.float64()),
        }
    )


def read_all(paths, format, size, columns=None):
    """All ranks' shares, one after the other."""
    return [read_partition(paths, format, columns, rank, size) for rank in range(size)]


# ------------------------------------------------------------------ shares


@given(rows=st.lists(st.integers(0, 50), max_size=12), size=st.integers(1, 9))
def test_shares_are_all_rows_once_and_in_order(rows, size):
    pieces = [piece for rank in range(size) for piece in share(rows, rank, size)]
    seen = [(piece.unit, row) for piece in pieces for row in range(piece.start, piece.stop)]
    assert seen == [(unit, row) for unit, count in enumerate(rows) for row in range(count)]
    assert all(piece.start < piece.stop for piece in pieces)


@given(rows=st.lists(st.integers(0, 50), max_size=12), size=st.integers(1, 9))
def test_no_share_is_more_than_half_a_share_off(rows, size):
    even = sum(rows) / size
    for rank in range(size):
        own = sum(piece.stop - piece.start for piece in share(rows, rank, size))
        assert abs(own - even) <= even / 2 + 1


def test_units_that_fit_the_shares_are_not_cut():
    assert [len(share([100, 98, 103, 99], rank, 4)) for rank in range(4)] == [1, 1, 1, 1]


# ------------------------------------------------------------------ parquet


@pytest.fixture
def parquet_files(tmp_path):
    """Three files, of which the second has no rows and the first five row groups."""
    pq.write_table(table_of(1000), tmp_path / "a.parquet", row_group_size=230)
    pq.write_table(table_of(0), tmp_path / "b.parquet")
    pq.write_table(table_of(500, 1000), tmp_path / "c.parquet")
    return tmp_path


@pytest.mark.parametrize("size", SIZES)
def test_parquet_shares_are_the_files_in_order(parquet_files, size):
    parts = [read_parquet_partition(parquet_files, rank, size) for rank in range(size)]
    assert pa.concat_tables(parts).equals(table_of(1500))
    assert min(part.num_rows for part in parts) >= 1500 // size // 2


def test_columns_come_in_the_order_asked_for(parquet_files):
    parts = read_all(parquet_files, "parquet", 3, columns=["x", "id"])
    assert pa.concat_tables(parts).equals(table_of(1500).select(["x", "id"]))


def test_more_ranks_than_rows_leaves_empty_tables_with_the_schema(tmp_path):
    pq.write_table(table_of(2), tmp_path / "two.parquet")
    parts = read_all(tmp_path, "parquet", 5)
    assert [part.num_rows for part in parts].count(0) == 3
    assert all(part.schema == table_of(0).schema for part in parts)
    assert pa.concat_tables(parts).equals(table_of(2))


def test_a_cut_row_group_does_not_keep_the_whole_group_in_memory(tmp_path):
    pq.write_table(table_of(100_000), tmp_path / "one.parquet")
    part = read_parquet_partition(tmp_path / "one.parquet", 2, 4)
    assert part.num_rows == 25_000
    assert part.get_total_buffer_size() < part.nbytes * 1.1


def test_what_pandas_notes_about_its_index_is_left_out(tmp_path):
    table_of(10).to_pandas().to_parquet(tmp_path / "pandas.parquet")
    assert read_parquet_partition(tmp_path / "pandas.parquet", 0, 2).schema.metadata is None


def test_dictionaries_that_differ_from_group_to_group_stay_right(tmp_path):
    words = [f"w{i // 7}" for i in range(700)]
    table = pa.table({"w": pa.array(words).dictionary_encode()})
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=100)
    parts = read_all(tmp_path, "parquet", 3)
    assert [word for part in parts for word in part["w"].to_pylist()] == words


# ------------------------------------------------------------------ csv


CSV_FILES = {
    "a.csv": "id,name\n1,one\n2,two\n3,\n",
    "b.csv": "id,name",
    "c.csv": "id,name\r\n4,four\r\n5,five",
}


@pytest.mark.parametrize("size", [*SIZES, 40])
def test_csv_shares_are_the_lines_in_order(tmp_path, size):
    for name, text in CSV_FILES.items():
        (tmp_path / name).write_bytes(text.encode())
    whole = pa.concat_tables(read_all(tmp_path, "csv", size))
    assert whole["id"].to_pylist() == [1, 2, 3, 4, 5]
    assert whole["name"].to_pylist() == ["one", "two", "", "four", "five"]
    assert whole.schema == pa.schema([("id", pa.int64()), ("name", pa.string())])


@pytest.mark.parametrize("size", SIZES)
def test_csv_lines_longer_than_a_block_are_found(tmp_path, size):
    table = pa.table({"n": [1, 2, 3], "text": ["x" * 200_000, "y", "z" * 70_000]})
    pacsv.write_csv(table, tmp_path / "long.csv")
    assert pa.concat_tables(read_all(tmp_path, "csv", size)).equals(table)


def test_a_compressed_csv_is_read_by_one_rank(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wb") as file:
        file.write(CSV_FILES["a.csv"].encode())
    parts = read_all(tmp_path, "csv", 3)
    assert [part.num_rows for part in parts] == [3, 0, 0]


def test_csv_columns_in_the_order_asked_for(tmp_path):
    pacsv.write_csv(table_of(20), tmp_path / "t.csv")
    parts = read_all(tmp_path / "t.csv", "csv", 3, columns=["x", "id"])
    assert pa.concat_tables(parts).equals(table_of(20).select(["x", "id"]))


def test_a_csv_column_without_values_is_text_on_every_rank(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,\n2,\n")
    assert [part.schema.field("b").type for part in read_all(tmp_path, "csv", 3)] == [
        pa.string()
    ] * 3


def test_a_value_that_does_not_fit_the_inferred_type_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("n\n1\n2\n")
    (tmp_path / "b.csv").write_text("n\n3\nfour\n")
    with pytest.raises(SchemaError, match=r"b\.csv.*four"):
        read_all(tmp_path, "csv", 1)


def test_csv_files_with_different_headers_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("n\n1\n2\n")
    (tmp_path / "b.csv").write_text("m\n3\n4\n")
    with pytest.raises(SchemaError, match=r"b\.csv has the columns \['m'\]"):
        read_all(tmp_path, "csv", 1)


# ------------------------------------------------------------------ arrow


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_arrow_files_and_streams(tmp_path, size, compression):
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(tmp_path / "a.arrow", table_of(0).schema, options=options) as writer:
        writer.write_table(table_of(100), max_chunksize=30)
    with pa.ipc.new_stream(tmp_path / "b.arrows", table_of(0).schema, options=options) as writer:
        writer.write_table(table_of(50, 100))
    parts = read_all(tmp_path, "arrow", size)
    assert pa.concat_tables(parts).equals(table_of(150))


def test_a_partition_outlives_the_arrow_file_it_came_from(tmp_path):
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(path, table_of(0).schema) as writer:
        writer.write_table(table_of(100_000))
    part = read_partition(path, "arrow", None, 0, 2)
    os.truncate(path, 0)
    assert part.equals(table_of(50_000))


# ------------------------------------------------------------------ which files


def test_patterns_directories_and_lists_are_expanded_in_order(tmp_path):
    for name in ["b.parquet", "a.parquet", "deep/er/c.parquet", ".hidden.parquet", "_SUCCESS"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(*paths):
        return [os.path.relpath(source.path, tmp_path) for source in expand(paths, "parquet")]

    assert names(tmp_path) == ["a.parquet", "b.parquet", "deep/er/c.parquet"]
    assert names(tmp_path / "*.parquet") == ["a.parquet", "b.parquet"]
    assert names(tmp_path / "**" / "*.parquet") == ["a.parquet", "b.parquet", "deep/er/c.parquet"]
    assert names(tmp_path / "deep" / "*" / "?.parquet") == ["deep/er/c.parquet"]
    assert names(tmp_path / "b.parquet", tmp_path / "a.parquet") == ["b.parquet", "a.parquet"]
    assert names(f"file://{tmp_path}/a.parquet") == ["a.parquet"]


def test_a_relative_path_is_relative_to_where_the_rank_runs(tmp_path, monkeypatch):
    pq.write_table(table_of(3), tmp_path / "here.parquet")
    monkeypatch.chdir(tmp_path)
    assert read_parquet_partition("here.parquet").equals(table_of(3))


@pytest.mark.parametrize("path", ["nowhere.parquet", "nowhere/*.parquet", ".", "no://where"])
def test_what_is_not_there_is_named(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DescriptionError, match=path.replace("*", r"\*")):
        read_parquet_partition(path)


def test_columns_in_directory_names_are_not_lost_in_silence(tmp_path):
    (tmp_path / "year=2013").mkdir()
    pq.write_table(table_of(3), tmp_path / "year=2013" / "a.parquet")
    with pytest.raises(DescriptionError, match="year=2013"):
        read_parquet_partition(tmp_path)
    assert read_parquet_partition(tmp_path / "*" / "a.parquet").num_rows == 3


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_file_of_another_format_is_named(tmp_path, format):
    (tmp_path / "notes.txt").write_text("these are not columns")
    with pytest.raises(UsageError, match=rf"notes\.txt cannot be read as {format}"):
        read_partition(tmp_path / "notes.txt", format)


@pytest.mark.parametrize("format", ["parquet", "csv", "arrow"])
def test_an_empty_file_is_named(tmp_path, format):
    (tmp_path / f"empty.{format}").touch()
    with pytest.raises(UsageError, match=rf"empty\.{format} cannot be read as {format}"):
        read_partition(tmp_path, format)


def write_one(path, format, table):
    with open(path, "wb") as file:
        if format == "parquet":
            pq.write_table(table, file)
        elif format == "csv":
            pacsv.write_csv(table, file)
        else:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)


@pytest.mark.parametrize("format", ["parquet", "csv", "arrow"])
def test_names_that_are_no_text_are_read_and_can_be_printed(tmp_path, format):
    table = table_of(7).select(["id", "x"])
    odd = os.path.join(os.fsencode(tmp_path), b"\x80 %41\n'." + format.encode())
    write_one(odd, format, table)
    for path in (os.fsdecode(odd), tmp_path, f"{tmp_path}/*.{format}"):
        assert pa.concat_tables(read_all(path, format, 2)).equals(table)
    with open(odd, "wb") as file:
        file.write(b"neither columns nor rows"[: 0 if format == "csv" else None])
    with pytest.raises(UsageError, match=r"\\x80") as caught:
        read_partition(tmp_path, format)
    str(caught.value).encode()


@pytest.mark.parametrize("path", ["with\0nul", "\udcff/*", "\udcff.parquet"])
def test_names_that_cannot_be_are_refused(path):
    with pytest.raises(DescriptionError) as caught:
        read_partition(path)
    str(caught.value).encode()


@pytest.mark.parametrize("format", ["parquet", "csv", "arrow"])
@pytest.mark.parametrize("columns", [[], ["id", "id"]])
def test_columns_are_each_wanted_once(tmp_path, format, columns):
    write_one(tmp_path / f"a.{format}", format, table_of(3))
    with pytest.raises(DescriptionError, match="name each wanted column once"):
        read_partition(tmp_path, format, columns)


@pytest.mark.parametrize("format", ["parquet", "csv", "arrow"])
def test_a_column_that_one_file_lacks_is_named_with_the_file(tmp_path, format):
    write_one(tmp_path / f"a.{format}", format, table_of(3))
    write_one(tmp_path / f"b.{format}", format, table_of(3).drop_columns(["x"]))
    for columns in (None, ["id", "x"]):
        with pytest.raises(SchemaError, match=rf"b\.{format}"):
            read_all(tmp_path, format, 1, columns)


def test_two_columns_of_one_name_are_named(tmp_path):
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(SchemaError, match="2 columns called 'a'"):
        read_partition(tmp_path)


def test_files_may_differ_in_whether_nulls_are_allowed(tmp_path):
    strict = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    pq.write_table(pa.table({"a": [1]}, schema=strict), tmp_path / "a.parquet")
    pq.write_table(pa.table({"a": [None, 2]}), tmp_path / "b.parquet")
    assert pa.concat_tables(read_all(tmp_path, "parquet", 2))["a"].to_pylist() == [1, None, 2]


def test_the_first_csv_file_with_a_row_tells_the_types(tmp_path):
    (tmp_path / "a.csv").write_text("n,t\n")
    (tmp_path / "b.csv").write_text("n,t\n3,x\n")
    assert pa.concat_tables(read_all(tmp_path, "csv", 2)).to_pylist() == [{"n": 3, "t": "x"}]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("size", SIZES)
def test_csv_in_small_blocks_is_the_same(tmp_path, monkeypatch, suffix, size):
    monkeypatch.setattr(csv_shares, "LINE_BYTES", 16)
    text = "id,name\n" + "".join(f"{i},{'x' * (i % 40)}\n" for i in range(200)) + "200,last"
    with (gzip.open if suffix else open)(tmp_path / f"t.csv{suffix}", "wb") as file:
        file.write(text.encode())
    whole = read_partition(tmp_path, "csv")
    parts = [
        read_partition(tmp_path, "csv", None, rank, size, memory_bytes=64) for rank in range(size)
    ]
    assert whole["id"].to_pylist() == list(range(201))
    assert pa.concat_tables(parts).equals(whole)
    assert sum(part["id"].num_chunks for part in parts) > 50


def test_a_csv_row_of_another_width_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(SchemaError, match=r"b\.csv has a row that does not fit the header.*got 3"):
        read_all(tmp_path, "csv", 1)


def test_what_is_gone_since_it_was_listed_is_left_out(tmp_path, monkeypatch):
    """A part under its temporary name, a directory that somebody removes, a dead link."""
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    (tmp_path / "dead.parquet").symlink_to(tmp_path / "nowhere")
    walk = os.walk

    def slow_walk(base, **options):
        for directory, below, names in walk(base, **options):
            yield directory, below, [*names, ".part-00000.parquet.85a0", "b.parquet"]
        yield str(tmp_path / "removed"), [], ["c.parquet"]

    monkeypatch.setattr(os, "walk", slow_walk)
    assert [source.path for source in expand(tmp_path, "parquet")] == [str(tmp_path / "a.parquet")]


def test_a_link_that_leads_back_is_followed_once(tmp_path):
    pq.write_table(table_of(3), tmp_path / "a.parquet")
    (tmp_path / "again").symlink_to(tmp_path)
    assert read_parquet_partition(tmp_path).num_rows == 3


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(DescriptionError, match="'orc' is none of parquet, csv, arrow"):
        read_partition(tmp_path, "orc")


def test_a_missing_column_is_named_on_every_rank(parquet_files):
    for rank in range(3):
        with pytest.raises(SchemaError, match=r"no column 'nam'.*did you mean 'name'"):
            read_parquet_partition(parquet_files, rank, 3, columns=["nam"])


def test_files_whose_schemas_differ_are_refused(parquet_files):
    pq.write_table(pa.table({"id": [1.5]}), parquet_files / "d.parquet")
    with pytest.raises(SchemaError, match=r"the files differ.*d\.parquet has id: double"):
        read_parquet_partition(parquet_files)
