"""The identity of a process in TLS: a key and a self-signed certificate, made when it starts.

There is no authority and no file: the proof says whose certificate it is, and nothing else does.
The library that makes certificates is an extra and is loaded here only.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from elevon.errors import UsageError

# Clocks of hosts differ, and the certificate ends with the process anyway. RFC 5280 has this
# second date for "no end".
VALID_FROM = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)
VALID_UNTIL = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc)
NAME = "Elevon rank"


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A key and its certificate.

    Attributes:
        certificate: DER; what others get.
        pem: key and certificate, as OpenSSL reads them.
    """

    certificate: bytes
    pem: bytes

    @classmethod
    def new(cls) -> Identity:
        """A fresh one.

        Raises:
            UsageError: the package that makes certificates is not installed.
        """
        library = _library()
        key = library.ec.generate_private_key(library.ec.SECP256R1())
        certificate = _certificate(library, key)
        encoding = library.serialization.Encoding
        secret = key.private_bytes(
            encoding.PEM,
            library.serialization.PrivateFormat.PKCS8,
            library.serialization.NoEncryption(),
        )
        return cls(
            certificate.public_bytes(encoding.DER), secret + certificate.public_bytes(encoding.PEM)
        )

    def context(self, peer: bytes, accepting: bool) -> ssl.SSLContext:
        """What makes a connection to one peer.

        Args:
            peer: the only certificate that is accepted, DER.
            accepting: whether this side is the server.

        Raises:
            ssl.SSLError: the peer's is no certificate.
        """
        protocol = ssl.PROTOCOL_TLS_SERVER if accepting else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # names are proved before; addresses change behind a NAT
        context.verify_mode = ssl.CERT_REQUIRED
        # The end of a connection is TCP's, without a notice in TLS: Python's ssl cannot end one
        # direction alone. Nothing is lost by it: the engine's frames carry their lengths, leaving
        # is a message, and every other end is the loss of a member, forged or not.
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        context.load_verify_locations(cadata=peer)
        if accepting:
            context.num_tickets = 0  # nobody ever resumes
        with _as_file(self.pem) as path:
            context.load_cert_chain(path)
        return context


def need_cryptography() -> None:
    """Find out early whether certificates can be made here.

    Raises:
        UsageError: the package that makes them is not installed.
    """
    _library()


@dataclass(frozen=True, slots=True)
class _Library:
    """The parts of the package that are used here."""

    x509: Any
    hashes: Any
    serialization: Any
    ec: Any


def _library() -> _Library:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise UsageError(
            "TLS (tls=True, or a pair that needs the relay) needs the package cryptography "
            "on every host of the pilot: pip install 'elevon[tls]'"
        ) from error
    return _Library(x509, hashes, serialization, ec)


def _certificate(library: _Library, key: Any) -> Any:
    x509 = library.x509
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        # It speaks for itself and can vouch for no other.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, library.hashes.SHA256())
    )


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to bytes that are in memory: Python's ssl reads keys from files only."""
    descriptor = os.memfd_create("identity")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"
