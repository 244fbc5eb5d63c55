"""The store's boundary: NumPy and pandas values become Python's own here and nowhere else.

psycopg2 refuses most NumPy scalars, and adapts `numpy.float64` to text that Postgres reads as a function call. It would also
store NaN without complaint. So every value is converted to exactly the type its column holds, or refused with a message that
names table, column and value.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from episodes.errors import RowError
from episodes.schema import fact_of


def row_values(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the values of one row.

    Args:
        table: the table the row is for.
        values: column name → value, for some or all columns of the table.

    Raises:
        RowError: a column does not exist, or a value cannot be stored in its column.
    """
    unknown = values.keys() - table.columns.keys()
    if unknown:
        raise RowError(f"{table.name} has no column {', '.join(sorted(unknown))}; it has {', '.join(table.columns.keys())}")
    return {name: column_value(table.columns[name], value) for name, value in values.items()}


def column_value(column: Column[Any], value: Any) -> Any:
    """The value as Python's own type for the column.

    Raises:
        RowError: the value cannot be stored there.
    """
    try:
        plain = _without_numpy(value)
        converted = None if plain is None else _converter(column)(plain)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error)
    else:
        reason = _broken_rule(column, converted)
    if reason:
        raise _refused(column, value, reason)
    return converted


def _refused(column: Column[Any], value: Any, reason: str) -> RowError:
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return RowError(f"{column.table.name}.{column.name} cannot hold {shown} ({type(value).__name__}): {reason}")


def _broken_rule(column: Column[Any], value: Any) -> str:
    """What the database would object to, or "" for a value that it takes."""
    if value is None:
        return "" if column.nullable else "there must be a value"
    fact = fact_of(column)
    if fact is None or not fact.enforced:
        return ""
    if fact.allowed is not None and value not in fact.allowed:
        return f"allowed are {', '.join(fact.allowed)}"
    if fact.minimum is not None and value < fact.minimum:
        return f"the least is {fact.minimum:g}"
    return ""


def _without_numpy(value: Any) -> Any:
    """Unwrap 0-d arrays and NumPy scalars; pandas' and NumPy's words for "no value" become None; NaN stays NaN."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.datetime64):
        # NumPy's moments have no time zone; by its documentation they are UTC.
        return None if np.isnat(value) else pd.Timestamp(value).tz_localize(UTC).to_pydatetime(warn=False)
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime(warn=False)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer) and not np.issubdtype(value.dtype, np.timedelta64):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, np.bytes_):
        return bytes(value)
    return value


def _converter(column: Column[Any]) -> Callable[[Any], Any]:
    for sql_type, convert in _CONVERTERS.items():
        if isinstance(column.type, sql_type):
            return convert
    raise TypeError(f"no conversion is known for {column.type!r}")


def _whole(limit: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError("it takes whole numbers")
        if not -limit <= value < limit:
            raise ValueError(f"it takes whole numbers from {-limit} to {limit - 1}")
        return int(value)

    return convert


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("it takes numbers")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("it takes finite numbers")
    return number


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it takes True or False")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("it takes text")
    if "\x00" in value:
        raise ValueError("Postgres stores no NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it is no valid Unicode (a lone surrogate)") from None
    return str(value)


def _moment(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError("it takes a moment (datetime)")
    if value.utcoffset() is None:
        raise ValueError("the moment has no time zone; use datetime.now(UTC)")
    return value.astimezone(UTC)


def _binary(value: Any) -> bytes:
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 1:
        return value.tobytes()
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("it takes bytes or a one-dimensional array of uint8")
    return bytes(value)


def _json(value: Any) -> Any:
    """JSON with Python's own types: dicts with text as keys, lists, text, finite numbers, truth values, None."""
    value = _without_numpy(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _real(value)
    if isinstance(value, Mapping):
        return {_text(key): _json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    raise TypeError(f"JSON knows no {type(value).__name__}")


# In this order: SQLAlchemy's BigInteger is an Integer, its Double a Float.
_CONVERTERS: Final[dict[type[Any], Callable[[Any], Any]]] = {
    BigInteger: _whole(2**63),
    Integer: _whole(2**31),
    Double: _real,
    Boolean: _truth,
    Text: _text,
    DateTime: _moment,
    JSONB: _json,
    LargeBinary: _binary,
}
