"""Who may include whom in cpp/.

Floors: bindings > kernel | net, kernel > arrow; net knows no table. Rooms of the kernel:
exchange | sort | join > keys | take > base.
"""

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

# Each room of the kernel, and the rooms below it that it may include. The operators on top do not
# know each other.
ROOMS = {
    "base": {"base"},
    "take": {"take", "base"},
    "keys": {"keys", "base"},
    "exchange": {"exchange", "keys", "take", "base"},
    "sort": {"sort", "keys", "take", "base"},
    "join": {"join", "keys", "take", "base"},
}


def included(text: str) -> list[str]:
    """What a source includes, as written."""
    return INCLUDE.findall(text)


def forbidden(place: str, text: str) -> list[str]:
    """Includes of a source in ``place`` ("net", "kernel/sort") that it may not know."""
    floor, _, room = place.partition("/")
    return [path for path in included(text) if "/" in path and not allowed(floor, room, path)]


def allowed(floor: str, room: str, path: str) -> bool:
    to_floor, to_room = path.split("/")[:2]
    if floor == to_floor == "kernel":
        return to_room in ROOMS[room]
    return to_floor in FLOORS[floor] | SYSTEM


def place(path: Path) -> str:
    """Where a source lies: its floor, in the kernel with its room."""
    return path.relative_to(CPP).parent.as_posix()


def sources() -> list[Path]:
    return sorted(CPP.rglob("*.[ch]pp"))


def test_a_source_includes_only_what_its_place_may_know() -> None:
    breaches = {
        path.relative_to(CPP).as_posix(): forbidden(place(path), path.read_text())
        for path in sources()
    }

    assert {path: names for path, names in breaches.items() if names} == {}


def test_every_source_has_a_place() -> None:
    places = {*FLOORS, *(f"kernel/{room}" for room in ROOMS)} - {"kernel"}

    assert {place(path) for path in sources()} == places


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("kernel/base", '#include "net/group.hpp"'),
        ("kernel/join", "#include <pybind11/pybind11.h>"),
        ("arrow", '#include "kernel/keys/hash.hpp"'),
        ("net", '# include "arrow/view.hpp"'),
        ("bindings", "#include <arrow-glib/arrow.h>"),
        ("kernel/base", '#include "kernel/take/gather.hpp"'),
        ("kernel/base", '#include "kernel/keys/hash.hpp"'),
        ("kernel/base", '#include "kernel/exchange/partition.hpp"'),
        ("kernel/take", '#include "kernel/keys/hash.hpp"'),
        ("kernel/keys", '#include "kernel/take/take.hpp"'),
        ("kernel/keys", '#include "kernel/sort/sort.hpp"'),
        ("kernel/exchange", '#include "kernel/join/pairs.hpp"'),
        ("kernel/sort", '#include "kernel/exchange/row_map.hpp"'),
        ("kernel/join", '#include "kernel/sort/sort.hpp"'),
        ("kernel/join", '#include "kernel/hash.hpp"'),
    ],
)
def test_the_check_sees_a_breach(where: str, line: str) -> None:
    assert len(forbidden(where, f"#include <vector>\n{line}\n")) == 1


def test_a_header_is_named_from_the_root_of_cpp() -> None:
    """So that the check above sees its floor: "view.hpp" beside the source would hide it."""
    bare = {
        path.name: name
        for path in sources()
        for name in re.findall(r'#\s*include\s*"([^"/]+)"', path.read_text())
    }

    assert bare == {}


def test_all_sources_of_the_bindings_are_compiled() -> None:
    bindings = CPP / "bindings"
    others = {f"bindings/{path.name}" for path in bindings.glob("*.cpp")} - {"bindings/all.cpp"}

    assert set(included((bindings / "all.cpp").read_text())) == others
