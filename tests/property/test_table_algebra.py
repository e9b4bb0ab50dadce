"""Sets, slices and expressions over ranks against DuckDB, over threads."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.errors import DescriptionError, SchemaError, UsageError
from elevon.frames.join_sort.distributed import sort
from elevon.frames.operators.expressions import (
    drop,
    filter_rows,
    from_bytes,
    project,
    rename,
    to_bytes,
)
from elevon.frames.operators.sets import combine_sets, drop_duplicates
from elevon.frames.operators.slices import concat, equals, repartition, slice_rows
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import ask, errors_of, rows_of, shared
from tests.support.frames import KEYS, SIZES, multiset, partitions

SQL = {"union": "UNION", "intersect": "INTERSECT", "subtract": "EXCEPT"}
kinds_of_keys = st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=2)
sizes = st.sampled_from(SIZES)


def whole(parts):
    return pa.concat_tables(parts)


@settings(deadline=None, max_examples=50)
@given(data=st.data(), size=sizes, kinds=kinds_of_keys, keep=st.sampled_from(["first", "last"]))
def test_the_rows_that_stay_are_duckdbs_and_in_order(data, size, kinds, keep):
    parts = data.draw(partitions(kinds, size, "n"))
    keys = [f"k{i}" for i in range(len(kinds))]
    found = ThreadGroup(size).run(lambda comm: drop_duplicates(comm, parts[comm.rank], keys, keep))
    order = "ASC" if keep == "first" else "DESC"
    expected = ask(
        f"SELECT * FROM t QUALIFY row_number() OVER (PARTITION BY {', '.join(keys)} "
        f"ORDER BY n {order}) = 1 ORDER BY n",
        t=whole(parts),
    )
    assert rows_of(whole(found)) == rows_of(expected)
    for part, own in zip(found, parts, strict=True):
        assert set(part["n"].to_pylist()) <= set(own["n"].to_pylist()), "a row has moved"


@settings(deadline=None, max_examples=50)
@given(data=st.data(), size=sizes, kinds=kinds_of_keys, kind=st.sampled_from(list(SQL)))
def test_sets_are_sqls(data, size, kinds, kind):
    left, right = (data.draw(partitions(kinds, size, "n")) for _ in "lr")
    left, right = ([part.drop_columns("n") for part in parts] for parts in (left, right))
    found = ThreadGroup(size).run(
        lambda comm: combine_sets(comm, kind, left[comm.rank], right[comm.rank])
    )
    expected = ask(f"SELECT * FROM l {SQL[kind]} SELECT * FROM r", l=whole(left), r=whole(right))
    assert len({str(part.schema) for part in found}) == 1
    assert whole(found).schema.equals(left[0].schema)
    assert sorted(map(repr, rows_of(whole(found)))) == sorted(map(repr, rows_of(expected)))


@settings(deadline=None, max_examples=50)
@given(data=st.data(), size=sizes, bounds=st.tuples(*[st.none() | st.integers(-50, 50)] * 2))
def test_slices_are_pythons_and_concat_keeps_the_order(data, size, bounds):
    kinds = data.draw(kinds_of_keys)
    parts = [data.draw(partitions(kinds, size, "n")) for _ in range(data.draw(st.integers(1, 3)))]

    def run(comm):
        together = concat(comm, [each[comm.rank] for each in parts])
        loose = concat(comm, [each[comm.rank] for each in parts], ordered=False)
        return together, loose, slice_rows(comm, together, *bounds)

    together, loose, cut = (whole(found) for found in zip(*ThreadGroup(size).run(run), strict=True))
    expected = [row for each in parts for row in rows_of(whole(each))]
    assert rows_of(together) == expected
    assert multiset(loose) == multiset(together)
    assert rows_of(cut) == expected[slice(*bounds)]


@settings(deadline=None, max_examples=50)
@given(data=st.data(), size=sizes, kinds=kinds_of_keys)
def test_repartition_moves_every_row_once_and_equals_sees_what_changed(data, size, kinds):
    parts = data.draw(partitions(kinds, size, "n"))
    rows = sum(part.num_rows for part in parts)
    odd = data.draw(st.integers(0, max(rows - 1, 0)))

    def run(comm):
        own = parts[comm.rank]
        even, by_key = repartition(comm, own), repartition(comm, own, ["k0"])
        # One number is changed, which is one row less and one more.
        changed = own.set_column(
            own.num_columns - 1, "n", pc.if_else(pc.equal(own["n"], odd), -1, own["n"])
        )
        answers = (
            equals(comm, own, even),
            equals(comm, own, by_key, ordered=False),
            equals(comm, even, changed),
            equals(comm, changed, own, ordered=False),
            equals(comm, own, own.drop_columns("n")),
        )
        return even.num_rows, by_key, answers

    counts, by_key, answers = zip(*ThreadGroup(size).run(run), strict=True)
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == rows
    assert set(answers) == {(True, True, not rows, not rows, False)}
    owners = [set(map(repr, rows_of(part.select(["k0"])))) for part in by_key]
    assert sum(map(len, owners)) == len(set().union(*owners)), "a key lies on two ranks"


@settings(deadline=None, max_examples=50)
@given(data=st.data(), size=sizes, kind=st.sampled_from([pa.int8(), pa.float32(), pa.string()]))
def test_expressions_compute_what_sql_does(data, size, kind):
    parts = data.draw(partitions([kind], size, "n"))
    n, k = pc.field("n"), pc.field("k0")
    packed = to_bytes((n > 3) & (k.is_valid() | (n < 20)))

    def run(comm):
        kept = filter_rows(comm, parts[comm.rank], from_bytes(packed))
        made = project(comm, kept, {"k": "k0", "twice": n * 2 + 1, "none": k.is_null()})
        more = project(comm, kept, {"n": n * -1, "one": pc.scalar(1)}, extend=True)
        final = sort(comm, drop(comm, rename(comm, more, {"n": "minus"}), ["one"]), "minus")
        return made, more, final

    made, more, final = (whole(found) for found in zip(*ThreadGroup(size).run(run), strict=True))
    where = "FROM t WHERE n > 3 AND (k0 IS NOT NULL OR n < 20) ORDER BY n"
    table = whole(parts)
    expected = ask(f"SELECT k0 k, n*2+1 twice, k0 IS NULL AS none {where}", t=table)
    assert rows_of(made) == rows_of(expected)
    assert rows_of(more) == rows_of(ask(f"SELECT k0, -n, 1 {where}", t=table))
    assert final.column_names == ["k0", "minus"]
    assert rows_of(final) == rows_of(ask(f"SELECT k0, -n {where} DESC", t=table))


# ------------------------------------------------------------------ errors


BAD = {
    "subset": (lambda c, t: drop_duplicates(c, t, ["z"]), SchemaError, "no column 'z'"),
    "keep": (lambda c, t: drop_duplicates(c, t, None, "any"), DescriptionError, "keep='any'"),
    "lists": (lambda c, t: drop_duplicates(c, t, ["l"]), SchemaError, "not compared"),
    "set": (lambda c, t: combine_sets(c, "minus", t, t), DescriptionError, "'minus'"),
    "schemas": (
        lambda c, t: combine_sets(c, "union", t.select(["x"]), t.select(["s"])),
        SchemaError,
        "different columns",
    ),
    "concat": (lambda c, t: concat(c, [t, t.select(["x"])]), SchemaError, "different columns"),
    "nothing": (lambda c, t: concat(c, []), DescriptionError, "no table"),
    "by": (lambda c, t: repartition(c, t, ["z"]), SchemaError, "no column 'z'"),
    "unordered": (lambda c, t: equals(c, t, t, ordered=False), SchemaError, "not compared"),
    "field": (lambda c, t: filter_rows(c, t, pc.field("z") > 1), SchemaError, "z"),
    "number": (lambda c, t: filter_rows(c, t, pc.field("x")), SchemaError, "not true or false"),
    "types": (lambda c, t: project(c, t, {"y": pc.field("s") * 2}), SchemaError, "no kernel"),
    "select": (lambda c, t: project(c, t, {"y": "z"}), SchemaError, "no column 'z'"),
    "rename": (lambda c, t: rename(c, t, {"x": "s"}), SchemaError, "two columns"),
    "drop": (lambda c, t: drop(c, t, ["x", "s", "l"]), SchemaError, "none would be left"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("size", [1, 3])
def test_what_does_not_fit_is_an_error_on_every_rank(what, size):
    verb, kind, text = BAD[what]
    table = pa.table({"x": [1], "s": ["a"], "l": [[1]]})
    errors = [verb_error(verb, table)] if size == 1 else errors_of(size, lambda c: verb(c, table))
    assert [type(error) for error in errors] == [kind] * size
    assert all(text in str(error) for error in errors)


def verb_error(verb, table):
    with pytest.raises((SchemaError, DescriptionError)) as caught:
        ThreadGroup(1).run(lambda comm: verb(comm, table))
    return caught.value


@pytest.mark.parametrize(
    "verb",
    [
        lambda c, t: drop_duplicates(c, t, ["x"]),
        lambda c, t: combine_sets(c, "union", t, t),
        lambda c, t: slice_rows(c, t, 0, 1),
        lambda c, t: concat(c, [t, t]),
        lambda c, t: repartition(c, t, ["x"]),
        lambda c, t: equals(c, t, t),
        lambda c, t: filter_rows(c, t, pc.field("x") > 1),
        lambda c, t: project(c, t, {"x": "x"}),
        lambda c, t: rename(c, t, {"x": "z"}),
        lambda c, t: drop(c, t, ["x"]),
    ],
)
def test_a_rank_whose_table_is_different_is_told_to_all(verb):
    good, bad = pa.table({"x": [1], "y": [1]}), pa.table({"w": [1.5], "y": [1]})
    errors = errors_of(3, lambda comm: verb(comm, bad if comm.rank == 1 else good))
    assert [type(error) for error in errors] == [SchemaError] * 3


def test_a_value_that_cannot_be_computed_is_an_error():
    table = pa.table({"x": [2, 1, 0]})
    with pytest.raises(UsageError, match="divide by zero"):
        ThreadGroup(2).run(
            lambda comm: project(
                comm, shared(table, comm), {"y": pc.divide(pc.scalar(1), pc.field("x"))}
            )
        )


def test_only_expressions_travel():
    with pytest.raises(DescriptionError, match="pyarrow"):
        to_bytes("x > 1")
    with pytest.raises(DescriptionError, match="not an expression"):
        from_bytes(pickle.dumps("x > 1"))
    with pytest.raises(DescriptionError, match="cannot be read"):
        from_bytes(b"nonsense")
    with pytest.raises(DescriptionError, match="semi"):
        to_bytes(pc.is_in(pc.field("x"), value_set=pa.array(np.arange(3_000_000))))
    expression = pc.is_in(pc.field("x"), value_set=pa.array([1, 2]))
    assert from_bytes(to_bytes(expression)).equals(expression)


def test_many_rows_stay_in_order():
    table = pa.table({"x": np.arange(300_000)})
    (kept,) = ThreadGroup(1).run(lambda comm: filter_rows(comm, table, pc.field("x") >= 10))
    assert (np.diff(kept["x"].to_numpy()) == 1).all()
    assert kept.num_rows == 299_990
