"""Arrow tables in and out: local kernels and distributed operators over a Communicator.

The local operators are here by name; they are loaded at first use, because pyarrow takes longer
to import than a rank takes to start. Distributed ones are in
``elevon.frames.join_sort`` and ``elevon.frames.operators``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elevon.frames.kernels import hash_rows as hash_rows
    from elevon.frames.kernels import join as join
    from elevon.frames.kernels import sort as sort
    from elevon.frames.kernels import take as take

_LOCAL = ("hash_rows", "join", "sort", "take")

__all__ = ["hash_rows", "join", "sort", "take"]


def __getattr__(name: str) -> object:
    if name not in _LOCAL:
        raise AttributeError(f"module 'elevon.frames' has no attribute {name!r}")
    value = getattr(importlib.import_module("elevon.frames.kernels"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_LOCAL])
