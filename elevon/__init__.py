"""Elevon: a pilot-job runtime for heterogeneous dataframe workloads.

The public names, nothing else. They are loaded at first use, so that ``import elevon`` stays
under 200 ms and needs neither MPI nor pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from elevon.comm.protocol import Communicator as Communicator
    from elevon.model.pilots import PilotDescription as PilotDescription
    from elevon.model.states import PilotState as PilotState
    from elevon.model.tasks import TaskDescription as TaskDescription
    from elevon.model.tasks import TaskOptions as TaskOptions
    from elevon.pilot.manager import Pilot as Pilot
    from elevon.pilot.manager import PilotManager as PilotManager
    from elevon.session import Session as Session
    from elevon.tasks.dataset import Dataset as Dataset
    from elevon.tasks.manager import TaskManager as TaskManager
    from elevon.tasks.task import Task as Task

_HOME = {
    "Communicator": "elevon.comm.protocol",
    "Dataset": "elevon.tasks.dataset",
    "Pilot": "elevon.pilot.manager",
    "PilotDescription": "elevon.model.pilots",
    "PilotManager": "elevon.pilot.manager",
    "PilotState": "elevon.model.states",
    "Session": "elevon.session",
    "Task": "elevon.tasks.task",
    "TaskDescription": "elevon.model.tasks",
    "TaskManager": "elevon.tasks.manager",
    "TaskOptions": "elevon.model.tasks",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'elevon' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
