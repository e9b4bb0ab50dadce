"""The tables of ``elevon bench``, and a checksum of rows in any order.

The papers' table has two int64 columns drawn uniformly from [0, 0.9 * rows); other keys, skew and
more payload are variations of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elevon.frames.kernels import hash_rows

Distribution: TypeAlias = Literal["uniform", "zipf"]
Side: TypeAlias = Literal["left", "right"]

#: The papers' u: how many different values there are, by rows.
UNIQUENESS: Final = 0.9
ZIPF_EXPONENT: Final = 1.2
#: The first column's name on each side; a result has both.
PAYLOADS: Final[dict[Side, str]] = {"left": "a", "right": "b"}
_SEEDS: Final[dict[Side, int]] = {"left": 1, "right": 2}


def _text(values: NDArray[np.int64]) -> pa.Array:
    """Strings of 5 to 12 bytes with a common prefix."""
    return pc.binary_join_element_wise("key-", pc.cast(pa.array(values), pa.string()), "")


KEY_KINDS: Final[dict[str, Callable[[NDArray[np.int64]], pa.Array]]] = {
    "int64": lambda values: pa.array(values),
    "int32": lambda values: pa.array(values.astype(np.int32)),
    "float64": lambda values: pa.array(values.astype(np.float64)),
    "string": _text,
}


@dataclass(frozen=True, slots=True)
class Workload:
    """What is joined and sorted.

    Attributes:
        rows: of each side.
        keys: the kind of each key column, of KEY_KINDS. Several columns share the digits of one
            drawn value, so their combinations repeat as often as one column's values would.
        distribution: of the drawn values. Under "zipf" (exponent 1.2) only the left side is
            skewed: with two skewed sides the result alone would be 10**12 rows.
        payload: int64 columns beside the keys.
        part: which part of a table that several processes hold together; parts differ.
        parts: of how many, for the range of values.
    """

    rows: int
    keys: tuple[str, ...] = ("int64",)
    distribution: Distribution = "uniform"
    payload: int = 1
    part: int = 0
    parts: int = 1

    @property
    def key_names(self) -> list[str]:
        """``k`` for one key column, ``k0``, ``k1``, ... for several."""
        return ["k"] if len(self.keys) == 1 else [f"k{i}" for i in range(len(self.keys))]

    def payload_names(self, side: Side) -> list[str]:
        """``a`` or ``b``, with numbers from the second one on."""
        first = PAYLOADS[side]
        return [first, *(f"{first}{i}" for i in range(1, self.payload))][: self.payload]

    def table(self, side: Side) -> pa.Table:
        """One side: keys first, then the payload."""
        rng = np.random.default_rng([_SEEDS[side], self.part])
        high = max(1, int(UNIQUENESS * self.rows * self.parts))
        keys = self._keys(self._drawn(rng, side, high), high)
        columns = dict(zip(self.key_names, keys, strict=True))
        for name in self.payload_names(side):
            columns[name] = pa.array(rng.integers(0, high, self.rows, dtype=np.int64))
        return pa.table(columns)

    def _drawn(self, rng: np.random.Generator, side: Side, high: int) -> NDArray[np.int64]:
        if self.distribution == "uniform" or side == "right":
            return rng.integers(0, high, self.rows, dtype=np.int64)
        return (rng.zipf(ZIPF_EXPONENT, self.rows) - 1) % high

    def _keys(self, values: NDArray[np.int64], high: int) -> list[pa.Array]:
        radix = math.ceil(high ** (1 / len(self.keys)))
        made = []
        for kind in self.keys:
            # One column gets the value itself: a rounded root must not cut it.
            values, digit = (values, values) if len(self.keys) == 1 else divmod(values, radix)
            made.append(KEY_KINDS[kind](digit))
        return made


def checksum(table: pa.Table) -> str:
    """A sum over the rows of a hash of their values: the same for the same rows in any order.

    Columns are taken by name, so that their order does not count either.
    """
    ordered = table.select(sorted(table.column_names))
    total = sum(int(chunk.to_numpy().sum(dtype=np.uint64)) for chunk in hash_rows(ordered).chunks)
    return f"{total % (1 << 64):016x}"


def in_order(table: pa.Table, by: list[str]) -> bool:
    """Whether the rows ascend by the columns ``by``."""
    # What comes before an equal row does not count, so the first difference decides.
    decided = np.zeros(max(0, table.num_rows - 1), dtype=bool)
    for name in by:
        column = table[name].combine_chunks()
        before, after = column.slice(0, len(decided)), column.slice(1)
        less = pc.less(before, after).to_numpy(zero_copy_only=False)
        greater = pc.greater(before, after).to_numpy(zero_copy_only=False)
        if (greater & ~decided).any():
            return False
        decided |= less
    return True
