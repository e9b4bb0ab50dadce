"""``elevon rendezvous``: where ranks of TCP groups find each other.

Pilots on one machine need none: their agent runs one for its own ranks.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from pathlib import Path

import click

from elevon.comm.connect.rendezvous import RendezvousServer
from elevon.comm.security.proof import KEY_BYTES
from elevon.errors import UsageError
from elevon.wire import keys


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 takes a free one.")
@click.option(
    "--secret-file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="32 bytes that only its owner can read; made where there is none.",
)
def command(host: str, port: int, secret_file: Path) -> None:
    """Serve ranks that know a group's key, until SIGINT or SIGTERM.

    The keys of groups are derived from the secret, so nothing has to be registered. It brings
    members together and names who is missing; it never sees what they say to each other, nor the
    key with which they prove themselves to each other. Prints its address.
    """
    secret = read_secret(secret_file)
    try:
        server = RendezvousServer(secret, host, port)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    click.echo(server.address)
    stopped.wait()
    server.close()


def read_secret(path: Path) -> bytes:
    """The secret in a file that only its owner can read; a new one where there is no file.

    Raises:
        UsageError: others can read it, or it has another length.
    """
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
    return keys.read_secret(path)
