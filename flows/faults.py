"""Messages for faults outside the program: one message for the user, and a file with the traceback.

Tracebacks are for developers. A server that is unavailable, a full disk or a refused password needs only a message.
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

# Packages that talk to other systems, and the names of these systems in messages.
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
_MAX_LENGTH = 500
_started = datetime.now(UTC)
_written: set[int] = set()


def describe_fault(error: BaseException, home: Path) -> str | None:
    """A message for the user on an error from outside. The traceback is written to a file in `home/logs`.

    Returns:
        The message, with masked passwords and the name of the file. None if `error` is a bug in the program.
    """
    leaf = _unwrap(error)
    if not _is_external(leaf):
        return None
    system = _SYSTEMS.get(_package(type(leaf))) or _SYSTEMS.get(_raising_package(leaf) or "")
    parts = (system, _server_of(leaf), type(leaf).__name__, mask_urls(_text_of(leaf))[:_MAX_LENGTH])
    text = ": ".join(part for part in parts if part)
    kept = _write_traceback(error, home)
    return f"{text}\nthe traceback is in {kept}" if kept is not None else f"{text}\n(the traceback could not be written)"


def hide_external_tracebacks(home: Path) -> None:
    """Let Prefect's console name the file with the traceback instead of printing it, for errors from outside.

    Prefect's page still gets the traceback. Call this after Prefect has set up its loggers.
    """
    # The console handler is on the root logger; Prefect's own threads use another.
    for name in (None, "prefect", "prefect._internal"):
        for handler in logging.getLogger(name).handlers:
            of_prefect = isinstance(handler, logging.StreamHandler) and type(handler).__module__.startswith("prefect.")
            if of_prefect and not isinstance(handler.formatter, _Formatter):
                handler.setFormatter(_Formatter(handler.formatter, home))


class _Formatter(logging.Formatter):
    """A formatter that writes tracebacks of errors from outside to a file and delegates the rest to another formatter."""

    def __init__(self, inner: logging.Formatter | None, home: Path) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()
        self._home = home

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or not (_is_own(error) or _is_external(_unwrap(error))):
            return self._inner.format(record)
        kept = _write_traceback(error, self._home)
        # The handler for Prefect's page gets the same record, so it must not be changed.
        shown = copy.copy(record)
        shown.exc_info, shown.exc_text, shown.args = None, None, None
        shown.msg = record.getMessage() + (f"\nthe traceback is in {kept}" if kept is not None else "")
        return self._inner.format(shown)


def _is_own(error: BaseException) -> bool:
    """Whether it is an error class of the project. These have messages for the user."""
    return _package(type(error)) in LOGGERS


def _is_external(error: BaseException) -> bool:
    if isinstance(error, OSError) or _package(type(error)) in _SYSTEMS:
        return True
    # Prefect and MLflow also raise plain RuntimeErrors. Those of the project and of other libraries are bugs.
    return type(error) is RuntimeError and _raising_package(error) in _SYSTEMS


def _server_of(error: BaseException) -> str | None:
    """The server of a failed request, if `error` comes from an HTTP library."""
    try:
        parts = urlsplit(str(error.request.url))  # type: ignore[attr-defined]
        return f"{parts.scheme}://{parts.hostname}:{parts.port}" if parts.port else f"{parts.scheme}://{parts.hostname}"
    except (AttributeError, RuntimeError, ValueError):
        return None


def _text_of(error: BaseException) -> str:
    """The error's message on one line."""
    if isinstance(error, ValidationError):
        # Its own text quotes the values, which may be secret.
        return "; ".join(": ".join([*map(str, each["loc"]), each["msg"]]) for each in error.errors())
    # The first line only: SQLAlchemy adds the statement and a link, Prefect the request.
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _unwrap(error: BaseException) -> BaseException:
    """The only error of an exception group, as asyncio's task groups raise it; any other error itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _package(kind: type) -> str:
    return kind.__module__.split(".")[0]


def _raising_package(error: BaseException) -> str | None:
    """The package whose code raised `error`."""
    frames: Iterator[str] = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    last = None
    for last in frames:  # noqa: B007 (the last one is wanted)
        pass
    return None if last is None else last.split(".")[0]


def _write_traceback(error: BaseException, home: Path) -> Path | None:
    """Append the traceback to the log file of this process, once. Returns the file; None if it cannot be written."""
    text = mask_urls("".join(traceback.format_exception(error)))
    path = home / "logs" / f"faults-{_started:%Y%m%d-%H%M%S}-{os.getpid()}.log"
    # The traceback of an error grows as it passes through Prefect, so errors are identified by type and text.
    same = hash((path, type(error), str(error)))
    if same in _written:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", opener=_open_private) as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{text}\n")
    except OSError:
        return None
    _written.add(same)
    return path


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
