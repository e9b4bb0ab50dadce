"""States of aggregates: made of rows on each rank, combined where the rows of a group meet.

Sums, counts, minima and maxima are their own states, and a mean is a sum and a count. The state of
a variance is (n, mean, M2), combined as Chan, Golub and LeVeque (1979) do, because differences of
large sums of squares would lose the digits that matter.
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
from elevon.frames.aggregation.measures import Form, has_room, in_form
from elevon.frames.aggregation.segments import FoldName, fold, per_group
from elevon.frames.aggregation.sort_groups import Groups
from elevon.frames.exchange.shuffle import take_rows
from elevon.frames.schema.decoded import Column, decoded_type
from elevon.model.algebra import Aggregate

Reals = NDArray[np.float64]

MOMENTS: Final = ("var", "std")
#: The forms and the functions of the states that are folded alike from values and from states.
FOLDS: Final[dict[str, tuple[tuple[Form, FoldName], ...]]] = {
    "count": (("valid", "sum"),),
    "size": (("one", "sum"),),
    "sum": (("sum", "sum"),),
    "mean": (("real", "sum"), ("valid", "sum")),
    "min": (("order", "min"),),
    "max": (("order", "max"),),
}


@dataclass(frozen=True, slots=True)
class Fold:
    """A state that one function makes of values and of states alike."""

    column: int
    form: Form
    function: FoldName

    @property
    def name(self) -> str:
        """What its column is called among states."""
        return f"{self.column}.{self.form}.{self.function}"


@dataclass(frozen=True, slots=True)
class Moments:
    """The state of a variance: how many, their mean, and their squared distances to it."""

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
                folds += [Fold(column, *state) for state in FOLDS[one.function]]
                if one.function == "sum" and _may_wrap(schema.field(column).type):
                    folds.append(Fold(column, "real", "sum"))
        return States(tuple(dict.fromkeys(folds)), tuple(dict.fromkeys(moments)))

    @property
    def may_wrap(self) -> bool:
        """Whether there is a sum that may have no room in its type."""
        sums = {(one.column, one.form) for one in self.folds if one.function == "sum"}
        return any(form == "sum" and (column, "real") in sums for column, form in sums)

    def of_rows(self, table: pa.Table, on: Sequence[int]) -> pa.Table:
        """Each row of a table as the states of a group of one.

        Args:
            table: the user's rows.
            on: positions of the key columns.

        Returns:
            The key columns under the names "0", "1", ..., then the states.
        """
        columns = {str(i): table.column(at) for i, at in enumerate(on)}
        columns |= {one.name: in_form(table.column(one.column), one.form) for one in self.folds}
        for one in self.moments:
            real = in_form(table.column(one.column), "real")
            distance = pa.array(np.zeros(table.num_rows))
            values = in_form(real, "valid"), pc.fill_null(real, 0.0), distance
            columns |= dict(zip(one.names, values, strict=True))
        return pa.table(columns)

    def folded(self, states: pa.Table, keys: int, threads: int = 1) -> pa.Table:
        """One row for each group out of several rows of states.

        Args:
            states: what ``of_rows`` or ``folded`` made, of any ranks.
            keys: how many key columns there are.
            threads: how many threads the sort kernel may use.

        Returns:
            A table of the same columns, in the order of the keys.
        """
        on = states.select(list(range(keys)))
        values = dict(zip(states.column_names[keys:], states.columns[keys:], strict=True))
        groups = Groups.of(on, values, threads)
        columns = dict(zip(on.column_names, take_rows(on, groups.first).columns, strict=True))
        for one in self.folds:
            columns[one.name] = fold(groups, groups.values[one.name], one.function)
        for moments in self.moments:
            columns |= _combined(moments, groups)
        return pa.table(columns)

    def finish(self, states: pa.Table, wanted: Aggregate, schema: pa.Schema) -> Column:
        """The values of one aggregate out of its states.

        Args:
            states: what ``folded`` made.
            wanted: the aggregate.
            schema: of the user's table.

        Raises:
            SchemaError: a sum of integers, durations or decimals has no room in its type.
        """
        column = schema.get_field_index(wanted.column)
        if wanted.function in MOMENTS:
            return _finished_moments(states, Moments(column), wanted.function)
        found, *count = (states[Fold(column, *state).name] for state in FOLDS[wanted.function])
        if wanted.function == "mean":
            return _quotient(found, count[0])
        kind = schema.field(column).type
        if wanted.function == "sum" and _may_wrap(kind):
            _check_room(found, states[Fold(column, "real", "sum").name], wanted, kind)
        return found


def _may_wrap(kind: pa.DataType) -> bool:
    """2**32 values of 32 bits fit into 64; of 64 bits, two may be too many.

    So are ten of all digits of a wide decimal; 10**20 values of decimal64 fit into decimal128.
    """
    kind = decoded_type(kind)
    if t.is_decimal(kind):
        return bool(kind.bit_width >= 128)
    return bool(t.is_integer(kind) and kind.bit_width == 64) or bool(t.is_duration(kind))


def _check_room(exact: Column, about: Column, wanted: Aggregate, kind: pa.DataType) -> None:
    if not has_room(exact, about):
        raise SchemaError(
            f"{wanted.name}: the sum of {wanted.column!r} ({kind}) has more digits than "
            f"{exact.type} holds: cast the column to {_wider(decoded_type(kind))} first"
        )


def _wider(kind: pa.DataType) -> str:
    """What to cast a column to whose sum has no room."""
    if t.is_duration(kind):
        return "a duration of a coarser unit"
    scale = kind.scale if t.is_decimal(kind) else 0
    return "float64" if t.is_decimal256(kind) else f"float64 or decimal256(76, {scale})"


@np.errstate(all="ignore")  # infinite values have no mean; the result says so
def _combined(one: Moments, groups: Groups) -> dict[str, Any]:
    values = (groups.values[name].to_numpy() for name in one.names)
    counts, means, squares = (value.astype(np.float64, copy=False) for value in values)
    total = per_group(groups, counts)
    mean = per_group(groups, counts * means) / np.maximum(total, 1)
    apart = np.where(counts > 0, means - np.repeat(mean, groups.lengths), 0.0)
    m2 = per_group(groups, squares + counts * apart * apart)
    return dict(zip(one.names, map(pa.array, (total.astype(np.int64), mean, m2)), strict=True))


def _quotient(total: Column, count: Column) -> Column:
    return pc.divide(total, pc.if_else(pc.equal(count, 0), None, count.cast(pa.float64())))


@np.errstate(all="ignore")  # NaN and infinite values go where arithmetic takes them
def _finished_moments(states: pa.Table, one: Moments, function: str) -> Column:
    counts, _, squares = (states[name].to_numpy() for name in one.names)
    root: Callable[[Reals], Reals] = np.sqrt if function == "std" else np.asarray
    values = root(squares / np.maximum(counts - 1, 1))
    return pa.chunked_array([pa.array(values, mask=counts < 2)])
