"""Relay and rendezvous of a NAT laboratory: python nat_relay.py SETTINGS; answers each line.

Ranks that come to the relay by the address of its recorder are heard: what the first of them says
there is part of every answer.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading

from elevon.comm.connect.nat import RelayServer, relay_secret
from elevon.comm.connect.rendezvous import RendezvousServer, rendezvous_secret


class Recorder:
    """Stands in front of a relay, and keeps what comes by its first connection."""

    def __init__(self, relay: RelayServer) -> None:
        self._relay = (relay.host, relay.port)
        self._listener = socket.create_server((relay.host, 0))
        self.address = list(self._listener.getsockname()[:2])
        self.heard = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        heard: bytearray | None = self.heard
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(self._relay)
            for direction in ((near, far, heard), (far, near, None)):
                threading.Thread(target=self._carry, args=direction, daemon=True).start()
            heard = None

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket, heard: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                if heard is not None:
                    heard.extend(piece)
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def main() -> None:
    settings = json.loads(sys.argv[1])
    secret = bytes.fromhex(settings["secret"])
    relay = RelayServer(relay_secret(secret), settings["host"])
    rendezvous = RendezvousServer(rendezvous_secret(secret), settings["host"])
    recorder = Recorder(relay)
    addresses = {
        "relay": [relay.host, relay.port],
        "rendezvous": rendezvous.address,
        "recorder": recorder.address,
    }
    print(json.dumps(addresses), flush=True)
    for _ in sys.stdin:
        now = {"pairs": relay.pairs, "registered": relay.registered, "heard": recorder.heard.hex()}
        print(json.dumps(now), flush=True)
    relay.close()
    rendezvous.close()


if __name__ == "__main__":
    main()
