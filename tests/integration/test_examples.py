"""The numbered examples run as a user runs them, and print what they are said to print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_mpi

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
LIMIT_S = 60
MAX_LINES = 60

# Lines that only a correct run prints.
EXPECTED = {
    "01_join_and_sort.py": [
        "200,000 rows, 3 partitions, columns: flight, plane, delay, seats",
        "    868  N192   1300    200",
        "   2169  N311   1300    150",
    ],
    "02_files_in_and_out.py": [
        "rows with a station: 2250",
        "rows without: 750",
        "files: ['part-00000.parquet', 'part-00001.parquet', 'part-00002.parquet']",
        "rows in the files: 2250",
    ],
    "03_graph_of_tasks.py": [
        "squares: [1000000, 4000000, 9000000]",
        "smallest: 1",
        "child failed because: ValueError('1 is refused')",
    ],
    "04_function_with_communicator.py": [
        "rows, mean, deviation: (100000, 0.0, 1.0)",
        "ranks: [(0, 3), (1, 3), (2, 3)]",
    ],
    "05_groups_and_windows.py": [
        "1 city 07 2423 15.901 30.78",
        "363 6862.53 6803.25",
        "364 6543.62 6763.96",
        "cities: 40",
        "without a trip: 0",
    ],
}


def test_every_example_is_expected_to_print_something() -> None:
    assert [path.name for path in EXAMPLES] == sorted(EXPECTED)
    assert all(EXPECTED.values())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.timeout(LIMIT_S + 30)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("h")
    done = subprocess.run(
        [sys.executable, path],
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [line for line in EXPECTED[path.name] if line not in done.stdout] == [], done.stdout
