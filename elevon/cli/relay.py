"""``elevon relay``: where ranks behind NATs are introduced to each other, and relayed if need be.

It has to run where all ranks can reach it.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from elevon.cli.rendezvous import read_secret
from elevon.comm.connect.nat import RelayServer
from elevon.errors import UsageError

_PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=_PORT, default=0, help="Port; 0 takes a free one.")
@click.option(
    "--second-port",
    type=_PORT,
    default=0,
    help="Port for a second look at a rank's NAT, to be reachable, too; 0 takes a free one.",
)
@click.option(
    "--secret-file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="32 bytes that only its owner can read; made where there is none.",
)
def command(host: str, port: int, second_port: int, secret_file: Path) -> None:
    """Serve ranks that know a group's key, until SIGINT or SIGTERM.

    It observes the addresses of ranks, introduces two that want to connect, and moves the bytes of
    those that cannot connect directly. It learns who talks to whom and how much; it does not have
    the key with which they prove themselves to each other. Prints its address.
    """
    secret = read_secret(secret_file)
    try:
        server = RelayServer(secret, host, port, second_port)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port} and {second_port}: {error}") from error
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    click.echo(server.address)
    stopped.wait()
    server.close()
