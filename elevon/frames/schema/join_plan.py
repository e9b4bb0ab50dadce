"""What a join will do, decided from schemas alone: keys, their types, the result's columns.

Names and order of the columns are those of ``pandas.merge``.

The order of steps for both callers: ``plan_join`` (schemas in, JoinPlan out), ``cast_keys`` on
each side (key columns become the type that both sides share), ``run_join`` (the kernel, and the
result's columns as the plan says).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as t
from numpy.typing import NDArray

from elevon import _native
from elevon.errors import DescriptionError, ResourceError, SchemaError
from elevon.frames.schema.dictionaries import as_dictionary, unordered
from elevon.frames.schema.kernel_errors import told
from elevon.frames.schema.key_types import common_key_type, is_carried_type
from elevon.model.operations import HOWS

Output = tuple[str, int, str]
#: These answer for each left row whether it has a partner, and return no column of the right.
LEFT_ONLY: Final = ("semi", "anti")


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """A join as the kernel needs it, and the schema of its result.

    Attributes:
        how: inner, left, right, outer, semi or anti.
        left_on: positions of the left key columns.
        right_on: positions of the right key columns, pair by pair.
        key_types: the type of each pair while it is compared.
        output: the result's columns as ``_native.hash_join`` takes them.
        schema: the result's schema.
    """

    how: str
    left_on: tuple[int, ...]
    right_on: tuple[int, ...]
    key_types: tuple[pa.DataType, ...]
    output: tuple[Output, ...]
    schema: pa.Schema


def plan_join(
    left: pa.Schema,
    right: pa.Schema,
    left_on: Sequence[str],
    right_on: Sequence[str],
    how: str = "inner",
    suffixes: tuple[str | None, str | None] = ("_x", "_y"),
) -> JoinPlan:
    """Plan the join of two tables.

    A key pair of one name appears once in the result. It has the left column's type where every
    row comes from the left (inner, left), the right column's type for a right join, and the
    common type for an outer join.

    Args:
        left: schema of the left table.
        right: schema of the right table.
        left_on: names of the left key columns.
        right_on: names of the right key columns, as many.
        how: inner, left, right, outer, semi or anti.
        suffixes: appended to the names of other columns that both tables have.

    Returns:
        The plan.

    Raises:
        DescriptionError: ``how`` is unknown, or the numbers of key columns differ or are zero.
        SchemaError: a key column is missing or named twice, two keys have no common type, two
            columns of the result would have one name, or the kernels do not know a type.
    """
    _check_request(left_on, right_on, how)
    check_columns(left)
    check_columns(right)
    left_keys = [find_column(left, name, "the left table") for name in left_on]
    right_keys = [find_column(right, name, "the right table") for name in right_on]
    types = tuple(
        _key_type(left.field(i), right.field(j)) for i, j in zip(left_keys, right_keys, strict=True)
    )
    columns = _Columns(left, right, tuple(left_keys), tuple(right_keys), types, how)
    fields = columns.left_only() if how in LEFT_ONLY else columns.both(suffixes)
    _refuse_repeated(field.name for _, field in fields)
    output = tuple((side, index, field.name) for (side, index), field in fields)
    schema = pa.schema([field for _, field in fields])
    return JoinPlan(how, tuple(left_keys), tuple(right_keys), types, output, schema)


def cast_keys(table: pa.Table, on: Sequence[int], types: Sequence[pa.DataType]) -> pa.Table:
    """The table with its key columns in the types of the plan.

    Args:
        table: one side of the join.
        on: positions of its key columns.
        types: the plan's ``key_types``.

    Returns:
        A table that shares every column that already fits.

    Raises:
        SchemaError: a value does not fit (a timestamp too far away for the finer unit).
    """
    for index, kind in zip(on, types, strict=True):
        field = table.schema.field(index)
        if field.type != kind:
            column = _cast(table.column(index), kind, field.name)
            table = table.set_column(index, pa.field(field.name, kind), column)
    return table


def run_join(
    plan: JoinPlan,
    left: pa.Table,
    right: pa.Table,
    nulls_equal: bool = False,
    threads: int = 1,
) -> pa.Table:
    """Run the kernel on two tables whose keys are cast, and give its columns the planned types.

    Args:
        plan: what ``plan_join`` made of the tables' schemas.
        left: the left rows, keys cast.
        right: the right rows, keys cast.
        nulls_equal: whether a null key matches a null key.
        threads: how many threads the kernel may use.

    Returns:
        The joined rows, with ``plan.schema``.

    Raises:
        ResourceError: the result does not fit into memory.
    """
    request = plan.left_on, plan.right_on, plan.how, plan.output
    try:
        with told("rows cannot be joined", left.schema, right.schema):
            joined = pa.table(_native.hash_join(left, right, *request, nulls_equal, threads))
    except MemoryError as error:
        pairs = _pairs(plan, left, right, nulls_equal)
        raise ResourceError(
            f"join: there is no memory for the result: {left.num_rows:,} left and "
            f"{right.num_rows:,} right rows have {pairs:,} pairs of equal keys "
            f"on this rank. Are the keys complete? If so, use more ranks, or aggregate first"
        ) from error
    columns = [
        _cast(column, field.type, field.name)
        for column, field in zip(joined.columns, plan.schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=plan.schema)


def _pairs(plan: JoinPlan, left: pa.Table, right: pa.Table, nulls_equal: bool) -> int:
    """How many pairs of rows have equal keys, as far as their hashes tell."""
    sides = (left, plan.left_on), (right, plan.right_on)
    (left_hashes, left_counts), (right_hashes, right_counts) = (
        np.unique(_hashes(table, on, nulls_equal), return_counts=True) for table, on in sides
    )
    _, at_left, at_right = np.intersect1d(left_hashes, right_hashes, True, return_indices=True)
    pairs = left_counts[at_left].astype(object) * right_counts[at_right]
    return int(pairs.sum())


def _hashes(table: pa.Table, on: Sequence[int], nulls_equal: bool) -> NDArray[np.uint64]:
    """Of the rows that can have a partner."""
    hashes: NDArray[np.uint64] = pa.table(_native.hash_rows(table, on, 1))["hash"].to_numpy()
    if nulls_equal:
        return hashes
    there = [table.column(index).is_valid().to_numpy() for index in on]
    return hashes[np.logical_and.reduce(there)]


def check_columns(schema: pa.Schema) -> None:
    """Refuse what no kernel can move, before a collective begins.

    Raises:
        SchemaError: a column is, or holds, a union, run-end encoded values or an extension type
            that this process has not registered; or a name holds a NUL.
    """
    check_names(schema)
    if not schema.names:
        raise SchemaError("a table without columns keeps no rows: give it a column")
    for field in schema:
        if "extension<" in str(field.type) and not _is_registered(field.type):
            raise SchemaError(
                f"column {field.name!r} has the type {field.type}, which would come back as "
                f"another: an extension type in a dictionary (decode it), or one that is not "
                f"registered in this process (pyarrow.register_extension_type)"
            )
        if not is_carried_type(field.type):
            raise SchemaError(
                f"column {field.name!r} has the type {field.type}, which cannot be joined, sorted "
                f"or sent: decode it (pyarrow.compute.run_end_decode) or leave it out"
            )


def _is_registered(kind: pa.DataType) -> bool:
    """Whether extension types come through Arrow's interfaces as themselves."""
    schema = pa.schema([pa.field("", kind)])
    return bool(pa.ipc.read_schema(schema.serialize()).field(0).type == kind)


