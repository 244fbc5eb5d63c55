"""Upgrades a database on request, which is the only way to upgrade one that several machines share."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select, text

from episodes import address, migrations
from episodes.errors import StoreError
from episodes.leases import EARLIER_LOCK, held_experiments
from episodes.schema import EXPERIMENTS
from episodes.store import EpisodeStore

# The experiments that processes of versions without leases run, on any machine: they hold advisory locks.
_LOCKED: Final = text(
    "SELECT name FROM pg_locks JOIN pg_database d ON d.oid = database AND datname = current_database() "
    "JOIN experiments e ON e.id = objid::bigint WHERE locktype = 'advisory' AND classid = :kind AND objsubid = 2"
)
_FIRST_WITH_LEASES: Final = "0005"


def upgrade_database(url: str | None, home: Path, *, force: bool = False) -> tuple[str, list[migrations.Step]]:
    """Bring the tables to the newest revision.

    Args:
        url: a Postgres URL; None starts the embedded server in `home`.
        home: the folder for what a run writes (`.mario`).
        force: upgrade although experiments are running; an older version that runs one then stops.

    Returns:
        The database's masked URL, and the migrations that were applied.

    Raises:
        RevisionError: a newer version wrote to the database.
        StoreError: experiments are running, or the database cannot be reached or refuses.
    """
    with EpisodeStore.connected(url, home) as store:
        with store.transaction("upgrading the database") as connection:
            steps = migrations.missing(connection)
            running = running_experiments(connection)
        if steps and running and not force:
            raise StoreError(
                f"{store.masked_url} is in use: {', '.join(running)}. An older version that runs one of these stops when it "
                "meets the upgraded database. Stop them first (Ctrl-C; they can go on later), or add --force"
            )
        with address.translate_errors(address.parse(store.url), "upgrading the database"):
            return store.masked_url, migrations.upgrade(store.engine)


def running_experiments(connection: Connection) -> list[str]:
    """The names of the experiments that processes of any machine run, in a database of any revision."""
    revision = migrations.current(connection)
    if revision is None:
        return []
    names = set(connection.execute(_LOCKED, {"kind": EARLIER_LOCK}).scalars())
    if revision >= _FIRST_WITH_LEASES:
        held = held_experiments(connection)
        names |= set(connection.execute(select(EXPERIMENTS.c.name).where(EXPERIMENTS.c.id.in_(held))).scalars())
    return sorted(names)
