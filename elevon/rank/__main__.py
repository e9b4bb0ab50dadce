"""``python -m elevon.rank CONNECTION_FILE WORLD [RENDEZVOUS SLOT RANKS]``: one worker process.

The launcher starts it. With a rendezvous its world is one of TCP connections, with a store in the
connection file it goes through that; without either it is MPI's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from elevon.rank.loop import Rank, enter_world
from elevon.wire.keys import read_connection


def main() -> None:
    """Serve as a rank until the agent lets this process go."""
    connection = read_connection(Path(sys.argv[1]))
    number = int(sys.argv[2])
    Rank(connection, number, enter_world(connection, number, sys.argv[3:])).serve()
    # Threads of user code must not keep the process alive after the agent has let it go.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
