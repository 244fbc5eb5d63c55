"""Brings a database to the newest version of the tables, with Alembic, without its command line or an ini file.

A migration is a module in `versions/`, named after its number. It says in full what it changes and reads nothing of
`episodes.schema`, which goes on while databases of each revision exist. `tests/episodes/data` has a small database of each
released revision; the tests bring them to the newest one and compare it with the schema.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from episodes.errors import RevisionError, StoreError

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


@dataclass(frozen=True)
class Step:
    """A migration: its revision, and what it does, one sentence."""

    revision: str
    summary: str

    def __str__(self) -> str:
        return f"{self.revision}: {self.summary}"


def missing(connection: Connection) -> list[Step]:
    """The migrations that the database lacks, oldest first.

    Raises:
        RevisionError: the database's revision is one that this code does not know.
    """
    found, newest = current(connection), head()
    if found == newest:
        return []
    scripts = {script.revision: script for script in _scripts().walk_revisions()}
    if found is not None and found not in scripts:
        raise RevisionError(
            f"the database is at revision {found}, which this version of train-mario does not know (its newest is {newest}): "
            "a newer version wrote to it. Update train-mario, or use another database."
        )
    steps = []
    for revision, script in scripts.items():  # newest first
        if revision == found:
            break
        steps.append(Step(revision, script.doc.partition("\n")[0]))
    return steps[::-1]


def upgrade(engine: Engine) -> list[Step]:
    """Apply what is missing, under a lock, in one transaction.

    Returns:
        What was applied.

    Raises:
        RevisionError: the database's revision is one that this code does not know.
    """
    with engine.connect() as connection:
        if not missing(connection):
            return []
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        steps = missing(connection)  # another process may have done it while this one waited
        if steps:
            _migrate(connection)
    return steps


def prepare_shared(engine: Engine) -> None:
    """Create the tables in an empty database; leave one that has them as it is.

    Others may use it with an older version, which would stop: a person decides when a shared database is upgraded.

    Raises:
        RevisionError: the database is older or newer than this code; the message says what to do.
    """
    with engine.connect() as connection:
        found, steps = current(connection), missing(connection)
    if found is None:
        upgrade(engine)
    elif steps:
        raise RevisionError(
            f"the database is at revision {found}, and this version of train-mario needs {head()}. Pending: "
            f"{' '.join(map(str, steps))} `mario database upgrade` does that. Older versions of train-mario refuse the "
            "database then: update them on the machines that use it too."
        )


def _migrate(connection: Connection) -> None:
    scripts = _scripts()

    def steps(revision: Any, _context: MigrationContext) -> list[RevisionStep]:
        return scripts._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))
