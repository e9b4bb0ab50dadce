"""The parent-death signal: when the process that started this one dies, so does this one.

A killed Open MPI launcher leaves its ranks behind, spinning in MPI, so every rank asks for this
first thing; a launcher may do the same for mpiexec and the agent.
"""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals = signal.SIGKILL, parent: int | None = None) -> None:
    """Have the kernel send a signal to this process when its parent ends.

    Args:
        number: which signal; the order survives exec, but not fork.
        parent: the process id that the parent should have, where the caller knows it. If that one
            is gone already, the signal comes at once.

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)
