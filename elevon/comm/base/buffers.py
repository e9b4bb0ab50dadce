"""Large receive buffers that are used again.

Touching fresh memory for the first time costs a page fault per page, which took a receive from 17
down to 0.3 GB/s in a virtual machine; so buffers are huge-page friendly and come back here when the
last array over them is gone. Tables are laid over them without a copy, so nobody but the garbage
collector can know when.
"""

from __future__ import annotations

import mmap
import threading
import weakref

import numpy as np

from elevon.comm.protocol import Array

# Below this the allocator of numpy reuses memory by itself.
SMALLEST_POOLED_BYTES = 256 * 1024
KEPT_BYTES = 512 * 1024 * 1024


class BufferPool:
    """Gives out uninitialised arrays and takes their memory back.

    Args:
        kept_bytes: how much unused memory is kept for later, per process.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._limit = kept_bytes
        self._kept_bytes = 0
        self._free: dict[int, list[mmap.mmap]] = {}
        # A finaliser can run in the middle of take(), in the same thread.
        self._lock = threading.RLock()

    @property
    def kept_bytes(self) -> int:
        """How much unused memory is kept now."""
        return self._kept_bytes

    def take(self, nbytes: int) -> Array:
        """An uninitialised array of bytes.

        Args:
            nbytes: its length.

        Returns:
            One dimension of uint8, writable. Its memory is given out again once neither it nor a
            view of it exists.
        """
        if nbytes < SMALLEST_POOLED_BYTES:
            return np.empty(nbytes, dtype=np.uint8)
        size = _size_class(nbytes)
        memory = self._reuse(size) or _map(size)
        array = np.frombuffer(memory, dtype=np.uint8)
        # Views hold on to this array (their base), never to the mapping directly.
        weakref.finalize(array, self._give_back, memory, size).atexit = False
        return array[:nbytes]

    def _reuse(self, size: int) -> mmap.mmap | None:
        with self._lock:
            free = self._free.get(size)
            if not free:
                return None
            self._kept_bytes -= size
            return free.pop()

    def _give_back(self, memory: mmap.mmap, size: int) -> None:
        with self._lock:
            if self._kept_bytes + size <= self._limit:
                self._kept_bytes += size
                self._free.setdefault(size, []).append(memory)


def _size_class(nbytes: int) -> int:
    """The next power of two or half of one above: what is not used is never touched."""
    power = 1 << (nbytes - 1).bit_length()
    return power * 3 // 4 if nbytes <= power * 3 // 4 else power


def _map(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
