"""A source distribution holds all that a build from it needs."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Paths in the distribution, below its top directory."""
    out = tmp_path_factory.mktemp("sdist")
    egg = tmp_path_factory.mktemp("egg")
    # egg_info elsewhere: this must neither read nor leave one beside the sources.
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "-e", str(egg), "sdist", "-d", str(out)],
        cwd=ROOT,
        capture_output=True,
        timeout=100,
        check=True,
    )
    (archive,) = out.glob("elevon-*.tar.gz")
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def test_every_source_is_shipped(shipped: set[str]) -> None:
    sources = [*(ROOT / "cpp").rglob("*.[ch]pp"), *(ROOT / "elevon").rglob("*.py*")]
    needed = {p.relative_to(ROOT).as_posix() for p in sources if "__pycache__" not in p.parts}

    assert needed - shipped == set()


@pytest.mark.parametrize("path", ["LICENSE", "README.md", "pyproject.toml", "setup.py"])
def test_what_the_build_reads_is_shipped(shipped: set[str], path: str) -> None:
    assert path in shipped


def test_nothing_built_is_shipped(shipped: set[str]) -> None:
    assert [path for path in shipped if path.endswith((".so", ".o", ".pyc"))] == []
