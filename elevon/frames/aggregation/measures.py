"""What an aggregate is over: the forms in which columns are added, compared and averaged.

Aggregates leave nulls out. NaN is a value: it makes a sum NaN, and a minimum or maximum looks past
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

from elevon.errors import SchemaError
from elevon.frames.aggregation.sort_groups import find_keys
from elevon.frames.schema.decoded import Column, decoded, decoded_type
from elevon.frames.schema.join_plan import find_column
from elevon.frames.schema.key_types import is_key_type
from elevon.model.algebra import Aggregate

Form: TypeAlias = Literal["valid", "one", "sum", "order", "real"]

#: Which aggregates look at numbers only, and which give a real one.
REAL: Final = ("mean", "var", "std", "quantile")


def in_form(column: Column, form: Form) -> Column:
    """The column as one of the state functions wants it.

    Args:
        column: a column of the user's table.
        form: "valid": 1 for a value and 0 for a null; "one": 1 for every row; "sum": a type that
            can be added; "order": a type that can be compared; "real": float64.

    Returns:
        A column of as many rows.
    """
    if form == "valid":
        return column.is_valid().cast(pa.int64())
    if form == "one":
        return pc.if_else(column.is_valid(), 1, 1).cast(pa.int64())
    if form == "real":
        return _as(column, pa.float64())
    return _as(column, _summed(column.type) if form == "sum" else _compared(column.type))


def from_form(column: Column, kind: pa.DataType) -> Column:
    """A finished column in the type that the result promises."""
    return column if column.type == kind else column.cast(kind, safe=False)


def check_aggregate(schema: pa.Schema, wanted: Aggregate) -> pa.Field[Any]:
    """The result column of an aggregate.

    Args:
        schema: the table's schema.
        wanted: the aggregate.

    Returns:
        Its name and type.

    Raises:
        SchemaError: the column is missing, or its values cannot be aggregated so.
    """
    kind = schema.field(find_column(schema, wanted.column, "the table")).type
    return pa.field(wanted.name, _result_type(schema, wanted, kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type have a mean."""
    kind = decoded_type(kind)
    return bool(
        t.is_integer(kind)
        or t.is_floating(kind)
        or t.is_decimal(kind)
        or t.is_boolean(kind)
        or t.is_null(kind)
    )


def check_number(kind: pa.DataType, column: str, function: str) -> None:
    """Refuse what has no mean.

    Raises:
        SchemaError: it is no column of numbers.
    """
    if not is_number(kind):
        raise SchemaError(
            f"cannot compute {function} of {column!r}: {kind} is no number; cast it first, or use "
            f"count, nunique, min or max"
        )


def has_room(exact: Column, about: Column) -> bool:
    """Whether sums of integers and decimals are the true ones.

    A sum that does not fit wraps around, by a multiple of two to the power of its bits; the same
    sum in floats tells about how large it is. A decimal may have a digit too many before that.

    Args:
        exact: the sums.
        about: the same sums in floats.
    """
    kind = exact.type
    scale = kind.scale if t.is_decimal(kind) else 0
    apart = pc.max(pc.abs(pc.subtract(exact.cast(pa.float64(), safe=False), about))).as_py()
    if apart is not None and not apart < 2.0 ** (kind.bit_width - 2) / 10.0**scale:
        return False
    return not t.is_decimal(kind) or _has_digits(exact)


def _has_digits(sums: Column) -> bool:
    try:
        sums.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def missing_keys(table: pa.Table, on: Sequence[int]) -> pa.ChunkedArray[Any] | None:
    """For each row, whether a key is null or NaN; None where all keys are there."""
    columns = [column for column in map(decoded, map(table.column, on)) if _may_miss(column)]
    if not columns:
        return None
    missing = columns[0].is_null(nan_is_null=True)
    for column in columns[1:]:
        missing = pc.or_(missing, column.is_null(nan_is_null=True))
    return missing


def _may_miss(column: Column) -> bool:
    return column.null_count > 0 or bool(t.is_floating(column.type))


def _result_type(schema: pa.Schema, wanted: Aggregate, kind: pa.DataType) -> pa.DataType:
    function, column = wanted.function, wanted.column
    if function in ("count", "size"):
        return pa.int64()
    if function == "nunique":
        find_keys(schema, [column], "count different values of")
        return pa.int64()
    if function in REAL:
        check_number(kind, column, function)
        return pa.float64()
    if function == "sum":
        if t.is_duration(decoded_type(kind)):
            return decoded_type(kind)
        check_number(kind, column, function)
        return _summed(kind)
    if not is_key_type(kind) or t.is_null(decoded_type(kind)):
        raise SchemaError(f"cannot compute {function} of {column!r}: {kind} has no order")
    return decoded_type(kind) if t.is_dictionary(kind) else kind


def _summed(kind: pa.DataType) -> pa.DataType:
    """A type with room for a sum, as Arrow chooses it."""
    kind = decoded_type(kind)
    if t.is_unsigned_integer(kind):
        return pa.uint64()
    if t.is_floating(kind):
        return pa.float64()
    if t.is_decimal256(kind):
        return pa.decimal256(76, kind.scale)
    return pa.decimal128(38, kind.scale) if t.is_decimal(kind) else pa.int64()


def _compared(kind: pa.DataType) -> pa.DataType:
    """A type whose minimum ``folding`` knows, and whose values are in the same order."""
    kind = decoded_type(kind)
    if t.is_decimal(kind) and kind.bit_width < 128:
        return pa.decimal128(38, kind.scale)
    if t.is_temporal(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if t.is_boolean(kind):
        return pa.uint8()
    if t.is_float16(kind):
        return pa.float32()
    if t.is_string_view(kind):
        return pa.large_string()
    is_bytes = t.is_fixed_size_binary(kind) or t.is_binary_view(kind)
    return pa.large_binary() if is_bytes else kind


def _as(column: Column, kind: pa.DataType) -> Column:
    """A cast that may round large integers to the nearest float, and nothing else."""
    column = decoded(column)
    own = column.type
    if t.is_float16(own):
        return column.cast(pa.float32()).cast(kind)
    if t.is_duration(own):
        return _as(column.cast(pa.int64()), kind)
    return column if own == kind else column.cast(kind, safe=not t.is_integer(own))
