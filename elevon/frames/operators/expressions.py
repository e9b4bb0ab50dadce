"""Rows and columns chosen or computed by Arrow expressions: filter, select, assign, rename, drop.

No row travels: each rank works on its own rows, once all have agreed. Expressions run in Arrow's
streaming engine on one thread, which keeps the order.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from pyarrow import acero

from elevon.comm.protocol import Communicator
from elevon.errors import DescriptionError, SchemaError, UsageError
from elevon.frames.exchange.agreement import spell
from elevon.frames.exchange.own_bytes import own_bytes
from elevon.frames.exchange.requests import Request, settle
from elevon.frames.exchange.shuffle import take_rows
from elevon.frames.memory.budget import check_memory
from elevon.frames.memory.partitioned import in_slices
from elevon.frames.schema.decoded import decoded
from elevon.frames.schema.join_plan import check_columns, check_names, find_column
from elevon.model.algebra import LARGEST_EXPRESSION_BYTES
from elevon.model.checks import foreign
from elevon.model.shown import shown, type_name

#: A column of the input by its name, or an expression over the input's columns.
Source: TypeAlias = "str | pc.Expression"

#: Ranks with a stack of 8 MiB, which is usual, come to more than 3,000.
DEEPEST_EXPRESSION: Final = 2_000
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_DECIMAL_HINT: Final = (
    ". Arrow compares decimals with decimals only, of up to 38 digits (76 for decimal256): write "
    "decimal.Decimal('300') for 300, or cast the column to decimal256 or float64"
)
#: What Arrow raises where an expression and a table do not fit.
_MISFITS: Final = (
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    pa.ArrowKeyError,
    pa.ArrowNotImplementedError,
    pa.ArrowIndexError,
)


def to_bytes(expression: pc.Expression) -> bytes:
    """An expression for the wire.

    Args:
        expression: made of ``pyarrow.compute.field``, ``scalar`` and functions of Arrow.

    Returns:
        What ``from_bytes`` understands.

    Raises:
        DescriptionError: it is no expression, or holds something that does not travel.
    """
    if type(expression) is not pc.Expression:
        raise DescriptionError(
            f"an expression of pyarrow is needed, such as pyarrow.compute.field('x') > 1, "
            f"not {type_name(expression)}: {shown(expression)}"
        )
    _refuse_deep(expression)
    what = f"the expression {shown(expression)} cannot travel to the ranks (do it in a function "
    with foreign(f"{what}of your own, with submit)"):
        data = pickle.dumps(expression)
        pickle.loads(data)
    if len(data) > LARGEST_EXPRESSION_BYTES:
        raise DescriptionError(
            f"the expression takes {len(data):,} bytes, more than the {LARGEST_EXPRESSION_BYTES:,} "
            f'that travel with a task: bring its values in as a table, and join with how="semi"'
        )
    return data


def _refuse_deep(expression: pc.Expression) -> None:
    """Arrow works on an expression by recursion: a deep one would end the rank's process."""
    spelt = _QUOTED.sub("", str(expression))
    if spelt.count("(") <= DEEPEST_EXPRESSION:
        return
    steps = ((char == "(") - (char == ")") for char in spelt)
    depth = max(accumulate(steps))
    if depth > DEEPEST_EXPRESSION:
        raise DescriptionError(
            f"the expression nests {depth:,} calls, more than {DEEPEST_EXPRESSION:,}: write many "
            "values as one is_in, a chain of operators as a balanced one, or several steps"
        )


def from_bytes(data: bytes) -> pc.Expression:
    """The expression that ``to_bytes`` packed.

    Raises:
        DescriptionError: this version of pyarrow cannot read it.
    """
    with foreign("an expression cannot be read on this rank"):
        found = pickle.loads(data)
    if type(found) is not pc.Expression:
        raise DescriptionError(f"not an expression, but {type_name(found)}")
    return found


def filter_rows(
    comm: Communicator,
    table: pa.Table,
    predicate: pc.Expression,
    memory_bytes: int | None = None,
) -> pa.Table:
    """The rows for which an expression is true; those for which it is null are left out.

    Collective: every rank passes its rows and gets those of them that fit, in their order.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        predicate: a boolean expression over the table's columns. It is Arrow's: an ordered
            dictionary is compared by its values, not by its order.
        memory_bytes: how much working memory each rank may take beside its input and its result:
            the rows are worked through in slices that keep to it. None: no limit.

    Returns:
        This rank's rows.

    Raises:
        SchemaError: the expression does not fit the table of any rank; on every rank.
        UsageError: it cannot be computed for a value; on the rank that has the value.
        CommunicatorError: the group failed.
    """

    def run(rows: pa.Table) -> pa.Table:
        check_columns(rows.schema)
        found = decoded(_evaluated(rows, {"": predicate}).column(0))
        if found.type != pa.bool_():
            raise SchemaError(f"filter {predicate}: gives {found.type}, not true or false")
        kept = np.flatnonzero(pc.fill_null(found, False).to_numpy())
        return rows if len(kept) == rows.num_rows else take_rows(rows, kept)

    return _locally(comm, table, f"filter {predicate}", run, memory_bytes)


