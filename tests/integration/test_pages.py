"""The code in the documentation runs, and prints what stands below it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_mpi

ROOT = Path(__file__).parents[2]
LIMIT_S = 60
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = [page for page in PAGES if "```python" in page.read_text()]


def blocks(page: Path, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == kind]


def test_there_is_code_to_run() -> None:
    assert {"README.md", "tutorial.md", "howto-functions.md", "howto-tables.md"} <= {
        page.name for page in SCRIPTS
    }


@pytest.mark.timeout(LIMIT_S + 30)
@pytest.mark.parametrize("page", SCRIPTS, ids=lambda page: page.stem)
def test_a_page_runs_and_prints_what_it_says(
    page: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("h")
    script = home / "page.py"
    script.write_text("\n".join(blocks(page, "python")))
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    expected = "".join(blocks(page, "text")).splitlines()
    assert expected
    assert [line for line in expected if line not in done.stdout.splitlines()] == [], done.stdout
