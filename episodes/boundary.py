"""The store's boundary: NumPy and pandas values are converted to Python types here and nowhere else.

psycopg2 refuses most NumPy scalars, and adapts `numpy.float64` to text that Postgres reads as a function call. It would also
store NaN without complaint. So every value is converted to the type that its column holds, or refused with a message that names
table, column and value.
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
    """The value as the Python type of the column.

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
    """Why the database would refuse the value; "" if it would accept it."""
    if value is None:
        return "" if column.nullable else "a value is required"
    fact = fact_of(column)
    if fact is None or not fact.enforced:
        return ""
    if fact.allowed is not None and value not in fact.allowed:
        return f"the allowed values are {', '.join(fact.allowed)}"
    if fact.minimum is not None and value < fact.minimum:
        return f"the minimum is {fact.minimum:g}"
    return ""


def _without_numpy(value: Any) -> Any:
    """Unwrap 0-d arrays and NumPy scalars. NaT and NA become None; NaN stays NaN."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.datetime64):
        # datetime64 has no time zone; by NumPy's documentation it is UTC.
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
    raise TypeError(f"there is no conversion for {column.type!r}")


def _integer(limit: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError("expected an integer")
        if not -limit <= value < limit:
            raise ValueError(f"expected an integer from {-limit} to {limit - 1}")
        return int(value)

    return convert


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("expected a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected True or False")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    if "\x00" in value:
        raise ValueError("Postgres cannot store a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not valid Unicode (a lone surrogate)") from None
    return str(value)


def _datetime(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError("expected a datetime")
    if value.utcoffset() is None:
        raise ValueError("the datetime has no time zone; use datetime.now(UTC)")
    return value.astimezone(UTC)


def _binary(value: Any) -> bytes:
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 1:
        return value.tobytes()
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("expected bytes or a one-dimensional array of uint8")
    return bytes(value)


def _json(value: Any) -> Any:
    """JSON as Python types: dicts with text keys, lists, text, finite numbers, booleans, None."""
    value = _without_numpy(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Mapping):
        return {_text(key): _json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    raise TypeError(f"JSON has no {type(value).__name__}")


# The order matters: SQLAlchemy's BigInteger is a subclass of Integer.
_CONVERTERS: Final[dict[type[Any], Callable[[Any], Any]]] = {
    BigInteger: _integer(2**63),
    Integer: _integer(2**31),
    Double: _float,
    Boolean: _boolean,
    Text: _text,
    DateTime: _datetime,
    JSONB: _json,
    LargeBinary: _binary,
}
