"""How fast this machine's memory is: what no kernel can beat."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

#: Of each thread: far beyond every cache.
BYTES: Final = 256 << 20
TURNS: Final = 5


@dataclass(frozen=True, slots=True)
class Roof:
    """GB (10**9 bytes) per second; a copied byte counts once, though it is read and written."""

    copy_gb_per_s: float
    read_gb_per_s: float


def measure(threads: int) -> Roof:
    """The best of five turns, with all threads at once."""
    libc = ctypes.CDLL(None)  # its calls release the GIL
    libc.memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    libc.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    sources = [np.ones(BYTES, np.uint8) for _ in range(threads)]
    targets = [np.zeros(BYTES, np.uint8) for _ in range(threads)]
    pairs = [(a.ctypes.data, b.ctypes.data) for a, b in zip(sources, targets, strict=True)]
    with ThreadPoolExecutor(threads) as pool:
        copy = _best(pool, [partial(libc.memcpy, to, at, BYTES) for at, to in pairs])
        read = _best(pool, [partial(libc.memchr, at, 0, BYTES) for at, _ in pairs])
    return Roof(round(copy, 2), round(read, 2))


def _best(pool: ThreadPoolExecutor, calls: list[Callable[[], object]]) -> float:
    rates = []
    for _ in range(TURNS):
        started = time.perf_counter()
        for done in [pool.submit(call) for call in calls]:
            done.result()
        rates.append(BYTES * len(calls) / (time.perf_counter() - started) / 1e9)
    return max(rates)
