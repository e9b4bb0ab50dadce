"""What every description checks of its fields: type, range, and that they can travel.

A check takes the field's name and what the caller gave. It returns a plain value of the declared
type, or raises a DescriptionError that names both. What is plainly meant is accepted: scalars of
numpy, 0 and 1 for False and True, one name where several may stand, None where a suffix is missing.
A float is no whole number here, not even 2.0, and a set no list of names, since it has no order.

Values of the caller's may be of any class, and their methods may raise anything or lie. So types
are asked of ``type(value)``, and methods are called under ``foreign`` only.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from elevon.errors import DescriptionError
from elevon.model.shown import shown, type_name
from elevon.model.texts import error_text

T = TypeVar("T")

#: Counts and positions are signed 64-bit numbers everywhere.
LARGEST_WHOLE: Final = 2**63 - 1
#: More ranks, or accelerators of one, than there are anywhere.
MOST_RANKS: Final = 1_000_000
#: A kernel takes no more threads (kMaxThreads in cpp/bindings/capsule.hpp).
MOST_CORES: Final = 1_024
#: Seconds: 31 years. Nanoseconds of it fit into 64 bits.
LONGEST_S: Final = 1e9
#: Characters of a name, a path, a URL.
LONGEST_TEXT: Final = 10_000
#: Entries of a list: names, paths, columns.
LONGEST_LIST: Final = 100_000
#: What numpy's kinds of scalars are made into.
_CONVERT: Final[dict[str, Callable[[Any], Any]]] = {
    "bool_": bool,
    "integer": int,
    "floating": float,
    "str_": str.__str__,
}
#: These can be iterated over, and yet are not meant as a list, or have no order.
_NO_LISTS: Final = (str, bytes, bytearray, memoryview, set, frozenset, Mapping)


class _Foreign:
    """What ``foreign`` gives; a class of its own, because every submit enters one."""

    __slots__ = ("_error_class", "_what")

    def __init__(self, what: str, error_class: type[DescriptionError]) -> None:
        self._what = what
        self._error_class = error_class

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and not is_a(error, (KeyboardInterrupt, DescriptionError)):
            raise self._error_class(f"{self._what}: {error_text(error, 800)}") from error


def foreign(what: str, error_class: type[DescriptionError] = DescriptionError) -> _Foreign:
    """Around code of the caller's: whatever it raises becomes a DescriptionError with that cause.

    SystemExit and its like, too, which are no reason to end when they come out of a value's
    method. Ctrl-C stays what it is.
    """
    return _Foreign(what, error_class)


def is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    """``isinstance``, without asking the value: its ``__class__`` may be a lie."""
    return issubclass(type(value), kind)


def whole(what: str, value: Any, least: int = -LARGEST_WHOLE, most: int = LARGEST_WHOLE) -> int:
    """A whole number from ``least`` to ``most``."""
    if type(value) is not int:
        value = _plain(value)
    if type(value) is not int or not least <= value <= most:
        limits = f"from {least:,} to {most:,}"
        if most == LARGEST_WHOLE:
            limits = f"of at least {least:,}" if least > -LARGEST_WHOLE else "of 64 bits"
        raise DescriptionError(f"{what} must be a whole number {limits}, not {shown(value)}")
    return value


def seconds(what: str, value: Any) -> float:
    """A time greater than 0."""
    number = _real(value)
    if number is None or not 0 < number <= LONGEST_S:
        raise DescriptionError(
            f"{what} must be a number of seconds greater than 0, at most {LONGEST_S:,.0f}, "
            f"not {shown(value)}"
        )
    return number


def patience(what: str, value: Any) -> float:
    """Seconds to wait at most, which may be none at all."""
    number = _real(value)
    if number is None:
        raise DescriptionError(f"{what} must be a number of seconds, not {shown(value)}")
    return number


def fraction(what: str, value: Any) -> float:
    """A number from 0 to 1."""
    number = _real(value)
    if number is None or not 0 <= number <= 1:
        raise DescriptionError(f"{what} must be a number from 0 to 1, not {shown(value)}")
    return number


def flag(what: str, value: Any) -> bool:
    """True or False; 0 and 1 stand for them, as in pandas."""
    if type(value) is not bool:
        value = _plain(value)
    if type(value) not in (bool, int) or value not in (0, 1):
        raise DescriptionError(f"{what} must be True or False, not {shown(value)}")
    return bool(value)


def text(what: str, value: Any, most: int = LONGEST_TEXT) -> str:
    """Text of at most ``most`` characters that can be written as UTF-8."""
    if type(value) is not str:
        value = _plain(value)
    if type(value) is not str:
        raise DescriptionError(f"{what} must be text, not {shown(value)}")
    if len(value) > most:
        raise DescriptionError(
            f"{what} has {len(value):,} characters, more than {most:,}: {shown(value)}"
        )
    if not value.isascii():
        _refuse_surrogates(what, value)
    return value


def new_name(what: str, value: Any) -> str:
    """What a column of a result is to be called."""
    name = text(what, value)
    if "\0" in name:
        raise DescriptionError(
            f"{what} holds a NUL, at which names end between Arrow's libraries: {shown(name)}"
        )
    return name


def path(what: str, value: Any) -> str:
    """A path or URL as text, out of text, bytes or a path object."""
    if type(value) is not str and hasattr(type(value), "__fspath__"):
        with foreign(f"{what}: {shown(value)} gives no path"):
            value = type(value).__fspath__(value)
    if type(value) is bytes:
        value = value.decode("utf-8", "surrogateescape")
    found = text(what, value)
    if not found or "\0" in found:
        raise DescriptionError(f"{what} is no path: {shown(found)}")
    return found


def paths(what: str, value: Any) -> tuple[str, ...]:
    """One path, or several in order."""
    single = is_a(value, (str, bytes)) or hasattr(type(value), "__fspath__")
    return tuple([path(what, one) for one in ((value,) if single else listed(what, value))])


def one_of(what: str, value: Any, known: tuple[str, ...]) -> str:
    """One of some words; the error suggests the one that was meant."""
    if type(value) is not str:
        value = _plain(value)
    if type(value) is not str or value not in known:
        hint = nearest(value, known)
        raise DescriptionError(f"{what}={shown(value)} is none of {', '.join(known)}{hint}")
    return value


def blob(what: str, value: Any, most: int) -> bytes:
    """Bytes, at most so many."""
    if type(value) is not bytes:
        raise DescriptionError(f"{what} must be bytes, not {shown(value)}")
    if len(value) > most:
        raise DescriptionError(f"{what} takes {len(value):,} bytes, more than the {most:,} allowed")
    return value


def names(what: str, value: Any) -> tuple[str, ...]:
    """One name, or several in order."""
    if type(value) is not tuple:
        value = _plain(value)
    if type(value) is str:
        return (text(what, value),)
    return tuple([text(what, one) for one in listed(what, value)])


def values(what: str, value: Any, kind: type[T], most: int = LONGEST_LIST) -> tuple[T, ...]:
    """Values of one kind of ours, in order."""
    found = listed(what, value, most)
    for one in found:
        if not is_a(one, kind):
            raise DescriptionError(f"{what} holds {shown(one)}, which does not belong there")
    return found


def listed(what: str, value: Any, most: int = LONGEST_LIST) -> tuple[Any, ...]:
    """The entries of a list, a tuple, an index of pandas or what else has entries in order."""
    if type(value) is tuple or type(value) is list:
        entries = tuple(value)
    elif is_a(value, _NO_LISTS):
        why = ": a set has no order" if is_a(value, (set, frozenset)) else ""
        raise DescriptionError(f"{what} must be a list, not {shown(value)}{why}")
    else:
        with foreign(f"{what} must be a list, not {type_name(value)}"):
            entries = tuple(islice(iter(value), most + 1))
    if len(entries) > most:
        raise DescriptionError(f"{what} has more than {most:,} entries")
    return entries


def pairs(what: str, value: Any) -> tuple[tuple[Any, Any], ...]:
    """The (key, value) entries of a mapping, in order."""
    if not is_a(value, Mapping):
        raise DescriptionError(f"{what} must be a mapping, not {shown(value)}")
    with foreign(f"{what}: the mapping cannot be read"):
        entries = islice(iter(value.items()), LONGEST_LIST + 1)
        found = tuple([(key, entry) for key, entry in entries])
    if len(found) > LONGEST_LIST:
        raise DescriptionError(f"{what} has more than {LONGEST_LIST:,} entries")
    return found


def optional(check: Callable[..., T], what: str, value: Any, *more: Any) -> T | None:
    """A value for which None may stand."""
    return None if value is None else check(what, value, *more)


def nearest(given: object, known: Iterable[str]) -> str:
    """For the end of a message: the known word that a given one comes close to."""
    if type(given) is not str or len(given) > 100:
        return ""
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def keep(struct: msgspec.Struct, **fields: object) -> None:
    """Put checked values into a frozen struct that is being made."""
    for name, value in fields.items():
        if getattr(struct, name) is not value:
            msgspec.structs.force_setattr(struct, name, value)


class Suggesting(type(msgspec.Struct)):  # type: ignore[misc]
    """The class of structs that users make by keyword: an unknown field is a DescriptionError."""

    def __call__(cls, *given: Any, **fields: Any) -> Any:
        """Make one."""
        try:
            return super().__call__(*given, **fields)
        except TypeError:
            known = cls.__struct_fields__
            for name in fields:
                if name not in known:
                    raise DescriptionError(
                        f"{cls.__name__} has no field {name!r}{nearest(name, known)} "
                        f"(known: {', '.join(known)})"
                    ) from None
            raise


def _real(value: Any) -> float | None:
    """A finite number as a float, or None for all else."""
    if type(value) is not float:
        value = _plain(value)
    if type(value) is int and abs(value) <= LARGEST_WHOLE:
        value = float(value)
    return value if type(value) is float and math.isfinite(value) else None


def _refuse_surrogates(what: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DescriptionError(
            f"{what} cannot be written as UTF-8: {shown(value)}. A file name that is no UTF-8 has "
            "to be changed first"
        ) from error


def _plain(value: Any) -> Any:
    """Subclasses of Python's own types, and scalars of numpy, as Python's own; others as they are.

    The methods of the base class are called, because those of a subclass may be anything.
    """
    kind = type(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, (numpy.generic, numpy.ndarray)):
        return _of_numpy(numpy, value)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int) and kind is not bool:
        return int.__int__(value)
    if issubclass(kind, float):
        return float.__float__(value)
    return value


def _of_numpy(numpy: Any, value: Any) -> Any:
    """A scalar of numpy, or an array of no dimension; times are left as they are."""
    if type(value) is numpy.ndarray and value.ndim == 0:
        value = value[()]
    if is_a(value, numpy.timedelta64):
        return value  # a kind of integer, whose number says nothing without its unit
    for name, convert in _CONVERT.items():
        if is_a(value, getattr(numpy, name)):
            with foreign(f"{shown(value)} cannot be read"):
                return convert(value)
    return value
