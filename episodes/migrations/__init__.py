"""Brings a database to the newest version of the tables, with Alembic, without its command line or an ini file.

A migration is a module in `versions/`, named after its number. It says in full what it changes and reads nothing of
`episodes.schema`, which goes on while databases of each revision exist. `tests/episodes/data` has a small database of each
released revision; the tests bring them to the newest one and compare it with the schema.
"""

from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from episodes.errors import StoreError

# Two processes that open the store at once migrate one after the other. Any constant does; this one spells "mario".
_LOCK: Final = 0x6D6172696F


def head() -> str:
    """The newest revision this code knows."""
    revision = _scripts().get_current_head()
    if revision is None:
        raise StoreError("the package episodes.migrations holds no migration: the installation is incomplete")
    return revision


def current(connection: Connection) -> str | None:
    """The database's revision; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine) -> None:
    """Apply what is missing, under a lock, in one transaction.

    Raises:
        StoreError: the database's revision is one that this code does not know.
    """
    with engine.connect() as connection:
        if _is_newest(connection):
            return
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if not _is_newest(connection):  # another process may have done it while this one waited
            _migrate(connection)


def _is_newest(connection: Connection) -> bool:
    found, newest = current(connection), head()
    if found is None or found == newest:
        return found == newest
    if found not in {script.revision for script in _scripts().walk_revisions()}:
        raise StoreError(
            f"the database is at revision {found}, which this version of train-mario does not know (its newest is {newest}): "
            "a newer version wrote to it. Update train-mario, or use another database."
        )
    return False


def _migrate(connection: Connection) -> None:
    scripts = _scripts()

    def steps(revision: Any, _context: MigrationContext) -> list[RevisionStep]:
        return scripts._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))
