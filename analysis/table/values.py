"""One column of a foreign table as plain values; what cannot be read is null and counted, never guessed at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from grok_sweeps.config import ADDED_LATER
from grok_sweeps.schema import RUN_COLUMNS

NULLS = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>"})
"""How a null is written where numbers are stored as text, in lower case."""

_DTYPES = {column.name: column.dtype for column in RUN_COLUMNS}


def texts(column: pd.Series) -> list[str | None]:
    """Text, None where null."""
    return [v if isinstance(v, str) else None if _is_null(v) else str(v) for v in column]


def numbers(column: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers, NaN where null; and where something stood that is no finite number."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(values), values, np.nan), np.isinf(values)
    given = [v if pd.api.types.is_scalar(v) else "unreadable" for v in column]
    null = np.array([_is_null(v) for v in given], dtype=bool)
    values = pd.to_numeric(pd.Series(given, dtype=object), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    readable = np.isfinite(values)
    return np.where(readable, values, np.nan), ~null & ~readable


def later(column: pd.Series, name: str) -> tuple[list[object], NDArray[np.bool_]]:
    """A config column that the first release lacked: its default where null; and what cannot be read."""
    default = ADDED_LATER[name]
    if not (pa.types.is_integer(_DTYPES[name]) or pa.types.is_floating(_DTYPES[name])):
        plain = [v.item() if isinstance(v, np.generic) else v for v in column]
        values = [v if isinstance(v, bool) else None if _is_null(v) else str(v) for v in plain]
        return [default if v is None else v for v in values], np.zeros(len(column), dtype=bool)
    found, unreadable = numbers(column)
    return [default if np.isnan(v) else float(v) for v in found], unreadable


def unreadable_note(what: str, name: str, column: Iterable[object], unreadable: NDArray[np.bool_]) -> str:
    """A sentence on values that are no number, with the first of them."""
    first = next(v for v, bad in zip(column, unreadable, strict=True) if bad)
    n = int(unreadable.sum())
    return f"{what}: {n} values of {name} left out: no finite number, the first is {str(first)[:40]!r}"


def _is_null(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in NULLS
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))
