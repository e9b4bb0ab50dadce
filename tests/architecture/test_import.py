"""`import elevon` is cheap and needs nothing that a machine may not have."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The budget of docs/architecture.md is 0.2 s. Most of it would be somebody's import at module
# level, which the list below names at once; the time is the best of several, on a busy machine.
BUDGET_S = 0.2
RUNS = 7

HEAVY = ["boto3", "botocore", "mpi4py", "numpy", "pandas", "pyarrow", "redis", "zmq"]
HEAVY += ["elevon._native"]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_import_loads_nothing_heavy() -> None:
    loaded = run("import sys, elevon; print(*sys.modules, sep='\\n')").split()

    assert "elevon" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_import_takes_less_than_its_budget() -> None:
    timed = "import time; t = time.perf_counter(); import elevon; print(time.perf_counter() - t)"

    assert min(float(run(timed)) for _ in range(RUNS)) < BUDGET_S


@pytest.mark.parametrize("absent", ["mpi4py", "boto3", "redis"])
def test_public_names_do_without_what_may_be_absent(absent: str) -> None:
    code = f"""
import sys
sys.modules[{absent!r}] = None  # from here on its import fails
import elevon
print(*(getattr(elevon, name).__class__.__name__ for name in elevon.__all__))
"""
    import elevon

    assert len(run(code).split()) == len(elevon.__all__)
