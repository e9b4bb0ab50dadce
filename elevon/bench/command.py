"""``elevon bench``: the group of measurements."""

from __future__ import annotations

from typing import Final

from elevon.cli.lazy import Entry, LazyGroup

COMMANDS: Final = {
    "overhead": Entry(
        "elevon.bench.overhead",
        "Private communicators, the way of an empty task, tasks per second.",
    ),
    "kernels": Entry(
        "elevon.bench.kernels.command",
        "Join and sort of one table, beside other engines.",
    ),
    "comm": Entry(
        "elevon.bench.comm",
        "Latency and bandwidth of private communicators.",
    ),
    "distributed": Entry(
        "elevon.bench.distributed",
        "Join or sort over ranks, beside the local kernel with as many threads.",
    ),
    "rendezvous": Entry(
        "elevon.bench.rendezvous",
        "Ranks that find each other, in groups of several sizes.",
    ),
    "faults": Entry(
        "elevon.bench.faults",
        "Ranks that die in collectives, many times: errors, hangs, leaks.",
    ),
}

command = LazyGroup("bench", COMMANDS, "Measure what the runtime costs.")
