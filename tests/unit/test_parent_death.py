"""The parent-death signal: a process ends with its parent."""

from __future__ import annotations

import os
import select
import subprocess
import sys

CHILD = """
import os, signal, sys
from elevon.rank.parent_death import die_with_parent
die_with_parent(signal.SIGKILL, {parent})
print(os.getpid(), flush=True)
signal.pause()
"""

PARENT = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}.format(parent=os.getpid())])
signal.pause()
"""


def ended_within(pidfd: int, seconds: float) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


def test_the_child_dies_with_its_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(child=CHILD)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))

    parent.kill()
    parent.wait()

    assert ended_within(child, 5)
    os.close(child)
    parent.stdout.close()


def test_a_child_whose_parent_is_gone_already_ends_at_once() -> None:
    nobody = 1 if os.getppid() != 1 else 2

    child = subprocess.run([sys.executable, "-c", CHILD.format(parent=nobody)], check=False)

    assert child.returncode == -9