def check_names(schema: pa.Schema) -> None:
    """Refuse names that would not come through Arrow's C interface, where a NUL ends them.

    Raises:
        SchemaError: a column's name, or that of a field inside, holds a NUL.
    """
    for field in schema:
        if "\0" in field.name or "\0" in str(field.type):
            raise SchemaError(
                f"column {field.name!r} ({str(field.type)!r}): a name holds a NUL, at which names "
                f"end between Arrow's libraries; rename it"
            )


def find_column(schema: pa.Schema, name: str, where: str) -> int:
    """The position of the one column called ``name``.

    Args:
        schema: where to look.
        name: the column's name.
        where: what the schema belongs to, for the message.

    Returns:
        Its position.

    Raises:
        SchemaError: there is none (the message names those there are and the closest), or more
            than one.
    """
    found = schema.get_all_field_indices(name)
    if len(found) == 1:
        return int(found[0])
    if found:
        raise SchemaError(f"{where} has {len(found)} columns called {name!r}: rename all but one")
    close = difflib.get_close_matches(name, schema.names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise SchemaError(f"{where} has no column {name!r}: it has {schema.names}{hint}")


@dataclass(frozen=True, slots=True)
class _Columns:
    """The two sides of a join, while the columns of its result are named."""

    left: pa.Schema
    right: pa.Schema
    left_on: tuple[int, ...]
    right_on: tuple[int, ...]
    types: tuple[pa.DataType, ...]
    how: str

    def left_only(self) -> list[tuple[tuple[str, int], pa.Field[Any]]]:
        """All columns of the left, as they are."""
        return [(("left", i), field) for i, field in enumerate(self.left)]

    def both(
        self, suffixes: tuple[str | None, str | None]
    ) -> list[tuple[tuple[str, int], pa.Field[Any]]]:
        """The left's columns, then the right's without the keys that share a name."""
        pairs = {
            i: number
            for number, (i, j) in enumerate(zip(self.left_on, self.right_on, strict=True))
            if self.left.names[i] == self.right.names[j]
        }
        shared = {self.right_on[number] for number in pairs.values()}
        rest = [j for j in range(len(self.right)) if j not in shared]
        rename = _renaming(
            [name for i, name in enumerate(self.left.names) if i not in pairs],
            [self.right.names[j] for j in rest],
            suffixes,
        )
        fields = [
            (("key", pairs[i]), self._key_field(pairs[i]))
            if i in pairs
            else (("left", i), field.with_name(rename[0].get(field.name, field.name)))
            for i, field in enumerate(self.left)
        ]
        for j in rest:
            field = self.right.field(j)
            renamed = field.with_name(rename[1].get(field.name, field.name))
            fields.append((("right", j), renamed))
        return [(source, pa.field(field.name, field.type)) for source, field in fields]

    def _key_field(self, number: int) -> pa.Field[Any]:
        left = self.left.field(self.left_on[number])
        right = self.right.field(self.right_on[number])
        kinds = {"inner": left.type, "left": left.type, "right": right.type}
        kind = kinds.get(self.how, self.types[number])
        # What was compared as plain values knows no order of its own any more.
        return pa.field(left.name, kind if kind == self.types[number] else unordered(kind))


def _check_request(left_on: Sequence[str], right_on: Sequence[str], how: str) -> None:
    if how not in HOWS:
        raise DescriptionError(f"join: how={how!r} is none of {', '.join(HOWS)}")
    if not left_on or len(left_on) != len(right_on):
        raise DescriptionError(
            f"join: needs as many left as right key columns, at least one: "
            f"left_on={list(left_on)}, right_on={list(right_on)}"
        )


def _key_type(left: pa.Field[Any], right: pa.Field[Any]) -> pa.DataType:
    common = common_key_type(left.type, right.type)
    if common is None:
        raise SchemaError(
            f"cannot join {left.name!r} ({left.type}) with {right.name!r} ({right.type}): "
            f"no key type holds the values of both; cast one of them first"
        )
    return common


def _renaming(
    left: Sequence[str], right: Sequence[str], suffixes: tuple[str | None, str | None]
) -> tuple[dict[str, str], dict[str, str]]:
    """What the columns that both sides have are called in the result."""
    overlap = [name for name in left if name in set(right)]
    if overlap and not (suffixes[0] or suffixes[1]):
        raise SchemaError(f"both tables have columns {overlap}, and both suffixes are empty")
    return (
        {name: name + (suffixes[0] or "") for name in overlap},
        {name: name + (suffixes[1] or "") for name in overlap},
    )


def _refuse_repeated(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SchemaError(
                f"the joined table would have two columns called {name!r}: "
                f"choose other suffixes, or rename one of them first"
            )
        seen.add(name)


def _cast(column: pa.ChunkedArray[Any], kind: pa.DataType, name: str) -> pa.ChunkedArray[Any]:
    if column.type == kind:
        return column
    try:
        return _converted(column, kind)
    except pa.ArrowException as error:
        raise SchemaError(
            f"column {name!r} ({column.type}) has a value that {kind} cannot hold, "
            f"which is the type it shares with its partner: {error}"
        ) from error


def _converted(column: pa.ChunkedArray[Any], kind: pa.DataType) -> pa.ChunkedArray[Any]:
    """The column as another type; back to a type that Arrow does not cast to, too."""
    if t.is_null(kind):
        # The key of a side whose values are all null: what is left of it are nulls.
        return pa.chunked_array([pa.nulls(len(column))], kind)
    if t.is_dictionary(kind):
        return as_dictionary(_converted(column, kind.value_type), kind)
    if t.is_dictionary(column.type):
        column = pa.chunked_array(
            [chunk.dictionary.take(chunk.indices) for chunk in column.chunks],
            column.type.value_type,
        )
    return column if column.type == kind else column.cast(kind)
