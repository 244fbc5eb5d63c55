"""What a person is told of a fault that the program did not cause: one message, and the file that holds the traceback.

A traceback is for who mends the program. A server that is away, a full disk or a refused password calls for a message.
"""

import copy
import logging
import os
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from configs import LOGGERS
from configs.masking import mask_urls

# Packages behind which other systems are, and what a person calls them.
_SYSTEMS = {
    "alembic": "the database",
    "httpcore": "a server",
    "httpx": "a server",
    "mlflow": "MLflow",
    "prefect": "Prefect",
    "psycopg2": "the database",
    "pydantic_core": "a setting",
    "pydantic_settings": "a setting",
    "requests": "a server",
    "sqlalchemy": "the database",
    "sqlite3": "the database",
    "urllib3": "a server",
    "websockets": "a server",
}
_LONGEST = 500
_started = datetime.now(UTC)
_kept: set[int] = set()


def message_of(error: BaseException, home: Path) -> str | None:
    """What to tell a person of `error`; its traceback is written to a file below `home/logs` that the message names.

    Returns:
        The message, its passwords masked; None if the error is a fault of the program.
    """
    leaf = _leaf(error)
    if not _from_outside(leaf):
        return None
    system = _SYSTEMS.get(_package(type(leaf))) or _SYSTEMS.get(_raised_in(leaf) or "")
    parts = (system, _server_of(leaf), type(leaf).__name__, mask_urls(_said_by(leaf))[:_LONGEST])
    text = ": ".join(part for part in parts if part)
    kept = _keep(error, home)
    return f"{text}\nthe traceback is in {kept}" if kept is not None else f"{text}\n(the traceback could not be written)"


def show_no_tracebacks(home: Path) -> None:
    """Have Prefect's console name the file instead of showing the traceback of an error that the program did not cause.

    Prefect's page still gets the traceback. To be called when Prefect has set its loggers up.
    """
    # The console's is on the root logger; what Prefect's own threads report has another.
    for name in (None, "prefect", "prefect._internal"):
        for handler in logging.getLogger(name).handlers:
            of_prefect = isinstance(handler, logging.StreamHandler) and type(handler).__module__.startswith("prefect.")
            if of_prefect and not isinstance(handler.formatter, _Formatter):
                handler.setFormatter(_Formatter(handler.formatter, home))


class _Formatter(logging.Formatter):
    """Another formatter, for which tracebacks of errors from outside are written to a file."""

    def __init__(self, inner: logging.Formatter | None, home: Path) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()
        self._home = home

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or not (_is_ours(error) or _from_outside(_leaf(error))):
            return self._inner.format(record)
        kept = _keep(error, self._home)
        # A copy: the handler for Prefect's page gets the same record.
        shown = copy.copy(record)
        shown.exc_info, shown.exc_text, shown.args = None, None, None
        shown.msg = record.getMessage() + (f"\nthe traceback is in {kept}" if kept is not None else "")
        return self._inner.format(shown)


def _is_ours(error: BaseException) -> bool:
    """Whether it is one of our own errors, which are written for people."""
    return _package(type(error)) in LOGGERS


def _from_outside(error: BaseException) -> bool:
    if isinstance(error, OSError) or _package(type(error)) in _SYSTEMS:
        return True
    # Prefect and MLflow also raise plain RuntimeErrors; those of our own code and of other libraries are faults of the program.
    return type(error) is RuntimeError and _raised_in(error) in _SYSTEMS


def _server_of(error: BaseException) -> str | None:
    """The server that a request went to, where an HTTP library's error says it."""
    try:
        parts = urlsplit(str(error.request.url))  # type: ignore[attr-defined]
        return f"{parts.scheme}://{parts.hostname}:{parts.port}" if parts.port else f"{parts.scheme}://{parts.hostname}"
    except (AttributeError, RuntimeError, ValueError):
        return None


def _said_by(error: BaseException) -> str:
    """What the error says, on one line."""
    if isinstance(error, ValidationError):
        # Its text begins with a count, and quotes the values, which may be secret.
        return "; ".join(": ".join([*map(str, each["loc"]), each["msg"]]) for each in error.errors())
    # The first line only: SQLAlchemy's others are the statement and a link, Prefect's the request.
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _leaf(error: BaseException) -> BaseException:
    """The error within a group that holds one alone, as task groups of asyncio raise it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _package(kind: type) -> str:
    return kind.__module__.split(".")[0]


def _raised_in(error: BaseException) -> str | None:
    """The package whose code raised it."""
    frames: Iterator[str] = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    last = None
    for last in frames:  # noqa: B007 (the last one is wanted)
        pass
    return None if last is None else last.split(".")[0]


def _keep(error: BaseException, home: Path) -> Path | None:
    """Write the traceback to this process's file, once; None if that is not possible."""
    text = mask_urls("".join(traceback.format_exception(error)))
    path = home / "logs" / f"faults-{_started:%Y%m%d-%H%M%S}-{os.getpid()}.log"
    # An error that passes through Prefect has a longer traceback each time: it is the same by its type and text.
    same = hash((path, type(error), str(error)))
    if same in _kept:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", opener=_for_its_user) as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{text}\n")
    except OSError:
        return None
    _kept.add(same)
    return path


def _for_its_user(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
