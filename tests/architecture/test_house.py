"""What STYLE holds every module of the package to, as far as a program can see it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "elevon").rglob("*.py"))
SOURCES = [*MODULES, *sorted((ROOT / "cpp").rglob("*.[ch]pp"))]

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
LONG_FUNCTION_LINES = 40


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines from the first statement after the docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_a_module_is_one_noun() -> None:
    lines = {name(path): len(path.read_text().splitlines()) for path in SOURCES}

    assert {at: count for at, count in lines.items() if count > MAX_MODULE_LINES} == {}


def test_a_module_says_what_it_is_for() -> None:
    assert [
        name(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))
    ] == []


def test_functions_are_short() -> None:
    lengths = {f"{name(path)}:{at}": lines for path in MODULES for at, lines in functions(path)}
    long = {at: lines for at, lines in lengths.items() if lines > LONG_FUNCTION_LINES}

    assert not {at: lines for at, lines in long.items() if lines > MAX_FUNCTION_LINES}
    assert len(long) <= len(lengths) / 10, long
    assert median(lengths.values()) <= 9


def imports_from_root(path: Path) -> list[str]:
    """What a module imports from ``elevon`` itself; "" for the package as a whole."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += ["" for alias in node.names if alias.name == "elevon"]
        if isinstance(node, ast.ImportFrom) and node.module == "elevon":
            found += [alias.name for alias in node.names]
    return found


def test_public_names_are_for_users() -> None:
    """The package's own modules would reach any floor through them, unseen by .importlinter."""
    inside = [path for path in MODULES if not {"bench", "cli", "testing"} & set(path.parts)]
    used = {name(path): set(imports_from_root(path)) - {"_native"} for path in inside}

    assert {at: names for at, names in used.items() if names} == {}


def test_the_compiled_module_is_called_by_two_packages_only() -> None:
    """The kernels by frames, the engine of TCP groups by comm.tcp."""
    callers = [name(path) for path in MODULES if "_native" in imports_from_root(path)]
    allowed = ("elevon/frames/", "elevon/comm/tcp/")

    assert [at for at in callers if not at.startswith(allowed)] == []


def sleeps(node: ast.AST) -> bool:
    """Whether the node calls ``time.sleep`` or a ``sleep`` imported from somewhere."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    return getattr(called, "attr", getattr(called, "id", None)) == "sleep"


def test_nothing_waits_by_sleeping() -> None:
    calls = [
        f"{name(path)}:{node.lineno}"
        for path in MODULES
        if "testing" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if sleeps(node)
    ]

    assert calls == []


def test_every_test_and_helper_has_a_room() -> None:
    loose = [path.name for path in (ROOT / "tests").glob("*.py")]
    helpers = [name(path) for path in (ROOT / "tests/support").glob("test_*.py")]

    assert loose == ["conftest.py"]
    assert helpers == []
