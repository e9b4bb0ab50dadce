"""Values and errors of the caller's in messages: short, whatever they are, and never an error.

``repr`` and ``str`` run code of the value's class, which may raise anything or return megabytes,
and a message has to be written into logs and sent as UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

#: Characters of a value in a message.
LONGEST_SHOWN: Final = 200
#: Entries of a list that are shown, and how deep lists in lists are.
_ENTRIES: Final = 6
_DEPTH: Final = 3
_BITS: Final = 256


def shown(value: object) -> str:
    """The value as a message shows it."""
    return _cut(_shown(value, _DEPTH), LONGEST_SHOWN)


def type_name(value: object) -> str:
    """The name of the value's class, whatever its metaclass says."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return _writable(_cut(name, LONGEST_SHOWN))


def function_name(function: object) -> str:
    """A function's own name, or that of its class."""
    named = _guarded(lambda: function.__name__, "")  # type: ignore[attr-defined]
    return _cut(named, LONGEST_SHOWN) or type_name(function)


def _shown(value: object, depth: int) -> str:
    kind = type(value)
    if kind is str or kind is bytes:
        return _shown_text(value)  # type: ignore[arg-type]
    if kind is int and value.bit_length() > _BITS:  # type: ignore[attr-defined]
        return f"a number of {value.bit_length():,} bits"  # type: ignore[attr-defined]
    if kind is tuple or kind is list:
        return _shown_entries(value, depth)  # type: ignore[arg-type]
    if kind is dict or kind is set or kind is frozenset:
        return f"a {kind.__name__} of {len(value):,}"  # type: ignore[arg-type]
    return _guarded(lambda: repr(value), f"<{type_name(value)}>")


def _shown_text(value: str | bytes) -> str:
    if len(value) <= LONGEST_SHOWN:
        return repr(value)
    return f"{value[: LONGEST_SHOWN // 2]!r}... ({len(value):,} long)"


def _shown_entries(value: tuple[Any, ...] | list[Any], depth: int) -> str:
    opening, closing = ("(", ")") if type(value) is tuple else ("[", "]")
    if not depth:
        return f"{opening}...{closing}"
    entries = [_shown(entry, depth - 1) for entry in value[:_ENTRIES]]
    if len(value) > _ENTRIES:
        entries.append(f"... {len(value):,} in all")
    comma = "," if type(value) is tuple and len(value) == 1 else ""
    return f"{opening}{', '.join(entries)}{comma}{closing}"


def _guarded(say: Callable[[], str], otherwise: str) -> str:
    try:
        said = str.__str__(say())
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the class of a value may raise anything
        return otherwise
    return _writable(said[: 10 * LONGEST_SHOWN])


def _writable(said: str) -> str:
    return said.encode("utf-8", "backslashreplace").decode()


def _cut(said: str, most: int) -> str:
    return said if len(said) <= most else f"{said[:most]}..."
