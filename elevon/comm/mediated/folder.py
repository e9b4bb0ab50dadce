"""A folder for messages alone, inside a place that may hold anything else as well.

The place is the user's: a directory of their data, a bucket that others fill. So a folder has a
name and a marker that only Elevon gives, and one without the marker is neither used nor cleaned up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from elevon.errors import CommunicatorError

NAME = "elevon-messages"
MARKER = ".elevon-messages"
MARKER_TEXT = (
    b"Elevon keeps messages between ranks in this folder, and deletes those that have grown old.\n"
)


class Folder(Protocol):
    """Named bytes in one folder; threads may share it. What fails raises OSError or ArrowException.

    Attributes:
        where: for messages.
    """

    where: str

    def write(self, name: str, parts: Sequence[bytes]) -> None:
        """Write a file, which only its owner can read where the system knows owners."""

    def read(self, name: str, at_most: int | None = None) -> bytes | None:
        """A file's first bytes, or all of them; None where there is no plain file of this name."""

    def delete(self, name: str) -> None:
        """Delete a file; one that is gone already is fine."""

    def files(self) -> Iterator[tuple[str, float]]:
        """Names and times of change of the plain files in it, not of what lies deeper."""

    def now(self) -> float:
        """The time, by the clock that the files' times are taken from."""

    def close(self) -> None:
        """Give it up; what lies there stays."""


def not_ours(where: str) -> CommunicatorError:
    """The error about a folder that has our name and not our marker."""
    return CommunicatorError(
        f"{where} is not a folder of Elevon's: it holds no {MARKER}, or is another user's, so it "
        "is left alone; move it away, or let the ranks share another directory or prefix"
    )
