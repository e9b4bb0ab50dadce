"""What users write in a verb, made into frozen values: names, named aggregates, expressions.

A keyword of a verb that is no task option names a column of the result; one that is neither gets an
error with a suggestion, and one that may be both is refused: nobody should lose a column because it
is called like an option.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from elevon.errors import DescriptionError
from elevon.model import checks
from elevon.model.algebra import Aggregate, Derived, Window
from elevon.model.ids import TaskId
from elevon.model.shown import shown
from elevon.model.tasks import OPTION_NAMES, TaskOptions, with_options

Names: TypeAlias = str | Sequence[str]
Keywords: TypeAlias = Mapping[str, Any]


class Handle:
    """What goes by a task's id: a Task or a Dataset."""

    id: TaskId


def as_names(what: str, names: Names | None) -> tuple[str, ...]:
    """One name or several, as a tuple; none for None."""
    return () if names is None else checks.names(what, names)


def as_flags(what: str, given: bool | Sequence[bool], count: int) -> tuple[bool, ...]:
    """One flag per column; a single one holds for all."""
    if hasattr(type(given), "__iter__"):
        return tuple([checks.flag(what, one) for one in checks.listed(what, given)])
    return (checks.flag(what, given),) * count


def as_options(options: Keywords, known: Callable[[str], bool]) -> dict[str, Any]:
    """Options as the model wants them: ``after`` may hold Tasks and Datasets.

    Args:
        options: as the caller wrote them.
        known: whether an id is that of a task which can be waited for.

    Raises:
        DescriptionError: ``after`` holds something else.
    """
    if "after" not in options:
        return dict(options)
    given = options["after"]
    entries = (given,) if checks.is_a(given, (Handle, str)) else checks.listed("after", given)
    return {**options, "after": tuple([_id(entry, known) for entry in entries])}


