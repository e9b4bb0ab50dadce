"""``python -m elevon.agent DIRECTORY``: one pilot's agent.

The directory holds ``pilot.json`` (mode 0600: keys and description), written by the program
that starts this. ``--ready-fd N`` names a pipe that gets one line once clients can connect.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import click
import msgspec

from elevon.agent.pool.launchers.mpi import MpiLauncher
from elevon.agent.pool.launchers.processes import ProcessLauncher
from elevon.agent.pool.launchers.protocol import Launcher
from elevon.agent.reactor import Reactor
from elevon.comm.connect.rendezvous import RendezvousServer, rendezvous_secret
from elevon.comm.connect.tls import need_cryptography
from elevon.wire.keys import PilotFile


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--ready-fd", type=int, default=None, help="Pipe to tell that clients may connect.")
def main(directory: Path, ready_fd: int | None) -> None:
    """Run the agent of the pilot that DIRECTORY describes."""
    pilot = msgspec.json.decode((directory / "pilot.json").read_bytes(), type=PilotFile)

    def tell_ready() -> None:
        if ready_fd is not None:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)

    launcher = choose_launcher(pilot)
    validates = os.environ.get("ELEVON_VALIDATE") == "1"
    Reactor(pilot.connection, pilot.description, launcher, tell_ready, validates=validates).run()


def choose_launcher(pilot: PilotFile) -> Launcher:
    """The launcher that the description asks for, or that this environment can use."""
    kind = pilot.description.communicator
    if kind == "auto":
        kind = "mpi" if find_spec("mpi4py") else "tcp"
    if kind == "mpi":
        return MpiLauncher()
    if pilot.description.store:
        return ProcessLauncher(None)
    secret = rendezvous_secret(pilot.connection.keys.group_secret)
    if pilot.description.tls:
        need_cryptography()  # said once, before any rank is started
    return ProcessLauncher(RendezvousServer(secret))


if __name__ == "__main__":
    main()
