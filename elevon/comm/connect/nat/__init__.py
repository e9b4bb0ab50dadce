"""Connections between ranks that sit behind NATs: punched where that can work, relayed elsewhere.

In the order in which they build on each other::

    whereabouts  what a rank's NAT does to it, and which addresses are worth a try; pure
    line         proof and sealed messages over a socket, on an event loop
    letters      what two ranks tell each other before they are connected; pure
    errands      what is said to a relay, and the keys that it is said with
    pump         moves bytes between two connections
    relay        the server: introduces two ranks, and moves their bytes if they cannot do better
    trial        what is said on a direct connection before it is taken
    punch        one direct connection between two ranks that agree on the moment
    berths       connections to the relay that are ready before they are needed
    passage      a pair's way through: introduced, punched if possible, relayed if not
    door         a rank's side of all this, on a thread of its own
"""

from elevon.comm.connect.nat.door import NatDoor
from elevon.comm.connect.nat.errands import NatKeys, relay_secret
from elevon.comm.connect.nat.passage import Passage, Way
from elevon.comm.connect.nat.relay import RelayServer

__all__ = ["NatDoor", "NatKeys", "Passage", "RelayServer", "Way", "relay_secret"]