def split_options(
    verb: str, named: Keywords, may_be_column: Callable[[Any], bool]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords that name columns, and those that are task options.

    Args:
        verb: for messages.
        named: the keywords.
        may_be_column: whether the verb could take a value for what a column is made of.

    Raises:
        DescriptionError: one has the name of an option and the value of a column.
    """
    columns: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in named.items():
        if name not in OPTION_NAMES:
            columns[name] = value
        elif may_be_column(value):
            raise DescriptionError(
                f"{verb}: {name}={shown(value)} may mean a column or the task option {name!r}: "
                f"give the column in a mapping, {{{name!r}: ...}}, or the option beforehand, with "
                f".options({name}=...) of the frame or of the TaskManager"
            )
        else:
            options[name] = value
    return columns, options


def may_be_aggregate(value: Any) -> bool:
    """Whether a value could be meant as ("column", "function")."""
    if _is_named_aggregate(value):
        return True
    if not checks.is_a(value, (tuple, list)):
        return False
    own: Any = tuple if checks.is_a(value, tuple) else list  # a subclass may have other methods
    return own.__len__(value) > 1 and checks.is_a(own.__getitem__(value, 0), str)


def may_be_column(value: Any) -> bool:
    """Whether a value could be meant as a column's name, or as an expression."""
    import pyarrow.compute as pc

    return checks.is_a(value, (str, pc.Expression))


def as_aggregates(given: Keywords | None, named: Keywords) -> tuple[Aggregate, ...]:
    """Named aggregates as pandas writes them: ``total=("x", "sum")``.

    Args:
        given: those of the verb's mapping, whose names may be those of options, too.
        named: those among the keywords.

    Raises:
        DescriptionError: one has another form, or an unknown function.
    """
    wanted = _merged("groupby: aggregates", given, named)
    return tuple([_aggregate(name, value) for name, value in wanted])


def as_windows(given: Keywords | None, named: Keywords) -> tuple[Window, ...]:
    """Named functions over a window, in the form of ``as_aggregates``."""
    windows = []
    for name, value in _merged("rolling: columns", given, named):
        column, function, *rest = _pair("rolling", name, value)
        if rest:
            raise DescriptionError(f'rolling: {name}={shown(value)}: give ("column", "function")')
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
        if checks.is_a(one, str):
            name = checks.text(f"{verb}: column", one)
            columns.append(Derived(name, name))
        elif checks.is_a(one, Mapping):
            columns += [
                _derived(verb, name, value) for name, value in checks.pairs(f"{verb}: columns", one)
            ]
        else:
            raise DescriptionError(
                f"{verb}: {shown(one)} has no name: give names of columns, and expressions by "
                "keyword"
            )
    return (*columns, *(_derived(verb, name, value) for name, value in named.items()))


def as_slice(offset: int, length: int | None) -> tuple[int | None, int | None]:
    """Offset and length as the start and stop of a Python slice.

    Raises:
        DescriptionError: the length is negative.
    """
    offset = checks.whole("slice: offset", offset)
    if length is None:
        return offset, None
    length = checks.whole("slice: length", length)
    if length < 0:
        raise DescriptionError(f"slice: length={length} is negative")
    stop = min(offset + length, checks.LARGEST_WHOLE)
    # From the end, a stop of 0 or more would be counted from the beginning.
    return offset, (None if offset < 0 <= stop else stop)


def _id(given: Any, known: Callable[[str], bool]) -> TaskId:
    if checks.is_a(given, Handle):
        task: TaskId = given.id
        return task
    name = checks.text("after", given)
    if not known(name):
        raise DescriptionError(
            f"after={shown(name)} is no Task, and the id of none that was submitted by this "
            "TaskManager and still has its handle"
        )
    return TaskId(name)


def _merged(what: str, given: Keywords | None, named: Keywords) -> list[tuple[str, Any]]:
    """Entries of the mapping and of the keywords, which replace it under the same name."""
    pairs = () if given is None else checks.pairs(what, given)
    wanted = {checks.text(f"{what}: name", name): value for name, value in pairs}
    return list({**wanted, **named}.items())


def _is_named_aggregate(value: Any) -> bool:
    """Whether it is pandas.NamedAgg, which is a tuple in some versions only."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and checks.is_a(value, pandas.NamedAgg)


def _aggregate(name: str, value: Any) -> Aggregate:
    column, function, *rest = _pair("groupby", name, value)
    if function == "median" and not rest:
        return Aggregate(name, column, "quantile", 0.5)
    if not rest:
        return Aggregate(name, column, function)
    if function != "quantile" or len(rest) > 1:
        raise DescriptionError(
            f'groupby: {name}={shown(value)}: give ("column", "function"), or '
            f'("column", "quantile", number from 0 to 1)'
        )
    return Aggregate(name, column, function, rest[0])


def _pair(verb: str, name: str, value: Any) -> tuple[Any, ...]:
    if _is_named_aggregate(value):
        value = (value.column, value.aggfunc, *getattr(value, "args", ()))
    parts = checks.listed(f"{verb}: {name}", value) if checks.is_a(value, (tuple, list)) else ()
    if len(parts) > 1 and checks.is_a(parts[0], str) and checks.is_a(parts[1], str):
        column = checks.text(f"{verb}: {name}", parts[0])
        return (column, checks.text(f"{verb}: {name}", parts[1]), *parts[2:])
    if len(parts) < 2:
        with_options(TaskOptions(), {name: value})  # a misspelt option is told as one
    raise DescriptionError(
        f'{verb}: {name}={shown(value)}: give ("column", "function"), both by their names'
    )


def _derived(verb: str, name: Any, value: Any) -> Derived:
    name = checks.text(f"{verb}: name of a column", name)
    if checks.is_a(value, str):
        return Derived(name, checks.text(f"{verb}: {shown(name)}", value))
    import pyarrow.compute as pc

    from elevon.frames.operators.expressions import to_bytes

    if not checks.is_a(value, pc.Expression):
        raise DescriptionError(
            f"{verb}: {shown(name)}: {shown(value)} is no column's name, no expression of "
            f"pyarrow.compute and no task option ({', '.join(OPTION_NAMES)}); write a constant as "
            f"pyarrow.compute.scalar(...)"
        )
    return Derived(name, expression=to_bytes(value))
