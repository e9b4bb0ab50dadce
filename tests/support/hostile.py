"""Values that nobody should give to a verb, and calls of every public verb with them.

The verbs are found by looking at the classes, so a new one is tried without being named here.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from elevon.model.operations import Sort
from elevon.model.tasks import OPTION_NAMES, TaskDescription
from elevon.tasks.manager import TaskManager
from elevon.tasks.methods import FrameWithOptions
from elevon.tasks.task import Task
from elevon.tasks.verbs import Verbs

TABLE = pa.table({"k": [1, 2, 3], "x": [1.0, 2.0, 3.0]})

_SPECIAL = (
    *("repr", "str", "eq", "ne", "hash", "len", "iter", "getitem", "contains", "index", "int"),
    *("float", "bool", "reduce", "reduce_ex", "fspath", "arrow_c_stream", "call", "getattr"),
    *("lt", "add", "array", "next", "copy", "format", "bytes", "instancecheck"),
)


class Mean(BaseException):
    """Nobody expects it."""


def evil(base: type, error: type[BaseException]) -> object:
    """A value every method of which raises."""

    def refuse(self: object, *_: object, **__: object) -> Any:
        raise error("hostile")

    body: dict[str, Any] = {f"__{name}__": refuse for name in _SPECIAL}
    body |= dict.fromkeys(("items", "keys", "encode", "lower", "startswith", "item"), refuse)
    return base.__new__(type("Evil", (base,), body))


def evils(base: type, error: type[BaseException]) -> list[object]:
    """A list of such a value."""
    return [evil(base, error)]


def liar() -> object:
    """Says that it is text, of a negative length, and endless."""

    class Liar:
        __class__ = str  # type: ignore[assignment]

        def __len__(self) -> int:
            return -1

        def __iter__(self) -> Iterator[int]:
            return itertools.count()

        def __index__(self) -> Any:
            return "three"

        def __fspath__(self) -> Any:
            return 3

        def __repr__(self) -> str:
            return "\udc80" * 5_000_000

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

    return Liar()


class Nameless:
    """Can be called; its name cannot be read."""

    def __call__(self) -> None:
        pass

    @property
    def __name__(self) -> str:
        raise SystemExit(4)

    @property
    def __class__(self) -> Any:
        raise SystemExit(5)


def named(name: object) -> Any:
    """A function with a strange name."""
    function: Any = functools.partial(print)
    function.__name__ = name
    return function


def deep(levels: int) -> list[Any]:
    """A list in a list in a list."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def endless() -> list[Any]:
    """A list that holds itself."""
    found: list[Any] = ["k"]
    found.append(found)
    return found


