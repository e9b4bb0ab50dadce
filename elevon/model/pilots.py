"""PilotDescription: the resources that a user asks for, checked when it is made."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Literal, TypeAlias, get_args
from urllib.parse import SplitResult, urlsplit

import msgspec

from elevon.errors import DescriptionError
from elevon.model import checks
from elevon.model.shown import shown

CommunicatorKind: TypeAlias = Literal["auto", "mpi", "tcp"]
RESOURCES = ("local",)
REDIS_SCHEMES = ("redis", "rediss")
# Of a store that ranks share where they reach no peer.
STORE_SCHEMES = (*REDIS_SCHEMES, "s3", "file")


class PilotDescription(msgspec.Struct, frozen=True, kw_only=True, metaclass=checks.Suggesting):
    """What to acquire.

    Attributes:
        resource: where: "local" starts agent and ranks on this machine.
        ranks: worker processes; more than there are cores is allowed.
        cores_per_rank: cores (and kernel threads) of each rank.
        communicator: how ranks talk: "mpi", "tcp" (needs no MPI), or "auto", which takes MPI where
            the environment has one. Or the URL of a store that all ranks reach, which is slow and
            for ranks that reach no peer: "redis://host:port/db", "s3://bucket/prefix",
            "file:///a/directory/that/all/hosts/mount".
        tls: whether what ranks send each other over the network is encrypted (TLS 1.3); needs
            communicator="tcp" and the extra "tls".
        relay: "host:port" of an ``elevon relay`` for ranks behind NATs, or "". Pairs are punched
            there, and relayed, in TLS, where that cannot work (which needs the extra "tls"). Needs
            communicator="tcp".
        relay_secret_file: the file with the relay's secret, on the host that submits.
        walltime_s: seconds after which the pilot ends by itself, or None.
        start_timeout_s: seconds in which agent and ranks must be up, and later on a world that is
            started again, or the successor of a lost rank.
        client_grace_s: seconds that the agent lives on after its last client fell silent.
        abort_grace_s: seconds that a rank has to leave a failed task before it is killed.
        communicator_cache: how many private communicators are kept for gangs that come again;
            0 builds one for every task.
    """

    resource: str = "local"
    ranks: int = 1
    cores_per_rank: int = 1
    communicator: str = "auto"
    tls: bool = False
    relay: str = ""
    relay_secret_file: str = ""
    walltime_s: float | None = None
    start_timeout_s: float = 60.0
    client_grace_s: float = 10.0
    abort_grace_s: float = 1.5
    communicator_cache: int = 256

    def __post_init__(self) -> None:
        checks.keep(
            self,
            resource=checks.one_of("resource", self.resource, RESOURCES),
            ranks=checks.whole("ranks", self.ranks, 1, checks.MOST_RANKS),
            cores_per_rank=checks.whole(
                "cores_per_rank", self.cores_per_rank, 1, checks.MOST_RANKS
            ),
            communicator=_communicator(self.communicator),
            tls=checks.flag("tls", self.tls),
            relay=checks.text("relay", self.relay),
            relay_secret_file=_file(self.relay_secret_file),
            walltime_s=checks.optional(checks.seconds, "walltime_s", self.walltime_s),
            start_timeout_s=checks.seconds("start_timeout_s", self.start_timeout_s),
            client_grace_s=checks.seconds("client_grace_s", self.client_grace_s),
            abort_grace_s=checks.seconds("abort_grace_s", self.abort_grace_s),
            # MPICH has 1,023 live communicators once collectives were used; leave it room.
            communicator_cache=checks.whole("communicator_cache", self.communicator_cache, 0, 1000),
        )
        for problem in chain(_communicator_problems(self), _relay_problems(self)):
            raise DescriptionError(problem)

    @property
    def store(self) -> str:
        """The URL of the store that ranks talk through, or "" where they talk to each other."""
        return self.communicator if "://" in self.communicator else ""


def _file(given: object) -> str:
    return "" if type(given) is str and not given else checks.path("relay_secret_file", given)


def _communicator(given: object) -> str:
    """Text; a store's URL may hold a password, so it is in no message."""
    try:
        return checks.text("communicator", given)
    except DescriptionError:
        if checks.is_a(given, str):
            raise DescriptionError(
                f"communicator is longer than {checks.LONGEST_TEXT:,} characters, or cannot be "
                "written as UTF-8"
            ) from None
        raise


def _communicator_problems(description: PilotDescription) -> Iterator[str]:
    kind = description.communicator
    if kind not in get_args(CommunicatorKind) and "://" not in kind:
        yield (
            f"communicator={shown(kind)} is not known here (known: "
            f"{', '.join(get_args(CommunicatorKind))}, or the URL of a store: "
            "redis://host:port/db, s3://bucket/prefix, file:///shared/directory)"
        )
    elif description.store:
        yield from _store_problems(description.store)
    if description.tls and kind != "tcp":
        yield (
            f"tls=True needs communicator='tcp', not {_kind(description)}: MPI encrypts nothing, "
            "and to a Redis it is rediss:// that does"
        )


def _kind(description: PilotDescription) -> str:
    """For messages: a store's URL may hold a password."""
    scheme, found, _ = description.communicator.partition("://")
    return f"a store ({scheme}://)" if found else repr(scheme)


def _store_problems(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is none is found out when it is asked for
    except ValueError:
        yield "the store's URL is none: check its host and its port"
        return
    if parts.scheme not in STORE_SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in STORE_SCHEMES)
        yield f"a store's URL begins with {known}, not with {parts.scheme}://"
    elif not _names_a_place(parts):
        wanted = {"s3": "a bucket: s3://bucket/prefix", "file": "a full path: file:///a/directory"}
        yield f"the store's URL lacks {wanted.get(parts.scheme, 'a host: redis://host:port/db')}"


def _names_a_place(parts: SplitResult) -> bool:
    if parts.scheme == "file":
        return not parts.netloc and len(parts.path) > 1
    return bool(parts.hostname)


def _relay_problems(description: PilotDescription) -> Iterator[str]:
    relay, secret = description.relay, description.relay_secret_file
    host, _, port = relay.rpartition(":")
    if relay and not (host and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65_536):
        yield f"relay must be host:port, as `elevon relay` prints it: {shown(relay)}"
    if relay and description.communicator != "tcp":
        yield f"relay= needs communicator='tcp', not {_kind(description)}"
    if bool(relay) != bool(secret):
        yield (
            "relay and relay_secret_file go together: the file is the one that "
            f"`elevon relay --secret-file` was given (relay={shown(relay)}, "
            f"relay_secret_file={shown(secret)})"
        )
