"""PilotDescription: the resources that a user asks for, checked when it is made.

Before it: ``ids``. After it: ``pilot`` submits it through a provider, the agent gets its part.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

from elevon.errors import DescriptionError

CommunicatorKind: TypeAlias = Literal["auto", "mpi", "tcp"]
RESOURCES = ("local",)


class PilotDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What to acquire.

    Attributes:
        resource: where: "local" starts agent and ranks on this machine.
        ranks: worker processes; more than there are cores is allowed.
        cores_per_rank: cores (and kernel threads) of each rank.
        communicator: how ranks talk: "mpi", "tcp" (needs no MPI), or "auto", which takes MPI where
            the environment has one.
        tls: whether what ranks send each other over the network is encrypted (TLS 1.3); needs
            communicator="tcp" and the extra "tls".
        walltime_s: seconds after which the pilot ends by itself, or None.
        start_timeout_s: seconds in which agent and ranks must be up.
        client_grace_s: seconds that the agent lives on after its last client fell silent.
        abort_grace_s: seconds that a rank has to leave a failed task before it is killed.
        communicator_cache: how many private communicators are kept for gangs that come again;
            0 builds one for every task.
    """

    resource: str = "local"
    ranks: int = 1
    cores_per_rank: int = 1
    communicator: CommunicatorKind = "auto"
    tls: bool = False
    walltime_s: float | None = None
    start_timeout_s: float = 60.0
    client_grace_s: float = 10.0
    abort_grace_s: float = 1.5
    communicator_cache: int = 256

    def __post_init__(self) -> None:
        if self.resource not in RESOURCES:
            raise DescriptionError(
                f"resource={self.resource!r} is not known here (known: {', '.join(RESOURCES)})"
            )
        for name in ("ranks", "cores_per_rank"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DescriptionError(f"{name} must be a whole number of at least 1: {value!r}")
        for name in ("start_timeout_s", "client_grace_s", "abort_grace_s"):
            if not getattr(self, name) > 0:
                raise DescriptionError(f"{name} must be greater than 0: {getattr(self, name)!r}")
        if self.walltime_s is not None and not self.walltime_s > 0:
            raise DescriptionError(f"walltime_s must be greater than 0: {self.walltime_s!r}")
        if self.communicator not in get_args(CommunicatorKind):
            raise DescriptionError(
                f"communicator={self.communicator!r} is not known here "
                f"(known: {', '.join(get_args(CommunicatorKind))})"
            )
        if self.tls not in (False, True):
            raise DescriptionError(f"tls must be True or False: {self.tls!r}")
        if self.tls and self.communicator != "tcp":
            raise DescriptionError(
                f"tls=True needs communicator='tcp', not {self.communicator!r}: "
                "MPI encrypts nothing by itself"
            )
        if not 0 <= self.communicator_cache <= 1000:
            # MPICH has 1,023 live communicators once collectives were used; leave it room.
            raise DescriptionError(
                f"communicator_cache must be within 0..1000: {self.communicator_cache!r}"
            )
