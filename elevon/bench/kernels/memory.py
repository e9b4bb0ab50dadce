"""The resident memory of this process, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path

_PROCESS = Path("/proc/self")


def forget_peak() -> None:
    """Set the high-water mark back to what is resident now."""
    (_PROCESS / "clear_refs").write_text("5")


def peak_bytes() -> int:
    """The largest resident memory since the process began or ``forget_peak``."""
    return _field("VmHWM")


def resident_bytes() -> int:
    """What is resident now."""
    return _field("VmRSS")


def _field(name: str) -> int:
    text = (_PROCESS / "status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) * 1024
