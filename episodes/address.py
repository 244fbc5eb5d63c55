"""The address of the database: reading DATABASE_URL, connecting, and error messages without the password."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from configs.masking import mask_secrets_of, mask_url
from episodes.errors import StoreError, StoreUnavailableError

DRIVER: Final = "postgresql+psycopg2"
_EXAMPLE: Final = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
CONNECT_TIMEOUT_SECONDS: Final = 10
# Postgres ends a transaction whose process does nothing for so long: a stopped one (SIGSTOP) would hold its locks for ever.
IDLE_SECONDS: Final = 30

# Words of errors that do not pass: the server was reached and refuses.
_PERMANENT: Final = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied",
)

# Words of libpq and the server → what to do. The first match counts; case does not.
_ADVICE: Final = (
    ("password authentication failed", "the user's name or password is wrong: correct DATABASE_URL"),
    ("no password supplied", "the server asks for a password: put one into DATABASE_URL"),
    ("no pg_hba.conf entry", "the server does not admit this user from this machine: ask its administrator"),
    ("could not translate host name", "the host is unknown: correct DATABASE_URL"),
    ("connection refused", "no server listens there: start it, or correct host and port in DATABASE_URL"),
    ("timeout expired", "the server does not answer: check host, port and firewall"),
    ("no such file or directory", "no server listens at that socket: start it, or correct DATABASE_URL"),
    ("starting up", "the server is starting: try again in a moment"),
    ("too many", "the server has no connection left: close other clients"),
    ("permission denied", "grant the user the right to create and use tables there"),
    ("read-only", "the database is read-only: use the primary server"),
    ("uq_experiments_name", "there is an experiment of that name: choose another one"),
    ("no space left", "the server's disk is full: free some space"),
)


def parse(text: str) -> URL:
    """Read a user's database URL; `postgres://` and every Postgres driver become psycopg2.

    Raises:
        StoreError: it is not a Postgres URL. The message never quotes it, because it may hold a password in the wrong place.
    """
    url = _read(text.strip())
    if url is None:
        raise StoreError(
            f"DATABASE_URL cannot be read as a database URL. Write {_EXAMPLE}; in user, password and options write the "
            "characters @ : / ? # % as %40 %3A %2F %3F %23 %25."
        )
    if url.get_backend_name() not in ("postgres", "postgresql"):
        raise StoreError(f"DATABASE_URL is for {url.get_backend_name()!r}; the episode store needs Postgres: {_EXAMPLE}")
    url = url.set(drivername=DRIVER)
    # libpq also accepts user and password as options after the question mark, where masking would miss the password.
    for option in ("password", "user"):
        value = url.query.get(option)
        if isinstance(value, str):
            url = url.difference_update_query([option])
            url = url.set(password=value) if option == "password" else url.set(username=value)
    return url


def _read(text: str) -> URL | None:
    # SQLAlchemy ends the password at the first @ and would read the rest of it as the host.
    if text.count("@") > 1:
        return None
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        return None


def masked(url: URL) -> str:
    """The URL with *** for every secret in it."""
    return mask_url(url.render_as_string(hide_password=False))


def make_engine(url: URL, *, pool_size: int = 3) -> Engine:
    """An engine whose connections use UTC, notice a dead peer within about a minute, and are tested before use.

    Postgres ends a connection that is idle in a transaction for :data:`IDLE_SECONDS`.
    """
    # Without keepalives a connection to a machine that vanished blocks for hours. They are not sent while sent data is not
    # acknowledged; `tcp_user_timeout` (ms, Linux only) covers that case.
    arguments = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": "train-mario",
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 50_000,
    }
    given = {name: value for name, value in arguments.items() if name not in url.query}
    engine = create_engine(
        url, connect_args=given, pool_pre_ping=True, pool_size=pool_size, max_overflow=5, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: object, _record: object) -> None:
        with connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(f"SET TIME ZONE 'UTC'; SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
        connection.commit()  # type: ignore[attr-defined]

    return engine


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later: the server is away, restarting, full or read-only for now."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # 25006: a standby that is becoming the primary answers "read-only transaction" as an internal error.
    return (
        error.connection_invalidated
        or type(error).__name__ in ("OperationalError", "InterfaceError")
        or _state(error) == "25006"
    )


def _state(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "pgcode", None)
    return state


def describe(error: BaseException, url: URL) -> str:
    """The driver's message on one line, without the password, and what to do about it."""
    original = getattr(error, "orig", None) or error
    words = mask_secrets_of(str(original), url.render_as_string(hide_password=False))
    words = " ".join(words.split()) or type(original).__name__
    lowered = words.lower()
    advice = next((advice for sign, advice in _ADVICE if sign in lowered), None)
    if 'database "' in lowered and "does not exist" in lowered:
        advice = "create the database (createdb), or correct its name in DATABASE_URL"
    if not advice:
        return words
    return f"{words}{'' if words[-1] in '.?!' else '.'} {advice[0].upper()}{advice[1:]}."


def is_retryable(error: BaseException, words: str) -> bool:
    """Whether the same may succeed later.

    Args:
        error: what was raised.
        words: :func:`describe`'s message for it.
    """
    return is_transient(error) and not any(sign in words.lower() for sign in _PERMANENT)


@contextmanager
def translate_errors(url: URL, action: str) -> Iterator[None]:
    """Turn a database error inside the block into a StoreError that names the action and the masked URL.

    The StoreError has neither cause nor context: an error of SQLAlchemy or psycopg2 may carry the connection's arguments.

    Raises:
        StoreUnavailableError: the database failed, and the same may succeed later.
        StoreError: it failed in another way.
    """
    failure: str | None = None
    kind = StoreError
    try:
        yield
    except SQLAlchemyError as error:
        failure = describe(error, url)
        if is_retryable(error, failure):
            kind = StoreUnavailableError
    if failure is not None:
        raise kind(f"{action} failed at {masked(url)}: {failure}")
