"""The same joins by pandas, and what differs from them.

Rows are compared as a multiset, by 64-bit hashes: the order of rows with equal delays is nobody's
promise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray


def pandas_join(directory: Path) -> pd.DataFrame:
    """Read the four tables and join them, with nothing of Elevon's."""

    def read(name: str, **options: object) -> pd.DataFrame:
        return pd.read_csv(directory / name, **options)

    flights = read("flights.csv.zip", parse_dates=["time_hour"])
    weather = read("weather.csv", parse_dates=["time_hour"])
    joined = flights.merge(weather, on=["origin", "time_hour"], how="left")
    joined = joined.merge(read("planes.csv"), on="tailnum", how="left")
    return joined.merge(read("airports.csv"), left_on="dest", right_on="faa", how="left")


def differences(
    ordered: pa.Table, by_visibility: list[tuple[int, int, float]], expected: pd.DataFrame
) -> list[str]:
    """What is not as pandas has it, in words; empty where all is equal."""
    ours = ordered.to_pandas()
    if list(ours.columns) != list(expected.columns):
        return [f"columns {list(ours.columns)} instead of {list(expected.columns)}"]
    if len(ours) != len(expected):
        return [f"{len(ours):,} rows instead of {len(expected):,}"]
    found = []
    have, want = row_hashes(ours), row_hashes(expected)
    if not np.array_equal(np.sort(have), np.sort(want)):
        missing = np.count_nonzero(~np.isin(want, have))
        found.append(f"{missing:,} rows are missing, in columns {_differing(ours, expected)}")
    order = expected["dep_delay"].sort_values(ascending=False).to_numpy()
    if not np.array_equal(ours["dep_delay"].to_numpy(), order, equal_nan=True):
        found.append("dep_delay is not in descending order, missing values last")
    if not _same_means(by_visibility, expected):
        found.append("the delays by visibility differ")
    return found


def checksum(frame: pd.DataFrame) -> str:
    """The sum of the rows' hashes modulo 2**64, 16 hexadecimal digits."""
    return f"{int(row_hashes(frame).sum(dtype=np.uint64)):016x}"


def row_hashes(frame: pd.DataFrame) -> NDArray[np.uint64]:
    """A hash per row that does not depend on how a column's type spells a missing value."""
    plain = pd.DataFrame({name: _plain(frame[name]) for name in frame.columns})
    hashes: NDArray[np.uint64] = pd.util.hash_pandas_object(plain, index=False).to_numpy()
    return hashes


def _plain(column: pd.Series) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(column):
        return column.dt.tz_convert("UTC").astype("datetime64[ns, UTC]").astype("int64")
    if pd.api.types.is_numeric_dtype(column):
        return column.astype("float64")
    return column.astype(object).where(column.notna(), "")


def _differing(ours: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
    return [
        name for name in expected.columns if checksum(ours[[name]]) != checksum(expected[[name]])
    ]


def _same_means(ours: list[tuple[int, int, float]], expected: pd.DataFrame) -> bool:
    known = expected[["visib", "dep_delay"]].dropna()
    groups = known.groupby(known["visib"].astype("int64"))["dep_delay"]
    wanted = [(int(m), int(n), float(x)) for m, n, x in groups.agg(["size", "mean"]).itertuples()]
    return np.allclose(np.array(ours), np.array(wanted)) if len(ours) == len(wanted) else False