def project(
    comm: Communicator,
    table: pa.Table,
    columns: Mapping[str, Source],
    extend: bool = False,
    memory_bytes: int | None = None,
) -> pa.Table:
    """A table of chosen and computed columns.

    Collective: every rank passes its rows and gets as many.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        columns: the result's columns: for each name a column of ``table`` or an expression. All
            of them see ``table`` as it is, not each other.
        extend: whether the table's own columns come first; one of a name that is given again is
            replaced in its place.
        memory_bytes: how much working memory each rank may take beside its input and its result:
            the rows are worked through in slices that keep to it. None: no limit.

    Returns:
        This rank's rows of the result.

    Raises:
        SchemaError: a column is missing or an expression does not fit, on any rank; on every rank.
        UsageError: an expression cannot be computed for a value; on the rank that has the value.
        CommunicatorError: the group failed.
    """

    def run(rows: pa.Table) -> pa.Table:
        made = _computed(rows, columns)
        return _extended(rows, made) if extend else made

    named = ", ".join(f"{name} = {source}" for name, source in columns.items())
    return _locally(comm, table, f"{'assign' if extend else 'select'} {named}", run, memory_bytes)


def rename(comm: Communicator, table: pa.Table, columns: Mapping[str, str]) -> pa.Table:
    """The table with other names for some of its columns. Collective, as ``project``.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        columns: the new name for each old one.

    Returns:
        This rank's rows.

    Raises:
        SchemaError: a column is missing, or two would have one name; on every rank.
        CommunicatorError: the group failed.
    """

    def run(rows: pa.Table) -> pa.Table:
        for old in columns:
            find_column(rows.schema, old, "the table")
        names = [columns.get(name, name) for name in rows.column_names]
        for name in names:
            if names.count(name) > 1:
                raise SchemaError(f"rename: two columns would be called {name!r}: {names}")
        return rows.rename_columns(names)

    return _locally(comm, table, f"rename {dict(columns)}", run)


def drop(comm: Communicator, table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The table without some of its columns. Collective, as ``project``.

    Args:
        comm: the group of ranks.
        table: this rank's rows.
        columns: names of the columns that go.

    Returns:
        This rank's rows.

    Raises:
        SchemaError: a column is missing, or none would be left; on every rank.
        CommunicatorError: the group failed.
    """

    def run(rows: pa.Table) -> pa.Table:
        gone = {find_column(rows.schema, name, "the table") for name in columns}
        left = [index for index in range(rows.num_columns) if index not in gone]
        if not left:
            raise SchemaError(f"drop: {rows.column_names} are all columns: none would be left")
        return rows.select(left)

    return _locally(comm, table, f"drop {list(columns)}", run)


def _locally(
    comm: Communicator,
    table: pa.Table,
    what: str,
    run: Callable[[pa.Table], pa.Table],
    memory_bytes: int | None = None,
) -> pa.Table:
    """Try on no rows whether columns and types fit; if they do on all ranks, run on all rows."""

    def checked(rows: pa.Table, kind: type[UsageError]) -> pa.Table:
        try:
            return run(rows)
        except _MISFITS as error:
            hint = _DECIMAL_HINT if "recision" in str(error) else ""
            raise kind(f"{what}: {error}; the table has {spell(table.schema)}{hint}") from error

    def prepare() -> Request[None]:
        check_memory(memory_bytes)
        check_names(checked(table.slice(0, 0), SchemaError).schema)
        return Request(None, f"{what} of {spell(table.schema)}")

    settle(comm, prepare)
    # Beside an expression's columns the engine holds plain forms of views, and positions of rows.
    nbytes = 0 if memory_bytes is None else 2 * own_bytes(table) + 16 * int(table.num_rows)
    return in_slices(table, memory_bytes, nbytes, lambda rows: checked(rows, UsageError))


def _evaluated(table: pa.Table, expressions: Mapping[str, pc.Expression]) -> pa.Table:
    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(_readable(table)))
    options = acero.ProjectNodeOptions(list(expressions.values()), list(expressions))
    steps = [source, acero.Declaration("project", options)]
    return acero.Declaration.from_sequence(steps).to_table(use_threads=False)


def _readable(table: pa.Table) -> pa.Table:
    """Views as plain text and bytes: Polars hands out views, and Arrow's functions take none."""
    for index, field in enumerate(table.schema):
        # Not by a mapping: types of the caller's own need not have a hash.
        plain = pa.string() if t.is_string_view(field.type) else pa.binary()
        if t.is_string_view(field.type) or t.is_binary_view(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(plain))
    return table


def _computed(table: pa.Table, columns: Mapping[str, Source]) -> pa.Table:
    """Columns that are only chosen are shared with the table; the engine computes the others."""
    derived = {name: it for name, it in columns.items() if not isinstance(it, str)}
    found = {}
    if derived:
        found = dict(zip(derived, _evaluated(table, derived).columns, strict=True))
    made = [
        table.column(find_column(table.schema, it, "the table"))
        if isinstance(it, str)
        else found[name]
        for name, it in columns.items()
    ]
    return pa.Table.from_arrays(made, list(columns))


def _extended(table: pa.Table, made: pa.Table) -> pa.Table:
    for name, column in zip(made.column_names, made.columns, strict=True):
        if name in table.column_names:
            table = table.set_column(find_column(table.schema, name, "the table"), name, column)
        else:
            table = table.append_column(name, column)
    return table
