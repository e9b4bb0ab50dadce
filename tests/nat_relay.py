"""The relay of a NAT laboratory: python nat_relay.py SETTINGS; each line it is told, it answers."""

from __future__ import annotations

import json
import sys

from elevon.comm.nat import RelayServer, relay_secret


def main() -> None:
    settings = json.loads(sys.argv[1])
    relay = RelayServer(relay_secret(bytes.fromhex(settings["secret"])), settings["host"])
    print(json.dumps({"relay": [relay.host, relay.port]}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"pairs": relay.pairs}), flush=True)
    relay.close()


if __name__ == "__main__":
    main()
