"""``elevon bench``: the group of measurements.

Before it: ``lazy``. After it: ``root`` lists it.
"""

from __future__ import annotations

from typing import Final

from elevon.cli.lazy import Entry, LazyGroup

COMMANDS: Final = {
    "overhead": Entry(
        "elevon.cli.overhead",
        "Private communicators, the way of an empty task, tasks per second.",
    ),
}

command = LazyGroup("bench", COMMANDS, "Measure what the runtime costs.")
