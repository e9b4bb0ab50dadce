"""Relay and rendezvous of a NAT laboratory: python nat_relay.py SETTINGS; answers each line."""

from __future__ import annotations

import json
import sys

from elevon.comm.nat import RelayServer, relay_secret
from elevon.comm.rendezvous import RendezvousServer, rendezvous_secret


def main() -> None:
    settings = json.loads(sys.argv[1])
    secret = bytes.fromhex(settings["secret"])
    relay = RelayServer(relay_secret(secret), settings["host"])
    rendezvous = RendezvousServer(rendezvous_secret(secret), settings["host"])
    addresses = {"relay": [relay.host, relay.port], "rendezvous": rendezvous.address}
    print(json.dumps(addresses), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"pairs": relay.pairs}), flush=True)
    relay.close()
    rendezvous.close()


if __name__ == "__main__":
    main()
