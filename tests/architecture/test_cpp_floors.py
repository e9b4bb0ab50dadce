"""Who may include whom in cpp/: bindings > kernel | net, kernel > arrow; net knows no table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CPP = Path(__file__).parents[2] / "cpp"
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)

# Each floor's own includes and these; whatever has no "/" is the standard library's or the
# system's. pybind11 is the business of bindings only, and nobody links libarrow or MPI.
FLOORS = {
    "arrow": {"arrow"},
    "kernel": {"kernel", "arrow"},
    "net": {"net"},
    "bindings": {"bindings", "kernel", "net", "arrow", "pybind11"},
    "tests": {"tests", "kernel", "net", "arrow"},
}
SYSTEM = {"sys", "netinet", "arpa", "linux"}


def included(text: str) -> list[str]:
    """What a source includes, as written."""
    return INCLUDE.findall(text)


def forbidden(floor: str, text: str) -> list[str]:
    """Includes of a source on ``floor`` that its floor may not know."""
    allowed = FLOORS[floor] | SYSTEM
    return [path for path in included(text) if "/" in path and path.split("/")[0] not in allowed]


def sources() -> list[Path]:
    return sorted(CPP.rglob("*.[ch]pp"))


def test_a_source_includes_only_what_its_floor_may_know() -> None:
    breaches = {
        path.relative_to(CPP).as_posix(): forbidden(
            path.relative_to(CPP).parts[0], path.read_text()
        )
        for path in sources()
    }

    assert {path: names for path, names in breaches.items() if names} == {}


@pytest.mark.parametrize(
    ("floor", "line"),
    [
        ("kernel", '#include "net/group.hpp"'),
        ("kernel", "#include <pybind11/pybind11.h>"),
        ("arrow", '#include "kernel/hash.hpp"'),
        ("net", '# include "arrow/view.hpp"'),
        ("bindings", "#include <arrow-glib/arrow.h>"),
    ],
)
def test_the_check_sees_a_breach(floor: str, line: str) -> None:
    assert len(forbidden(floor, f"#include <vector>\n{line}\n")) == 1


def test_a_header_is_named_from_the_root_of_cpp() -> None:
    """So that the check above sees its floor: "view.hpp" beside the source would hide it."""
    bare = {
        path.name: name
        for path in sources()
        for name in re.findall(r'#\s*include\s*"([^"/]+)"', path.read_text())
    }

    assert bare == {}
