"""Which types the kernels take, and which one two key columns can both become without loss."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.types as t

#: How many decimal digits hold every value of an integer of so many bits.
DIGITS: Final = {8: 3, 16: 5, 32: 10, 64: 20}
#: decimal128 ends here; the kernels know no wider one.
MAX_PRECISION: Final = 38
Unit: TypeAlias = Literal["s", "ms", "us", "ns"]
#: From coarse to fine.
UNITS: Final[tuple[Unit, ...]] = ("s", "ms", "us", "ns")


def common_key_type(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """The type that both can be cast to without loss, so that equal values stay equal.

    A dictionary stands for its values, an extension type for its storage. A date and a timestamp,
    a zoned and an unzoned timestamp, text and bytes do not fit: which instant or encoding is meant
    is for the caller to say. 64-bit integers do not fit floats, which cannot tell 2**53 from
    2**53 + 1.

    Args:
        left: the type of the left key column.
        right: the type of the right key column.

    Returns:
        The common type, or None where there is none or no kernel joins on it.
    """
    if left == right:
        return left if is_key_type(left) else None
    left, right = _values_of(left), _values_of(right)
    if left == right:
        return left if is_key_type(left) else None
    if t.is_null(left) or t.is_null(right):
        return common_key_type(right, right) if t.is_null(left) else common_key_type(left, left)
    for rule in (_numbers, _decimals, _texts, _times):
        common = rule(left, right)
        if common is not None:
            return common
    return None


def is_key_type(kind: pa.DataType) -> bool:
    """Whether the kernels hash and compare values of this type."""
    kind = _values_of(kind)
    return bool(
        t.is_integer(kind)
        or t.is_floating(kind)
        or t.is_boolean(kind)
        or t.is_temporal(kind)
        or t.is_decimal(kind)
        or t.is_null(kind)
        or _is_bytes_like(kind)
    ) and not t.is_interval(kind)


def is_carried_type(kind: pa.DataType) -> bool:
    """Whether the kernels can move values of this type."""
    kind = _values_of(kind)
    if t.is_union(kind) or t.is_run_end_encoded(kind):
        return False
    return all(is_carried_type(kind.field(i).type) for i in range(kind.num_fields))


def _values_of(kind: pa.DataType) -> pa.DataType:
    """The type of the values behind dictionaries and extension types."""
    if t.is_dictionary(kind):
        return _values_of(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _values_of(kind.storage_type)
    return kind


def _is_bytes_like(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_binary(kind) or bool(t.is_fixed_size_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind))


def _numbers(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    if t.is_integer(left) and t.is_integer(right):
        return _integers(left, right)
    if t.is_floating(left) and t.is_floating(right):
        return left if left.bit_width >= right.bit_width else right
    if t.is_integer(left) and t.is_floating(right):
        return _integer_and_float(left, right)
    if t.is_floating(left) and t.is_integer(right):
        return _integer_and_float(right, left)
    return None


def _integers(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    if t.is_signed_integer(left) == t.is_signed_integer(right):
        return left if left.bit_width >= right.bit_width else right
    signed, unsigned = (left, right) if t.is_signed_integer(left) else (right, left)
    if signed.bit_width > unsigned.bit_width:
        return signed
    # No integer holds both int64 and uint64; a decimal of 20 digits does.
    wider: dict[int, pa.DataType] = {
        8: pa.int16(),
        16: pa.int32(),
        32: pa.int64(),
        64: pa.decimal128(20, 0),
    }
    return wider[unsigned.bit_width]


def _integer_and_float(integer: pa.DataType, real: pa.DataType) -> pa.DataType | None:
    """float16 holds integers up to 2**11 exactly, float32 up to 2**24, float64 up to 2**53."""
    if integer.bit_width == 64:
        return None
    exact: dict[int, pa.DataType] = {8: pa.float16(), 16: pa.float32(), 32: pa.float64()}
    needed = exact[integer.bit_width]
    return needed if needed.bit_width > real.bit_width else real


def _decimals(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    shapes = [_decimal_shape(kind) for kind in (left, right)]
    if None in shapes or not (t.is_decimal(left) or t.is_decimal(right)):
        return None
    whole = max(shape[0] for shape in shapes if shape)
    scale = max(shape[1] for shape in shapes if shape)
    return pa.decimal128(whole + scale, scale) if whole + scale <= MAX_PRECISION else None


def _decimal_shape(kind: pa.DataType) -> tuple[int, int] | None:
    """Digits before and after the point that hold every value of the type."""
    if t.is_integer(kind):
        return DIGITS[kind.bit_width], 0
    if t.is_decimal(kind) and not t.is_decimal256(kind):
        return kind.precision - kind.scale, max(kind.scale, 0)
    return None


def _texts(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    large = any(t.is_large_string(kind) or t.is_large_binary(kind) for kind in (left, right))
    if _is_text(left) and _is_text(right):
        return pa.large_string() if large else pa.string()
    if all(_is_binary(kind) or t.is_fixed_size_binary(kind) for kind in (left, right)):
        return pa.large_binary() if large else pa.binary()
    return None


def _times(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    if t.is_date(left) and t.is_date(right):
        return pa.date64()
    if t.is_duration(left) and t.is_duration(right):
        return pa.duration(_finer(left.unit, right.unit))
    if t.is_timestamp(left) and t.is_timestamp(right):
        zoned = left.tz is not None
        same = zoned == (right.tz is not None)
        return pa.timestamp(_finer(left.unit, right.unit), left.tz) if same else None
    if t.is_time(left) and t.is_time(right):
        return left if _finer(left.unit, right.unit) == left.unit else right
    return None


def _finer(left: Unit, right: Unit) -> Unit:
    return max(left, right, key=UNITS.index)
