"""Rules of a test run that no single test can keep.

- Tests marked ``mpi`` run inside mpiexec only (tests/contract/run_mpi.py); elsewhere they are
  deselected rather than reported as skipped, because there they are not missing.
- With ELEVON_REQUIRE_ALL=1, as in continuous integration, a skip is a failure: a tool that is not
  there must not look like a test that passed. A test that has no meaning where it runs says so
  with a reason that starts with "does not apply", and may skip.
- Hypothesis has no deadline, because two cores are shared with ranks; where a skip is a failure,
  it draws the same examples each time, so that a red run tells of the change and not of luck.
- --hypothesis-profile=elevon-quick, as in scripts/test --quick, draws few examples, also where a
  test asks for many.
- ELEVON_NATIVE names another build of the compiled module to test: scripts/sanitize gives its own,
  which is slow, so Hypothesis draws fewer examples there.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Generator

import pytest

import elevon

# The second form is pytest-mpi's word for a test whose min_size the group does not have.
MAY_SKIP = re.compile(r"does not apply|Test requires \d+ MPI processes")

NATIVE = os.environ.get("ELEVON_NATIVE")
REQUIRE_ALL = os.environ.get("ELEVON_REQUIRE_ALL") == "1"
FEW_EXAMPLES = 12
QUICK = "elevon-quick"


def pytest_configure(config: pytest.Config) -> None:
    """Set Hypothesis up, where it is installed; --hypothesis-profile still overrides this."""
    if config.pluginmanager.hasplugin("hypothesispytest"):
        from hypothesis import settings

        settings.register_profile("elevon", deadline=None, derandomize=REQUIRE_ALL, print_blob=True)
        settings.register_profile(
            "elevon-slow", settings.get_profile("elevon"), max_examples=FEW_EXAMPLES
        )
        settings.register_profile(QUICK, settings.get_profile("elevon"), max_examples=FEW_EXAMPLES)
        settings.load_profile("elevon-slow" if NATIVE else "elevon")
    if NATIVE:
        load_native(NATIVE)


def load_native(path: str) -> None:
    """Put the module at ``path`` in the place of ``elevon._native``."""
    spec = importlib.util.spec_from_file_location("elevon._native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    vars(elevon)["_native"] = module


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Outside mpiexec, leave out what only makes sense inside it."""
    if config.getoption("--hypothesis-profile", None) == QUICK:
        draw_few_examples(items)
    if config.getoption("--with-mpi") or config.getoption("--only-mpi"):
        return
    outside = [item for item in items if item.get_closest_marker("mpi") is not None]
    items[:] = [item for item in items if item not in outside]
    config.hook.pytest_deselected(items=outside)


def draw_few_examples(items: list[pytest.Item]) -> None:
    """A test's own number counts more than a profile's; Hypothesis keeps it at the function."""
    from hypothesis import settings

    kept = "_hypothesis_internal_use_settings"
    for item in items:
        function = getattr(item, "obj", None)
        function = getattr(function, "__func__", function)
        if (own := getattr(function, kept, None)) is not None:
            few = min(own.max_examples, FEW_EXAMPLES)
            setattr(function, kept, settings(own, max_examples=few))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is skipped, by a mark or from inside."""
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that is skipped as a whole."""
    report = yield
    refuse_skip(report)
    return report


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where nothing may be missing."""
    if not REQUIRE_ALL or not report.skipped:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if hasattr(report, "wasxfail") or MAY_SKIP.search(reason):
        return
    report.outcome = "failed"
    report.longrepr = f"{reason} (ELEVON_REQUIRE_ALL=1 allows no such skip)"
