"""Functions and arguments as pickles: bounded in size, and whatever pickling raises is told.

Pickling runs code of the caller's (``__reduce__``), which may raise anything.
"""

from __future__ import annotations

import pickle
from typing import Any, Final, TypeAlias

from elevon.errors import DescriptionError, NotPicklable
from elevon.frames.files.pickles import dump
from elevon.model.checks import foreign

# Of texts and numbers: larger ones go the way that counts bytes.
_SHORT: Final = 1000
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


def pack_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], most: int, advice: str) -> bytes:
    """The arguments of a call as one pickle; see ``pack``."""
    if all(map(_is_plain, (*args, *kwargs, *kwargs.values()))):
        return pickle.dumps((args, kwargs), pickle.HIGHEST_PROTOCOL)
    return pack("the arguments", (args, kwargs), most, advice)


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value) < _SHORT
    if kind is int:
        return bool(value.bit_length() < _SHORT)
    return kind is float or kind is bool or value is None


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
