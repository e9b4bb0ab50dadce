"""The k-th smallest of many values without sorting them, digit by digit.

Values become unsigned numbers in the same order. In each pass over the values those are counted
that have the digits found so far, by their next digit; the k-th of them tells it. Nothing is kept
but the counts, so the values may lie on several ranks or on the disk (radix selection; Alabi et
al., 2012).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Codes: TypeAlias = NDArray[np.uint64]
Rows: TypeAlias = NDArray[np.int64]
#: The groups of some values, and the values.
Batch: TypeAlias = "tuple[Rows, NDArray[np.float64]]"

#: Eight passes, with two KiB of counts for each group.
DIGIT_BITS: Final = 8
DIGITS: Final = 1 << DIGIT_BITS
#: Bytes of counts, and of what is made of them, for each group.
GROUP_BYTES: Final = 4 * 8 * DIGITS

_SIGN: Final = np.uint64(1 << 63)


def select(
    batches: Callable[[], Iterable[Batch]],
    ranks: Rows,
    total: Callable[[Rows], Rows] = np.asarray,
) -> NDArray[np.float64]:
    """One value of each group by its place in the order; NaN is the greatest.

    Args:
        batches: gives all values anew for each pass. A group that is out of range is skipped.
        ranks: for each group, which of its values is wanted, counted from 0.
        total: adds up the counts of several ranks.

    Returns:
        The values; anything where a group has not so many.
    """
    found, left = np.zeros(len(ranks), np.uint64), ranks.copy()
    for shift in range(64 - DIGIT_BITS, -1, -DIGIT_BITS):
        here = np.zeros(len(ranks) * DIGITS, np.int64)
        for groups, values in batches():
            here += _count_digits(groups, _codes(values), found, shift)
        counts = total(here).reshape(len(ranks), DIGITS)
        ends = counts.cumsum(axis=1)
        digits = np.minimum((ends <= left[:, None]).sum(axis=1), DIGITS - 1)
        places = np.arange(len(ranks)), digits
        left = left - (ends - counts)[places]
        found = (found << np.uint64(DIGIT_BITS)) | digits.astype(np.uint64)
    return _values(found)


def _count_digits(groups: Rows, codes: Codes, found: Codes, shift: int) -> Rows:
    """How many values of each group have each next digit, of those that have the found ones."""
    inside = (groups >= 0) & (groups < len(found))
    groups, codes = groups[inside], codes[inside]
    if shift + DIGIT_BITS < 64:
        same = codes >> np.uint64(shift + DIGIT_BITS) == found[groups]
        groups, codes = groups[same], codes[same]
    digits = (codes >> np.uint64(shift)) & np.uint64(DIGITS - 1)
    counted = np.bincount(groups * DIGITS + digits.astype(np.int64), minlength=len(found) * DIGITS)
    return counted.astype(np.int64)


def _codes(values: NDArray[np.float64]) -> Codes:
    """Numbers in the order of the values, with one zero and one NaN."""
    plain = np.where(np.isnan(values), np.nan, values + 0.0)
    bits = plain.view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _values(codes: Codes) -> NDArray[np.float64]:
    bits = np.where(codes & _SIGN, codes & ~_SIGN, ~codes)
    return bits.view(np.float64)