_SHARED = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63 - 1, 2**63, -(2**63), 2**70, 2**80, -(2**70)),
    *(1.0, 2.0, 1.5, -0.5, 1e308, float("nan"), float("inf"), float("-inf"), 1j),
    *("", "k", "x", "\udc80", "a\udfffb", "a\0b", "inner", "dataset", "/\udc80/p.parquet"),
    *(b"k", b"\xff", bytearray(b"k"), memoryview(b"k"), ..., NotImplemented, int, object),
    *((), ("k",), ("k", 1), ("k", "\udc80"), ("k", "sum"), ("k", "sum", 1), ("\udc80", "sum")),
    *(("k", "quantile", 2), ("k", "quantile", float("nan")), ("k", "quantile", "x")),
    *((None, "_right"), (None, None, None), ("_x",), (True, "k"), (True, True, 1)),
    *(frozenset("k"), range(3), slice(3), Decimal(2), Fraction(1, 2), ValueError("x")),
    *(pathlib.Path("x"), np.int64(2), np.int64(-5), np.uint64(2**64 - 1), np.float64(5)),
    *(np.float32("nan"), np.longdouble("inf"), np.bool_(True), np.str_("k"), np.str_("\udc80")),
    *(np.bytes_(b"k"), np.datetime64("2026-01-01"), np.timedelta64(5, "s"), pd.Timedelta("5s")),
    *(np.timedelta64(5, "ns"), pd.NA, pd.NaT),
)
# Made anew for each call, because some are used up.
VALUES: dict[str, Callable[[], Any]] = {
    **{
        f"{number} {value!r:.30}": partial(_SHARED.__getitem__, number)
        for number, value in enumerate(_SHARED)
    },
    "number of 5,000 digits": lambda: 10**5000,
    "long text": lambda: "x" * 10_001,
    "many names": lambda: ["k"] * 100_001,
    "long name in a list": lambda: ["k", "x" * 200_000],
    "list": lambda: [],
    "list of a name": lambda: ["k"],
    "list of a number": lambda: [1],
    "list of None": lambda: [None],
    "list of flags": lambda: [True, np.bool_(False)],
    "list in lists": lambda: deep(5_000),
    "list in itself": endless,
    "set": lambda: {"k"},
    "dict": dict,
    "dict of a number": lambda: {"k": 1},
    "dict of a name": lambda: {"name": "k"},
    "dict with a number as key": lambda: {1: "x"},
    "dict of surrogates": lambda: {"\udc80": "k", "k": "\udc80"},
    "dict of aggregates": lambda: {"k2": ("x", "sum"), "a": ("x", "sum", "x")},
    "keys": lambda: {"k": 1}.keys(),
    "generator": lambda: (name for name in ["k", "x"]),
    "generator that raises": lambda: (1 // 0 for _ in "k"),
    "generator that exits": lambda: (_exit() for _ in "k"),
    "count": itertools.count,
    "repeat": lambda: itertools.repeat("k"),
    "array of no dimension": lambda: np.array(3),
    "text of no dimension": lambda: np.array("k"),
    "object of no dimension": lambda: np.array({"k": 1}, dtype=object),
    "array of names": lambda: np.array(["k", "x"]),
    "matrix": lambda: np.ones((2, 2)),
    "index": lambda: pd.Index(["k"]),
    "series": lambda: pd.Series(["k"]),
    "pandas frame": lambda: pd.DataFrame({"k": [1]}),
    "pandas frame of objects": lambda: pd.DataFrame({"k": [1, "x", object()]}),
    "named aggregate": lambda: pd.NamedAgg("x", "sum"),
    "named aggregate of functions": lambda: pd.NamedAgg(sum, max),
    "expression": lambda: pc.field("k") * 2,
    "constant": lambda: pc.scalar("x" * 100),
    "arrow scalar": lambda: pa.scalar("k"),
    "arrow array": lambda: pa.array(["k"]),
    "table": lambda: TABLE,
    "description": lambda: TaskDescription(operation=Sort(("k",), (True,)), inputs=("t",)),
    "list of a description": lambda: [
        TaskDescription(operation=Sort(("k",), (True,)), inputs=("t",))
    ],
    "operation": lambda: Sort(("k",), (True,)),
    "function": lambda: print,
    "function without a name": Nameless,
    "function with a long name": lambda: named("\udc80" * 100_000),
    "function with a number as name": lambda: named(3),
    "liar": liar,
    "list of liars": lambda: [liar()],
    **{
        f"evil {base.__name__} {error.__name__}": partial(evil, base, error)
        for base in (object, str, int, float, list, dict, tuple)
        for error in (ValueError, SystemExit, StopIteration, RecursionError, Mean)
    },
    **{
        f"list of evil {base.__name__} {error.__name__}": partial(evils, base, error)
        for base in (object, str)
        for error in (MemoryError, GeneratorExit, Mean)
    },
}


def _exit() -> None:
    raise SystemExit(3)


# What makes a call whole, by the parameter's name; a parameter that is not here gets hostile
# values only.
GOOD: dict[str, Callable[[], Any]] = {
    "frame": lambda: TABLE,
    "left": lambda: TABLE,
    "right": lambda: TABLE,
    "frames": lambda: [TABLE, TABLE],
    "data": lambda: TABLE,
    "on": lambda: "k",
    "by": lambda: "k",
    "window": lambda: 3,
    "expression": lambda: pc.field("k") > 1,
    "path": lambda: "t.parquet",
    "function": lambda: print,
    "descriptions": list,
    "task": lambda: "task",
}
# Where one name stands for different things, or a call is not whole without an optional one.
GOOD_HERE: dict[tuple[str, str], Callable[[], Any]] = {
    ("groupby", "aggregates"): lambda: {"total": ("x", "sum")},
    ("aggregate", "aggregates"): lambda: {"total": ("x", "sum")},
    ("rolling", "columns"): lambda: {"total": ("x", "sum")},
    ("assign", "columns"): lambda: {"y": "x"},
    ("select", "columns"): lambda: "k",
    ("rename", "columns"): lambda: {"k": "l"},
    ("drop", "columns"): lambda: "k",
}
# What submits nothing of its own: ``run`` is the verbs' way in, and takes what they have checked.
INNER = {"run", "report"}


@dataclass(frozen=True)
class Verb:
    """One public method, of a TaskManager or of a frame."""

    owner: str
    name: str

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """What it takes, in order."""
        of = {"tasks": TaskManager, "task": Task, "options": FrameWithOptions}[self.owner]
        return list(inspect.signature(getattr(of, self.name)).parameters.values())[1:]

    @property
    def slots(self) -> list[str]:
        """Where a value can go: parameters, and options or columns among the keywords."""
        named = [p.name for p in self.parameters if p.kind is not p.VAR_KEYWORD]
        extra = [p for p in self.parameters if p.kind is p.VAR_KEYWORD]
        return named + ([*(f"**{name}" for name in OPTION_NAMES), "**column"] if extra else [])

    def call(self, on: Any, given: Mapping[str, Any]) -> Any:
        """Call it with some values, and good ones where it needs more."""
        args: list[Any] = []
        keywords = {slot[2:]: value for slot, value in given.items() if slot.startswith("**")}
        for one in self.parameters:
            if one.kind is one.VAR_KEYWORD:
                continue
            if one.name in given:
                value = given[one.name]
            elif (self.name, one.name) in GOOD_HERE:
                value = GOOD_HERE[self.name, one.name]()
            elif one.name in GOOD and not (one.name == "by" and self.name == "repartition"):
                value = GOOD[one.name]()
            else:
                continue
            if one.kind in (one.POSITIONAL_ONLY, one.VAR_POSITIONAL):
                args.append(value)
            else:
                keywords[one.name] = value
        return getattr(on, self.name)(*args, **keywords)


def verbs() -> list[Verb]:
    """All that a user can submit with."""
    of_tasks = [
        Verb("tasks", name)
        for name, it in inspect.getmembers(TaskManager, inspect.isfunction)
        if not name.startswith("_") and name not in INNER
    ]
    shared = [name for name in dir(Verbs) if not name.startswith("_") and name not in INNER]
    of_frames = [
        Verb(owner, name)
        for owner, kind in (("task", Task), ("options", FrameWithOptions))
        for name in [*shared, "options"]
        if callable(getattr(kind, name, None))
    ]
    return of_tasks + of_frames
