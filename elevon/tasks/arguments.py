"""What users write in a verb, made into frozen values: names, named aggregates, expressions.

A keyword of a verb that is no task option names a column of the result; one that is neither gets an
error with a suggestion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from elevon.errors import DescriptionError
from elevon.model.algebra import Aggregate, Derived, Window
from elevon.model.tasks import OPTION_NAMES, TaskOptions, with_options

Names: TypeAlias = str | Sequence[str]
Keywords: TypeAlias = Mapping[str, Any]


def as_names(names: Names | None) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def split_options(named: Keywords) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords that name columns, and those that are task options."""
    options = {name: value for name, value in named.items() if name in OPTION_NAMES}
    return {name: value for name, value in named.items() if name not in options}, options


def as_aggregates(given: Keywords | None, named: Keywords) -> tuple[Aggregate, ...]:
    """Named aggregates as pandas writes them: ``total=("x", "sum")``.

    Args:
        given: those of the verb's mapping, whose names may be those of options, too.
        named: those among the keywords.

    Raises:
        DescriptionError: one has another form, or an unknown function.
    """
    wanted = {**(given or {}), **named}
    return tuple(_aggregate(name, value) for name, value in wanted.items())


def as_windows(given: Keywords | None, named: Keywords) -> tuple[Window, ...]:
    """Named functions over a window, in the form of ``as_aggregates``."""
    windows = []
    for name, value in {**(given or {}), **named}.items():
        column, function, *rest = _pair("rolling", name, value)
        if rest:
            raise DescriptionError(f'rolling: {name}={value!r}: give ("column", "function")')
        windows.append(Window(name, column, function))
    return tuple(windows)


def as_columns(verb: str, chosen: Sequence[str | Keywords], named: Keywords) -> tuple[Derived, ...]:
    """Columns that are chosen by name, or computed by an expression under a name.

    Args:
        verb: for messages.
        chosen: names, and mappings of name to column or expression.
        named: name to column or expression.

    Raises:
        DescriptionError: something else was given.
    """
    columns: list[Derived] = []
    for one in chosen:
        if isinstance(one, str):
            columns.append(Derived(one, one))
        elif isinstance(one, Mapping):
            columns += [_derived(verb, name, value) for name, value in one.items()]
        else:
            raise DescriptionError(
                f"{verb}: {one!r} has no name: give names of columns, and expressions by keyword"
            )
    return (*columns, *(_derived(verb, name, value) for name, value in named.items()))


def as_slice(offset: int, length: int | None) -> tuple[int | None, int | None]:
    """Offset and length as the start and stop of a Python slice.

    Raises:
        DescriptionError: the length is negative.
    """
    if length is None:
        return offset, None
    if length < 0:
        raise DescriptionError(f"slice: length={length} is negative")
    stop = offset + length
    # From the end, a stop of 0 or more would be counted from the beginning.
    return offset, (None if offset < 0 <= stop else stop)


def _aggregate(name: str, value: Any) -> Aggregate:
    column, function, *rest = _pair("groupby", name, value)
    if function == "median" and not rest:
        return Aggregate(name, column, "quantile", 0.5)
    if not rest:
        return Aggregate(name, column, function)
    if function != "quantile" or len(rest) > 1 or not isinstance(rest[0], int | float):
        raise DescriptionError(
            f'groupby: {name}={value!r}: give ("column", "function"), or '
            f'("column", "quantile", number from 0 to 1)'
        )
    return Aggregate(name, column, function, float(rest[0]))


def _pair(verb: str, name: str, value: Any) -> tuple[Any, ...]:
    if hasattr(value, "aggfunc"):  # pandas.NamedAgg, which is a tuple in some versions only
        value = (value.column, value.aggfunc, *getattr(value, "args", ()))
    is_pair = isinstance(value, tuple | list) and len(value) >= 2
    if is_pair and isinstance(value[0], str) and isinstance(value[1], str):
        return tuple(value)
    if not is_pair:
        with_options(TaskOptions(), {name: value})  # a misspelt option is told as one
    raise DescriptionError(
        f'{verb}: {name}={value!r}: give ("column", "function"), both by their names'
    )


def _derived(verb: str, name: str, value: Any) -> Derived:
    if isinstance(value, str):
        return Derived(name, value)
    import pyarrow.compute as pc

    from elevon.frames.operators.expressions import to_bytes

    if not isinstance(value, pc.Expression):
        raise DescriptionError(
            f"{verb}: {name}={value!r} is no column's name, no expression of pyarrow.compute and "
            f"no task option ({', '.join(OPTION_NAMES)}); write a constant as "
            f"pyarrow.compute.scalar(...)"
        )
    return Derived(name, expression=to_bytes(value))
