"""Communicators over connected sockets: needs no MPI, and one rank's death is no other's.

In the order in which they build on each other::

    group       the communicator: arrays over the compiled engine's collectives
    world       opens and keeps groups over the rank's one mesh of connections
    door        lets later members in, after both sides have proved that they belong here
    entering    a rendezvous, the door and dialing make the mesh
"""

from elevon.comm.tcp.entering import Entrance, enter
from elevon.comm.tcp.group import TcpCommunicator
from elevon.comm.tcp.world import TcpWorld

__all__ = ["Entrance", "TcpCommunicator", "TcpWorld", "enter"]
