"""Where ranks that know a secret find each other: a server, and what a rank says to it.

In the order in which they build on each other::

    messages       what is said, and the keys that it is said with
    registry       which rank has which slot of which group; pure
    server         the registry behind a socket
    client         a rank's side
    redis_scripts  the same rules as the registry's, for a Redis, where no server of ours runs
    redis_group    a group's entry there
    redis_client   a rank's side of that
    membership     one or the other, by the address
"""

from elevon.comm.connect.rendezvous.membership import Membership, join
from elevon.comm.connect.rendezvous.messages import (
    GroupKeys,
    GroupName,
    JoinReply,
    JoinRequest,
    Member,
    rendezvous_secret,
)
from elevon.comm.connect.rendezvous.server import RendezvousServer

__all__ = [
    "GroupKeys",
    "GroupName",
    "JoinReply",
    "JoinRequest",
    "Member",
    "Membership",
    "RendezvousServer",
    "join",
    "rendezvous_secret",
]
