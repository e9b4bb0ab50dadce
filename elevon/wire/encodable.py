"""The last check of a description, on the caller's thread: does its frame come through?

What a frame cannot carry would else be found on a link's thread, or by the agent, where it costs
more than the call that brought it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from elevon.errors import DescriptionError
from elevon.model import checks
from elevon.model.checks import foreign
from elevon.model.ids import TaskId
from elevon.model.operations import Call
from elevon.model.pilots import PilotDescription
from elevon.model.shown import shown
from elevon.model.tasks import TaskDescription, TaskSubmission
from elevon.wire.messages import ClientMessage, Submit

#: Of one description; a function's arguments have a limit of their own.
LARGEST_DESCRIPTION_BYTES: Final = 32 << 20
# Decoding a larger one takes longer than a caller should wait; its form is that of smaller ones.
_READ_AGAIN_BYTES: Final = 1 << 20
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[ClientMessage])
_T = TypeVar("_T")


def check_tasks(batch: Iterable[tuple[TaskId, TaskDescription]]) -> None:
    """Encode descriptions as the link will, and read them as the agent will.

    Raises:
        DescriptionError: one does not come through as it is, or is too large.
    """
    for task, description in batch:
        # A function's description holds checked numbers, names and bytes only, which always come
        # through; functions are submitted by the thousand, and this would cost half as much again.
        if checks.is_a(description.operation, Call):
            continue
        message = Submit((TaskSubmission(task, description, 0.0),))
        what = f"task {shown(description.name)}"
        with foreign(f"{what} cannot be sent"):
            frame = _encoder.encode([message])
        if len(frame) > LARGEST_DESCRIPTION_BYTES:
            raise DescriptionError(
                f"{what}: its description takes {len(frame):,} bytes, more than the "
                f"{LARGEST_DESCRIPTION_BYTES:,} that a task may: bring data in as a table"
            )
        if len(frame) <= _READ_AGAIN_BYTES:
            with foreign(f"{what} cannot be sent"):
                found: Any = _decoder.decode(frame)
            _same(what, [message], found)


def check_pilot(description: PilotDescription) -> None:
    """Encode a pilot as its file will have it, and read it again.

    Raises:
        DescriptionError: it does not come through as it is.
    """
    with foreign("the pilot's description cannot be written"):
        found = msgspec.json.decode(msgspec.json.encode(description), type=PilotDescription)
    _same("the pilot's description", description, found)


def _same(what: str, sent: _T, found: _T) -> None:
    if sent != found:
        raise DescriptionError(f"{what} would arrive changed; this is a defect of Elevon")
