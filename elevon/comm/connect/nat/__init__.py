"""Connections between ranks that sit behind NATs: punched where that can work, relayed elsewhere.

In the order in which they build on each other::

    candidates          addresses of a rank, what its NAT does, and which are worth a try; pure
    channel             sockets on an event loop, authenticated, with sealed messages
    offers              what two ranks tell each other before they are connected; pure
    requests            what is said to a relay, and the keys that it is said with
    pump                moves bytes between two connections
    relay               the server: introduces two ranks, and moves their bytes if it has to
    connectivity_check  what is said on a direct connection before it is taken
    punch               one direct connection between two ranks that agree on the moment
    allocations         connections to the relay that are ready before they are needed
    paths               a pair's path: introduced, punched if possible, relayed if not
    endpoint            a rank's side of all this, on a thread of its own
"""

from elevon.comm.connect.nat.endpoint import NatEndpoint
from elevon.comm.connect.nat.paths import NatConfig, Path
from elevon.comm.connect.nat.relay import RelayServer
from elevon.comm.connect.nat.requests import NatKeys, relay_secret

__all__ = ["NatConfig", "NatEndpoint", "NatKeys", "Path", "RelayServer", "relay_secret"]
