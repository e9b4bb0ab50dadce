"""Communicators over connected sockets: needs no MPI, and one rank's death is no other's.

In the order in which they build on each other::

    group       the communicator: arrays over the compiled engine's collectives
    world       opens and keeps groups over the rank's one mesh of connections
"""

from elevon.comm.tcp.group import TcpCommunicator
from elevon.comm.tcp.world import TcpWorld

__all__ = ["TcpCommunicator", "TcpWorld"]
