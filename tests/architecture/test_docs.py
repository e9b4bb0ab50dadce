"""What the pages name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")]
    if "build" not in path.relative_to(ROOT).parts
)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
# A path in backticks that begins with one of the repository's directories.
NAMED = re.compile(r"`((?:cpp|docs|elevon|examples|scripts|tests)/[^` ]*)`")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", ["AGENTS.md", "CONTRIBUTING.md", "README.md"])
def test_the_maps_name_what_exists(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text())

    assert [path for path in named if not (ROOT / path).exists()] == []
