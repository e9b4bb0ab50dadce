"""Every verb of the table algebra on every type: what plain Python says, or an error of ours."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elevon.comm.protocol import Communicator
from elevon.errors import UsageError
from elevon.frames.operators.expressions import filter_rows, project
from elevon.frames.operators.groupby import groupby
from elevon.frames.operators.ranking import rank_rows
from elevon.frames.operators.rolling import rolling
from elevon.frames.operators.sets import combine_sets, drop_duplicates
from elevon.frames.operators.slices import concat, equals, repartition, slice_rows
from elevon.model.algebra import Aggregate, Window
from elevon.testing.threads import ThreadGroup
from tests.support.algebra import shared
from tests.support.frames import plain
from tests.support.types import CARRIED, CODES_OF_CODES, COMPARED, DICTIONARIES, NO_CODES, RECODED

Verb = Callable[[Communicator, pa.Table], pa.Table]
KEYS = {**COMPARED, **DICTIONARIES, **RECODED, **NO_CODES, **CODES_OF_CODES}


@dataclass(frozen=True)
class Case:
    """A verb, and the rows that it makes in any order."""

    run: Verb
    rows: Sequence[tuple[object, ...]]


def value_of(value: object) -> object:
    """A value that can be compared: one NaN, one zero, nested ones spelt."""
    return str(value) if isinstance(value, list | dict) else plain(value)


def is_missing(value: object) -> bool:
    return value is None or value == "NaN"


def holds_numbers(column: pa.Array) -> bool:
    return any(isinstance(value, int | float | Decimal) for value in column.to_pylist())


def aggregate(function: str) -> Verb:
    return lambda comm, table: groupby(comm, table, [], [Aggregate("v", "v", function)])


def rounded(function: str) -> Verb:
    """An aggregate to ten digits after the point: the oracle adds up in another order."""

    def run(comm: Communicator, table: pa.Table) -> pa.Table:
        found = aggregate(function)(comm, table)
        return found.set_column(0, "v", pc.round(found["v"], 10))

    return run


def variance(reals: Sequence[float], power: float = 1.0) -> object:
    """None of fewer than two values; NaN where one of them is."""
    if len(reals) < 2:
        return None
    if any(map(math.isnan, reals)):
        return "NaN"
    return plain(round(statistics.variance(reals) ** power, 10))


def median(reals: Sequence[float]) -> object:
    """NaN is the greatest value."""
    if not reals:
        return None
    ordered = sorted(reals, key=lambda value: (math.isnan(value), value))
    return plain(round(statistics.median(ordered), 10))


def grouped(dropna: bool) -> Verb:
    count = [Aggregate("n", "n", "count")]
    return lambda comm, table: groupby(comm, table, ["v"], count, dropna=dropna)


def distinct(keep: str) -> Verb:
    return lambda comm, table: drop_duplicates(comm, table, ["v"], keep).select(["n"])


def of_sets(kind: str) -> Verb:
    return lambda comm, table: combine_sets(comm, kind, table.select(["v"]), table.select(["v"]))


def ranked(ascending: bool) -> Verb:
    return lambda comm, table: rank_rows(comm, table, "v", "dense", ascending).select(["n", "rank"])


def window(function: str, rows: int) -> Verb:
    wanted = [Window("o", "v", function)]
    return lambda comm, table: rolling(comm, table, rows, wanted, 0).select(["n", "o"])


def same(ordered: bool) -> Verb:
    def run(comm: Communicator, table: pa.Table) -> pa.Table:
        answer = equals(comm, table, table, ordered)
        return pa.table({"same": [answer]}).slice(0, 1 if comm.rank == 0 else 0)

    return run


def of_keys(values: Sequence[object]) -> dict[str, Case]:
    """The verbs that compare."""
    there = [value for value in values if value is not None]
    different = list(dict.fromkeys(values))
    order = sorted({value for value in there if value != "NaN"})
    first, last = [values.index(v) for v in different], {v: i for i, v in enumerate(values)}
    cases = {
        "count": Case(aggregate("count"), [(len(there),)]),
        "size": Case(aggregate("size"), [(len(values),)]),
        "nunique": Case(aggregate("nunique"), [(len(set(there)),)]),
        "first": Case(distinct("first"), [(row,) for row in first]),
        "last": Case(distinct("last"), [(row,) for row in last.values()]),
        "union": Case(of_sets("union"), [(value,) for value in different]),
        "intersect": Case(of_sets("intersect"), [(value,) for value in different]),
        "subtract": Case(of_sets("subtract"), []),
        "equals": Case(same(ordered=False), [(True,)]),
    }
    if order:
        cases["min"] = Case(aggregate("min"), [(order[0],)])
        cases["max"] = Case(aggregate("max"), [(order[-1],)])
    for dropna in (True, False):
        counts = [(v, values.count(v)) for v in different if not (dropna and is_missing(v))]
        cases[f"groupby {dropna=}"] = Case(grouped(dropna), counts)
    for ascending in (True, False):
        places = {v: i + 1 for i, v in enumerate(order if ascending else order[::-1])}
        ranks = [(row, places.get(value)) for row, value in enumerate(values)]
        cases[f"rank {ascending=}"] = Case(ranked(ascending), ranks)
    return cases


def of_numbers(values: Sequence[object]) -> dict[str, Case]:
    """The verbs that compute."""
    there = [value for value in values if value is not None]
    total = "NaN" if "NaN" in there else sum(there)
    reals = [math.nan if value == "NaN" else float(value) for value in there]
    each = [0.0 if v is None else v if v == "NaN" else float(v) for v in values]
    most = [v if is_missing(v) else float(v) for v in values]
    return {
        "sum": Case(aggregate("sum"), [(total,)]),
        "mean": Case(aggregate("mean"), [(plain(statistics.fmean(reals)),)]),
        "var": Case(rounded("var"), [(variance(reals),)]),
        "std": Case(rounded("std"), [(variance(reals, 0.5),)]),
        "median": Case(rounded("quantile"), [(median(reals),)]),
        "rolling sum": Case(window("sum", 1), list(enumerate(each))),
        "rolling max": Case(window("max", 1), list(enumerate(most))),
    }


def of_rows(values: Sequence[object]) -> dict[str, Case]:
    """The verbs that carry rows."""
    rows = [(value, row) for row, value in enumerate(values)]
    counts = [sum(v is not None for v in values[max(0, i - 1) : i + 1]) for i in range(len(values))]
    one_more = pc.field("n") + 0
    return {
        "rolling count": Case(window("count", 2), list(enumerate(counts))),
        "equals": Case(same(ordered=True), [(True,)]),
        "concat": Case(lambda comm, table: concat(comm, [table, table]), [*rows, *rows]),
        "slice": Case(lambda comm, table: slice_rows(comm, table, 1, 5), rows[1:5]),
        "repartition": Case(repartition, rows),
        "filter": Case(lambda c, t: filter_rows(c, t, pc.field("n") > 2), rows[3:]),
        "select": Case(lambda c, t: project(c, t, {"v": "v", "n": one_more}), rows),
        "assign": Case(lambda c, t: project(c, t, {"n": one_more}, extend=True), rows),
    }


def made(size: int, column: object, cases: dict[str, Case]) -> dict[str, list[object] | None]:
    """The rows of each case; None where it is refused, on every rank."""
    table = pa.table({"v": column, "n": range(6)})

    def attempt(comm: Communicator, verb: Verb) -> list[object] | None:
        try:
            return verb(comm, shared(table, comm)).to_pylist()
        except UsageError:
            return None

    def body(comm: Communicator) -> dict[str, list[object] | None]:
        return {name: attempt(comm, case.run) for name, case in cases.items()}

    ranks = ThreadGroup(size, timeout_s=20).run(body)
    found: dict[str, list[object] | None] = {}
    for name in cases:
        parts = [rank[name] for rank in ranks]
        assert len({part is None for part in parts}) == 1, f"{name}: some ranks only refuse"
        if parts[0] is not None:
            parts = [tuple(map(value_of, row.values())) for part in parts for row in part]
            found[name] = sorted(parts, key=str)
    return found


def check(column: object, cases: dict[str, Case], may_refuse: bool = False) -> None:
    for size in (1, 2, 3):
        found = made(size, column, cases)
        if not may_refuse:
            assert found.keys() == cases.keys()
        for name, rows in found.items():
            assert rows == sorted(cases[name].rows, key=str), f"{name} at {size} ranks"


@pytest.mark.parametrize("name", KEYS)
def test_every_verb_is_right_on_values_that_are_compared(name):
    values = [value_of(value) for value in KEYS[name].to_pylist()]
    check(KEYS[name], of_keys(values) | of_rows(values))


@pytest.mark.parametrize("name", [name for name in KEYS if holds_numbers(KEYS[name])])
def test_numbers_are_added_up_whatever_holds_them(name):
    values = [value_of(value) for value in KEYS[name].to_pylist()]
    check(KEYS[name], of_numbers(values))


@pytest.mark.parametrize("name", CARRIED)
def test_what_is_only_carried_is_right_or_refused_by_us(name):
    values = [value_of(value) for value in CARRIED[name].to_pylist()]
    cases = of_rows(values)
    if all(value is None or isinstance(value, str) for value in values):
        # Nested values have no order that an oracle could know.
        ordered = ("min", "max", "rank")
        keys = of_keys(values).items()
        cases |= {verb: case for verb, case in keys if not verb.startswith(ordered)}
    check(CARRIED[name], cases, may_refuse=True)
