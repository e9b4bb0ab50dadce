"""What the kernels refuse for values, not for types, as errors of ours that name the columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from elevon.errors import SchemaError, UsageError


@contextmanager
def told(what: str, *schemas: pa.Schema) -> Iterator[None]:
    """Around a call of a kernel.

    Args:
        what: what was to be done, for the message.
        *schemas: of the tables that it was given.

    Raises:
        SchemaError: the kernel refused a value.
    """
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        columns = [f"{field.name!r} ({field.type})" for schema in schemas for field in schema]
        raise SchemaError(
            f"{what}: {error}; the columns are {', '.join(columns)}. A dictionary that outgrows "
            f"its index type needs a wider one (int32), 2 GiB of text in one row large_string"
        ) from error
