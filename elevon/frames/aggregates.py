"""States of aggregates: made of rows on each rank, combined where the rows of a group meet.

Before it: ``grouping`` and ``measures``. After it: ``groupby``, which moves states from rank to
rank. Sums, counts, minima and maxima are their own states. The state of a mean or a variance is
(n, mean, M2), combined as Chan, Golub and LeVeque (1979) do, because differences of large sums of
squares would lose the digits that matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from numpy.typing import NDArray

from elevon.errors import SchemaError
from elevon.frames.exchange import take_rows
from elevon.frames.grouping import Column, Groups, Wish, aggregate_groups
from elevon.frames.measures import Form, has_room, in_form
from elevon.model.algebra import Aggregate

Reals = NDArray[np.float64]

MOMENTS: Final = ("mean", "var", "std")
#: The form and the function of each aggregate that one column of states is enough for.
FOLDS: Final[dict[str, tuple[Form, str]]] = {
    "count": ("valid", "sum"),
    "size": ("one", "sum"),
    "sum": ("sum", "sum"),
    "min": ("order", "min"),
    "max": ("order", "max"),
}
_NO_ROWS_IS_ZERO: Final = pc.ScalarAggregateOptions(min_count=0)


@dataclass(frozen=True, slots=True)
class Fold:
    """A state that one grouped function makes of rows and of states alike."""

    column: int
    form: Form
    function: str

    @property
    def name(self) -> str:
        """What its column is called among states."""
        return f"{self.column}.{self.form}.{self.function}"

    def wish(self) -> Wish:
        """What Arrow is asked for."""
        return self.name, self.function, _NO_ROWS_IS_ZERO if self.function == "sum" else None


@dataclass(frozen=True, slots=True)
class Moments:
    """The state of means and variances: how many, their mean, and their squared distances to it."""

    column: int

    @property
    def names(self) -> tuple[str, str, str]:
        """What its columns are called among states."""
        return f"{self.column}.n", f"{self.column}.mean", f"{self.column}.m2"


@dataclass(frozen=True, slots=True)
class States:
    """All the states that some aggregates need, each once."""

    folds: tuple[Fold, ...]
    moments: tuple[Moments, ...]

    @staticmethod
    def of(schema: pa.Schema, wanted: Iterable[Aggregate]) -> States:
        """The states of those of the aggregates that can be combined."""
        folds, moments = [], []
        for one in wanted:
            column = schema.get_field_index(one.column)
            if one.function in MOMENTS:
                moments.append(Moments(column))
            elif one.function in FOLDS:
                folds.append(Fold(column, *FOLDS[one.function]))
                if one.function == "sum" and _may_wrap(schema.field(column).type):
                    folds.append(Fold(column, "real", "sum"))
        return States(tuple(dict.fromkeys(folds)), tuple(dict.fromkeys(moments)))

    def of_rows(self, table: pa.Table, on: Sequence[int]) -> pa.Table:
        """One row of keys and states for each group of a table.

        Args:
            table: the user's rows.
            on: positions of the key columns.

        Returns:
            The key columns under the names "0", "1", ..., then the states.
        """
        keys = table.select(list(on))
        values = {one.name: in_form(table.column(one.column), one.form) for one in self.folds}
        values |= {one.names[0]: in_form(table.column(one.column), "real") for one in self.moments}
        wishes: list[Wish] = [one.wish() for one in self.folds]
        for one in self.moments:
            name = one.names[0]
            spread = pc.VarianceOptions(ddof=0)
            wishes += [(name, "count", None), (name, "mean", None), (name, "variance", spread)]
        found = aggregate_groups(keys, values, wishes)
        columns = dict(_keys_at(keys, found["row_min"].to_numpy()))
        columns |= {one.name: found[f"{one.name}_{one.function}"] for one in self.folds}
        for one in self.moments:
            columns |= _first_moments(one, found)
        return pa.table(columns)

    def of_states(self, table: pa.Table, keys: int) -> pa.Table:
        """One row for each group out of several ranks' rows of states.

        Args:
            table: what ``of_rows`` made, on any ranks.
            keys: how many key columns there are.

        Returns:
            A table of the same columns.
        """
        on = table.select(list(range(keys)))
        groups = Groups.of(on)
        columns = dict(_keys_at(on, groups.first))
        numbers = pa.table({"group": groups.numbers})
        values = {one.name: table[one.name] for one in self.folds}
        found = aggregate_groups(numbers, values, [one.wish() for one in self.folds])
        columns |= {one.name: found[f"{one.name}_{one.function}"] for one in self.folds}
        for one in self.moments:
            columns |= _combined_moments(one, table, groups)
        return pa.table(columns)

    def finish(self, states: pa.Table, wanted: Aggregate, schema: pa.Schema) -> Column:
        """The values of one aggregate out of its states.

        Args:
            states: what ``of_states`` made.
            wanted: the aggregate.
            schema: of the user's table.

        Raises:
            SchemaError: an integer sum has no room in 64 bits.
        """
        column = schema.get_field_index(wanted.column)
        if wanted.function in MOMENTS:
            return _finished_moments(states, Moments(column), wanted.function)
        fold = Fold(column, *FOLDS[wanted.function])
        found = states[fold.name]
        about = Fold(column, "real", "sum").name
        if wanted.function == "sum" and _may_wrap(schema.field(column).type):
            _check_room(found, states[about], wanted)
        return found


def _may_wrap(kind: pa.DataType) -> bool:
    """2**32 values of 32 bits fit into 64; of 64 bits, two may be too many."""
    return bool(t.is_integer(kind) and kind.bit_width == 64) or bool(t.is_duration(kind))


def _check_room(exact: Column, about: Column, wanted: Aggregate) -> None:
    if not has_room(exact, about):
        raise SchemaError(
            f"groupby: the sum of {wanted.column!r} ({wanted.name!r}) has more digits than 64 bits "
            f"hold: cast the column to float64 or decimal128(38, 0) first"
        )


def _keys_at(keys: pa.Table, rows: NDArray[np.int64]) -> Iterable[tuple[str, Any]]:
    names = [str(i) for i in range(keys.num_columns)]
    taken = take_rows(keys.rename_columns(names), rows)
    return zip(names, taken.columns, strict=True)


def _first_moments(one: Moments, found: pa.Table) -> dict[str, Any]:
    """Arrow computes the variance in two passes, so n times it is as good as M2."""
    n, mean, m2 = one.names
    count = found[f"{n}_count"]
    squares = pc.multiply(found[f"{n}_variance"], count.cast(pa.float64()))
    return {n: count, mean: pc.fill_null(found[f"{n}_mean"], 0.0), m2: pc.fill_null(squares, 0.0)}


@np.errstate(all="ignore")  # infinite values have no mean; the result says so
def _combined_moments(one: Moments, table: pa.Table, groups: Groups) -> dict[str, Any]:
    counts, means, squares = (table[name].to_numpy().astype(np.float64) for name in one.names)
    total = _per_group(groups, counts)
    mean = _per_group(groups, counts * means) / np.maximum(total, 1)
    apart = np.where(counts > 0, means - mean[groups.numbers], 0.0)
    m2 = _per_group(groups, squares + counts * apart * apart)
    return dict(zip(one.names, (total.astype(np.int64), mean, m2), strict=True))


def _per_group(groups: Groups, values: Reals) -> Reals:
    return np.bincount(groups.numbers, weights=values, minlength=len(groups)).astype(np.float64)


@np.errstate(all="ignore")  # a mean of nothing is masked below
def _finished_moments(states: pa.Table, one: Moments, function: str) -> Column:
    counts, means, squares = (states[name].to_numpy() for name in one.names)
    if function == "mean":
        return pa.chunked_array([pa.array(means, mask=counts < 1)])
    root: Callable[[Reals], Reals] = np.sqrt if function == "std" else np.asarray
    values = root(squares / np.maximum(counts - 1, 1))
    return pa.chunked_array([pa.array(values, mask=counts < 2)])
