"""Functions and arguments as pickles: bounded in size, and whatever pickling raises is told.

Pickling runs code of the caller's (``__reduce__``), which may raise anything.
"""

from __future__ import annotations

import pickle
from typing import Any, TypeAlias

from elevon.errors import DescriptionError, NotPicklable
from elevon.frames.files.pickles import dump
from elevon.model.checks import foreign

_Piece: TypeAlias = bytes | memoryview | pickle.PickleBuffer


class _Bounded:
    """A file that refuses to grow beyond a size, before memory is filled."""

    def __init__(self, what: str, most: int, advice: str) -> None:
        self._what = what
        self._most = most
        self._advice = advice
        self._size = 0
        self.pieces: list[bytes] = []

    def write(self, piece: _Piece) -> int:
        """Take a piece, as the pickler hands it over."""
        view = memoryview(piece)
        self._size += view.nbytes
        if self._size > self._most:
            raise DescriptionError(
                f"{self._what} take more than the {self._most:,} bytes that travel with a task: "
                f"{self._advice}"
            )
        self.pieces.append(bytes(view))
        return view.nbytes


def pack(what: str, value: Any, most: int, advice: str) -> bytes:
    """A value as a pickle.

    Args:
        what: for messages, in the plural.
        value: any object.
        most: bytes that the pickle may take.
        advice: what to do where it takes more.

    Raises:
        NotPicklable: pickling raised.
        DescriptionError: it is too large.
    """
    file = _Bounded(what, most, advice)
    with foreign(f"{what} cannot be pickled", NotPicklable):
        dump(value, file)
    return b"".join(file.pieces)
