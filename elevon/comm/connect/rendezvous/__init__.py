"""Where ranks that know a secret find each other: a server, and what a rank says to it.

In the order in which they build on each other::

    messages    what is said, and the keys that it is said with
    registry    who has which slot of which group; pure
    server      the registry behind a socket
    client      a rank's side
    redis_board, redis_client   the same over a Redis, where no server of ours runs
    anywhere    one or the other, by the address
"""

from elevon.comm.connect.rendezvous.anywhere import Membership, join
from elevon.comm.connect.rendezvous.messages import (
    GroupKeys,
    GroupName,
    Joining,
    Member,
    Welcome,
    rendezvous_secret,
)
from elevon.comm.connect.rendezvous.server import RendezvousServer

__all__ = [
    "GroupKeys",
    "GroupName",
    "Joining",
    "Member",
    "Membership",
    "RendezvousServer",
    "Welcome",
    "join",
    "rendezvous_secret",
]
