"""Communicators over one live MPI world; the only place, with its launcher, that knows mpi4py.

In the order in which they build on each other::

    faults            what an MPI error means, and what this MPI can do about it
    deferred_release  buffers that MPI may still write into after a failure
    rank_map          which rank of the world has which slot
    abort_messages    how a member tells the others that their group is over
    arrival_barrier   all members are here, before one calls what cannot be interrupted
    channel           one group: start, wait, fail
    group             the communicator: shapes and collectives over a channel
    repair            a new world from the survivors and replacements
    world             opens and keeps groups
"""

from elevon.comm.mpi.group import MpiCommunicator
from elevon.comm.mpi.world import MpiWorld

__all__ = ["MpiCommunicator", "MpiWorld"]
