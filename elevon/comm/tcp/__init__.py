"""Communicators over connected sockets: needs no MPI, and one rank's death is no other's.

In the order in which they build on each other::

    group       the communicator: arrays over the compiled engine's collectives
    world       opens and keeps groups over the rank's one mesh of connections
    peers       which members are connected
    acceptor    takes connections from members that join later
    links       dials the members that joined earlier, all at once or group by group
    joining     rendezvous, acceptor and links make the mesh
"""

from elevon.comm.tcp.group import TcpCommunicator
from elevon.comm.tcp.joining import JoinConfig, join_world
from elevon.comm.tcp.world import TcpWorld

__all__ = ["JoinConfig", "TcpCommunicator", "TcpWorld", "join_world"]
