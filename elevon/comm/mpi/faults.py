"""What an MPI error means for a group, and what this MPI can do about failures.

This is the one border where MPI's errors become ours.
"""

from __future__ import annotations

from mpi4py import MPI

from elevon.comm.base.failure import Failure

_LOST = frozenset({MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING})
_REVOKED = frozenset({MPI.ERR_REVOKED})


def can_revoke(comm: MPI.Comm) -> bool:
    """Whether this MPI has the user-level failure mitigation (ULFM) and it is switched on.

    MPICH has the calls, but one dead process still ends its world, and revocation is refused.
    """
    if MPI.get_vendor()[0] != "Open MPI":
        return False
    try:
        return not comm.Is_revoked()
    except (MPI.Exception, NotImplementedError):
        return False


def lost_ranks(comm: MPI.Comm) -> list[int]:
    """The ranks of ``comm`` that are known here to be dead; needs ULFM. Local."""
    failed, group = comm.Get_failed(), comm.Get_group()
    try:
        return [rank for rank in failed.Translate_ranks(None, group) if rank >= 0]
    finally:
        failed.Free()
        group.Free()


def diagnose(comm: MPI.Comm, error: MPI.Exception, ulfm: bool, where: str) -> Failure | None:
    """What an MPI error says about the group.

    Args:
        comm: the group's MPI communicator.
        error: what an MPI call on it raised.
        ulfm: whether ``comm`` can be asked about failures.
        where: names the collective and the group.

    Returns:
        The failure, or None where a member has revoked the group, whose abort message says why.
    """
    # A call with many requests only says "look into the statuses"; asking the group is simpler.
    lost = lost_ranks(comm) if ulfm else []
    if lost:
        return Failure("lost", f"{where}: the process of rank {lost[0]} is dead", lost[0])
    code = error.Get_error_class()
    if code in _REVOKED or (ulfm and comm.Is_revoked()):
        return None
    if code in _LOST:
        return Failure("lost", f"{where}: a member's process is dead")
    return Failure("aborted", f"{where}: MPI says {error.Get_error_string()}")
