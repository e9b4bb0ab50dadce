"""Run the MPI contract tests inside mpiexec at several sizes, with this interpreter's MPI.

    python tests/contract/run_mpi.py [--sizes 1,2,3,4,7] [--limit-s 120] [pytest's arguments]

Each size has a time limit. Of a size that fails, the output of every rank is printed; the exit
status is the number of sizes that failed.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import tempfile
import time
from pathlib import Path

from elevon.agent.pool.launchers.mpi import MpiHandle, MpiLauncher

ROOT = Path(__file__).parents[2]
GRACE_S = 2.0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sizes", default="1,2,3,4,7", help="numbers of ranks")
    options.add_argument("--limit-s", type=float, default=180.0, help="for each size")
    known, arguments = options.parse_known_args()
    sizes = [int(size) for size in known.sizes.split(",")]
    failed = [size for size in sizes if not passes(size, known.limit_s, arguments)]
    if failed:
        print(f"contract on MPI: failed at {failed} of {sizes} ranks", flush=True)
    return len(failed)


def passes(size: int, limit_s: float, arguments: list[str]) -> bool:
    """Whether all ranks of one size pass; prints what they say where they do not."""
    launcher = MpiLauncher()
    command = [
        sys.executable, "-m", "pytest", "--with-mpi", "-q", "-p", "no:cacheprovider",
        f"--rootdir={ROOT}", *(arguments or [str(ROOT / "tests/contract")]), "-m", "mpi",
    ]  # fmt: skip
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "ranks.log"
        handle = launcher.start(size, command, {}, log)
        try:
            status = wait(handle, limit_s)
        finally:
            handle.stop(GRACE_S)
        said = log.read_text(errors="replace")
    took = time.monotonic() - started
    outcome = "passed" if status == 0 else "did not end in time" if status is None else "failed"
    print(f"{launcher.flavour.name}, {size} ranks: {outcome} in {took:.1f} s", flush=True)
    if status != 0:
        print(said, flush=True)
    return status == 0


def wait(handle: MpiHandle, limit_s: float) -> int | None:
    """The exit status, or None if it does not end in time."""
    descriptor = os.pidfd_open(handle.pid)
    try:
        select.select([descriptor], [], [], limit_s)
    finally:
        os.close(descriptor)
    return handle.poll()


if __name__ == "__main__":
    sys.exit(main())
