"""Who may talk to whom: CURVE key pairs per side, kept in files of mode 0600.

No key is ever put on a command line, into an environment variable or a log.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
import zmq

from elevon.errors import UsageError, WireError
from elevon.model.pilots import PilotDescription

CONNECTION_VERSION = 1
SECRET_BYTES = 32


class KeyPair(msgspec.Struct, frozen=True):
    """One CURVE key pair, Z85 text. ``repr`` shows the public half only."""

    public: str
    secret: str

    @classmethod
    def new(cls) -> KeyPair:
        """A fresh pair."""
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


class Keyring(msgspec.Struct, frozen=True):
    """A pair for each side, and the secret from which group connections derive their keys."""

    client: KeyPair
    agent: KeyPair
    rank: KeyPair
    group_secret: bytes

    @classmethod
    def new(cls) -> Keyring:
        """Fresh keys for one session."""
        return cls(KeyPair.new(), KeyPair.new(), KeyPair.new(), secrets.token_bytes(32))

    def __repr__(self) -> str:
        return "Keyring(...)"


class ConnectionFile(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a client or a rank needs to reach an agent, and ranks to reach each other.

    Attributes:
        tls: whether what ranks send each other directly is encrypted.
        relay: "host:port" of the ranks' relay, or "".
        relay_secret: what they prove themselves to it with.
        store: URL of the store that ranks talk through, or ""; it may hold a password.
    """

    version: int = CONNECTION_VERSION
    session: str
    pilot: str
    directory: str
    keys: Keyring
    clients_endpoint: str = ""
    ranks_endpoint: str = ""
    agent_pid: int = 0
    agent_host: str = ""
    tls: bool = False
    relay: str = ""
    relay_secret: bytes = b""
    store: str = ""

    def __repr__(self) -> str:
        return f"ConnectionFile({self.pilot!r}, {self.directory!r})"


class PilotFile(msgspec.Struct, frozen=True):
    """What an agent is started with: ``pilot.json`` in its directory."""

    connection: ConnectionFile
    description: PilotDescription


def write_private(path: Path, value: msgspec.Struct) -> None:
    """Write ``value`` as JSON to a file that only its owner can read, all or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(value))
    partial.replace(path)


def read_connection(path: Path) -> ConnectionFile:
    """Read a connection file.

    Raises:
        WireError: others can read it, it is not one, or it is of another version.
    """
    if path.stat().st_mode & 0o077:
        raise WireError(f"{path} holds keys but others may read it: chmod 600 it and renew them")
    try:
        connection = msgspec.json.decode(path.read_bytes(), type=ConnectionFile)
    except msgspec.DecodeError as error:
        raise WireError(f"{path} is not a connection file: {error}") from error
    if connection.version != CONNECTION_VERSION:
        raise WireError(
            f"{path} has version {connection.version}, this Elevon speaks {CONNECTION_VERSION}: "
            "use the same release on both sides"
        )
    return connection


def read_secret(path: Path) -> bytes:
    """The secret in a file that only its owner can read.

    Raises:
        UsageError: there is no such file, others can read it, or it has another length.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise UsageError(f"{path} holds a secret but others may read it: chmod 600 it")
        secret = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the secret in {path} cannot be read: {error.strerror}") from error
    if len(secret) != SECRET_BYTES:
        raise UsageError(f"{path} has {len(secret)} bytes where a secret has {SECRET_BYTES}")
    return secret
