"""``elevon agent``: the agent of a pilot, by its other name."""

from __future__ import annotations

from elevon.agent.__main__ import main as command

__all__ = ["command"]
