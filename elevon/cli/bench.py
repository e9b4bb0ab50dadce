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
    "kernels": Entry(
        "elevon.cli.kernels.command",
        "Join and sort of one table, beside other engines.",
    ),
    "comm": Entry(
        "elevon.cli.comm",
        "Latency and bandwidth of private communicators.",
    ),
    "distributed": Entry(
        "elevon.cli.distributed",
        "Join or sort over ranks, beside the local kernel with as many threads.",
    ),
    "rendezvous": Entry(
        "elevon.cli.joins",
        "Ranks that find each other, in groups of several sizes.",
    ),
    "faults": Entry(
        "elevon.cli.faults",
        "Ranks that die in collectives, many times: errors, hangs, leaks.",
    ),
}

command = LazyGroup("bench", COMMANDS, "Measure what the runtime costs.")
