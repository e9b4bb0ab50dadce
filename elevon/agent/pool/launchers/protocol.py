"""What an agent needs of whatever starts its ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from elevon.model.ids import RankId


class LaunchHandle(Protocol):
    """A set of ranks that was started together."""

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that were started: the ranks, or one that stands for all of them."""

    def exit_code(self, pid: int) -> int | None:
        """How one of them ended (minus the signal's number where one killed it), or None."""

    def replace(self, rank: RankId) -> int | None:
        """Start a process for a rank whose own has died.

        Returns:
            Its process id, or None where the survivors have to do it.

        Raises:
            PilotStartFailed: it could not be started.
        """

    def stop(self, grace_s: float) -> None:
        """End all ranks and return when none is left; safe to call twice.

        Args:
            grace_s: how long they may take to end by themselves before they are killed.
        """


class Launcher(Protocol):
    """Starts ranks."""

    @property
    def survives_rank_loss(self) -> bool:
        """Whether the other ranks live on when one is killed."""

    @property
    def replaces_ranks(self) -> bool:
        """Whether a lost rank can be started again without the help of the others."""

    def start(
        self, ranks: int, command: Sequence[str], env: Mapping[str, str], log: Path
    ) -> LaunchHandle:
        """Start ``ranks`` processes that form one world.

        Args:
            ranks: how many.
            command: what each runs.
            env: variables to set beside the caller's own.
            log: file that gets what they print, appended.

        Returns:
            A handle; the processes need not be up yet.

        Raises:
            PilotStartFailed: nothing could be started.
        """
