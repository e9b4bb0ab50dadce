"""Words of foreign code, made fit to travel: errors whose texts may raise, lie, or never end.

Nothing here raises, whatever the error that it is given does when it is asked for its text. What it
returns is plain text of a bounded length that UTF-8 can encode.
"""

from __future__ import annotations

import traceback

from elevon.model.shown import type_name

# A message is read by a person; a traceback has the end that matters and is longer.
MESSAGE_CHARACTERS = 4_000
TRACEBACK_CHARACTERS = 16_000


def bounded(text: str, characters: int) -> str:
    """The text, without its middle where it is longer, and with what no UTF-8 has spelled out."""
    # An exact string: a subclass may have methods of its own, and this one cannot be overridden.
    exact = str.__str__(text)
    if len(exact) > characters:
        head, tail = characters * 3 // 4, characters // 4
        cut = len(exact) - head - tail
        exact = f"{exact[:head]} [... {cut:,} characters left out ...] {exact[-tail:]}"
    return exact.encode("utf-8", "backslashreplace").decode()


def error_text(error: BaseException, characters: int = MESSAGE_CHARACTERS) -> str:
    """What the error says: ``ValueError: no such file``."""
    name = type_name(error)
    try:
        said = bounded(str(error), characters)
        return f"{name}: {said}" if said else name
    except BaseException as second:  # noqa: BLE001 - the text is foreign code
        return f"{name} (its text cannot be had: str() raised {type_name(second)})"


def traceback_text(error: BaseException, ours: str = "") -> str:
    """The error's traceback and those of its causes, as Python prints them.

    Args:
        error: what was raised.
        ours: the folder of the code that called the foreign code, whose lines are left out; not
            where there are no others.
    """
    try:
        # As Python sees it, whatever the error's own class says.
        first = trace = vars(BaseException)["__traceback__"].__get__(error)
        while ours and trace is not None and trace.tb_frame.f_code.co_filename.startswith(ours):
            trace = trace.tb_next
        lines = traceback.format_exception(type(error), error, trace or first)
        return bounded("".join(lines), TRACEBACK_CHARACTERS)
    except BaseException as second:  # noqa: BLE001 - it prints texts and notes, which are foreign
        return f"(the traceback cannot be printed: {type_name(second)})\n"
