"""`mario database`: a shared database is upgraded by command, and the smoke test lists the pending revisions."""

from typing import Any

import pytest
from sqlalchemy import create_engine, text

from configs import PROJECT
from episodes import address, migrations
from tests.conftest import PASSWORD, TINY, Postgres

pytestmark = pytest.mark.one_python

DUMP = PROJECT / "tests" / "episodes" / "data" / "revision_0001.sql"


@pytest.fixture
def shared(postgres: Postgres) -> str:
    """The URL of a database at the first revision."""
    engine = create_engine(address.parse(postgres.url))
    with engine.begin() as connection:
        connection.exec_driver_sql(DUMP.read_text(encoding="utf-8").replace("%", "%%"))
    engine.dispose()
    return postgres.url


def test_an_older_shared_database_is_reported_and_upgraded_by_command(shared: str, mario: Any) -> None:
    checked = mario("check", TINY, DATABASE_URL=shared)
    assert checked.returncode == 1
    assert "0002: Make names of experiments unique" in checked.stdout + checked.stderr

    listed = mario("episodes", DATABASE_URL=shared)
    assert listed.returncode == 1
    assert listed.stderr.startswith("error: ")
    assert "`mario database upgrade` does that" in listed.stderr

    opened = mario("database", DATABASE_URL=shared)
    assert (opened.returncode, opened.stdout) == (0, 'psql "$DATABASE_URL"\n')
    assert "is at revision 0001" in opened.stderr

    upgraded = mario("database", "upgrade", DATABASE_URL=shared)
    assert upgraded.returncode == 0, upgraded.stderr
    assert "applied 0002: Make names of experiments unique" in upgraded.stdout
    assert "nothing to do" in mario("database", "upgrade", DATABASE_URL=shared).stdout
    assert "twice-older-2" in mario("episodes", DATABASE_URL=shared).stdout
    for done in (checked, listed, opened, upgraded):
        assert PASSWORD not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr

    engine = create_engine(address.parse(shared))
    with engine.begin() as connection:
        assert migrations.current(connection) == migrations.head()
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    newer = mario("episodes", DATABASE_URL=shared)
    assert newer.returncode == 1
    assert "a newer version wrote to it. Update train-mario" in newer.stderr
