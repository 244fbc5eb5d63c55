"""The migrated database is the schema, however often and from however many processes it is opened."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, create_engine, text

from configs import PROJECT
from episodes import (
    EpisodeRow,
    EpisodeStore,
    RevisionError,
    StoreError,
    address,
    migrations,
    pending,
    schema,
    upgrade_database,
)
from episodes.address import DRIVER
from episodes.attempts import attempts
from episodes.embedded import start_embedded
from episodes.leases import EARLIER_LOCK
from tasks.experiment import checked_name
from tests.episodes.conftest import Server

RELEASED = sorted((Path(__file__).parent / "data").glob("revision_*.sql"))
"""A small database of each revision that was released."""


@pytest.fixture
def database(server: Server) -> Iterator[URL]:
    """An empty database of the test's own."""
    name = server.new_database()
    yield server.by_tcp.set(drivername=DRIVER, database=name)
    server.drop_database(name)


def described(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All that Postgres' catalogues say of our tables: columns with types and comments, constraints, indices."""
    queries = {
        "columns": "SELECT c.relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, "
        "pg_get_expr(adbin, adrelid), col_description(c.oid, attnum) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
        "LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum WHERE attnum > 0 AND NOT attisdropped AND relkind = 'r'",
        "constraints": "SELECT c.relname, conname, pg_get_constraintdef(o.oid) FROM pg_constraint o "
        "JOIN pg_class c ON c.oid = conrelid WHERE true",
        "indices": "SELECT tablename, indexname, indexdef FROM pg_indexes JOIN pg_class c ON c.relname = tablename WHERE true",
    }
    ours = "AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version' ORDER BY 1, 2"
    return {name: [tuple(row) for row in connection.execute(text(f"{query} {ours}"))] for name, query in queries.items()}


def wanted(server: Server) -> dict[str, list[tuple[Any, ...]]]:
    """The same of a database that is made from the schema, without any migration."""
    name = server.new_database()
    engine = create_engine(server.by_tcp.set(drivername=DRIVER, database=name))
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        found = described(connection)
    engine.dispose()
    server.drop_database(name)
    return found


def without_positions(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    return {name: sorted(rows, key=str) for name, rows in found.items()}


def test_the_migrated_database_is_the_schema(store: EpisodeStore, server: Server) -> None:
    with store.transaction("comparing") as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
        # Alembic compares no CHECK constraints, no identity, no names of keys.
        found = described(connection)
    assert without_positions(found) == without_positions(wanted(server))
    assert len(found["columns"]) == sum(len(table.columns) for table in schema.metadata.tables.values())


def test_a_database_of_every_released_revision_is_kept() -> None:
    revisions = {path.stem.removeprefix("revision_") for path in RELEASED}
    newest = int(migrations.head())
    assert revisions >= {f"{number:04d}" for number in range(1, newest)}, (
        "before a migration is added, keep a dump of the revision it comes after (pg_dump --column-inserts)"
    )


@pytest.mark.parametrize("dump", RELEASED, ids=lambda path: str(path.stem))
def test_a_database_of_a_released_revision_is_upgraded_without_losing_anything(
    dump: Path, database: URL, server: Server, tmp_path: Path
) -> None:
    load(dump, database)
    engine = create_engine(database)
    with engine.connect() as connection:
        before = contents(connection)
    migrations.upgrade(engine)
    with engine.connect() as connection:
        assert migrations.current(connection) == migrations.head()
        assert without_positions(described(connection)) == without_positions(wanted(server))
        after = contents(connection)
    engine.dispose()
    for table, rows in before.items():
        assert after[table].keys() == rows.keys()
        for number, row in rows.items():
            changed = {name for name, value in row.items() if after[table][number][name] != value}
            assert changed <= {"experiments": {"name"}, "episodes": {"protocol"}}.get(table, set()), (table, number)
    with EpisodeStore.open(database.render_as_string(hide_password=False), tmp_path) as store:
        assert len(store.episodes(1)) > 1
        assert store.episode(1).actions == bytes([1, 2, 3])


def load(dump: Path, database: URL) -> None:
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.exec_driver_sql(dump.read_text(encoding="utf-8").replace("%", "%%"))
    engine.dispose()


def contents(connection: Connection) -> dict[str, dict[int, dict[str, Any]]]:
    """Table → id → row."""
    found = {}
    for table in ("experiments", "episodes", "episode_actions"):
        rows = connection.execute(text(f"SELECT * FROM {table}")).mappings().all()  # noqa: S608
        found[table] = {int(row.get("id", row.get("episode_id"))): dict(row) for row in rows}
    return found


def test_revision_2_parts_names_and_protocols(database: URL, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (dump,) = (path for path in RELEASED if path.stem == "revision_0001")
    load(dump, database)
    engine = create_engine(database)
    migrations.upgrade(engine)
    engine.dispose()
    with EpisodeStore.open(database.render_as_string(hide_password=False), tmp_path) as store:
        long = "x" * 100
        names = ["ppo-sticky-tidy-otter", "twice-older-2", "twice", f"{long[:92]}-older-4", long]
        assert list(store.experiments()["name"]) == names
        assert all(checked_name(name) for name in names)
        assert [store.find_experiment(name) for name in names] == [1, 2, 3, 4, 5]
        protocols = store.episodes(1)[["phase", "protocol"]].value_counts().to_dict()
    assert protocols == {
        ("integration", "training"): 1,
        ("train", "training"): 2,
        ("train", "sticky_decisions"): 2,
        ("evaluate", "greedy"): 1,
        ("evaluate", "sticky_decisions"): 2,
        ("evaluate", "random"): 1,
    }
    assert "two experiments were called 'twice': the older one (row 2) is called 'twice-older-2' now" in caplog.text


def test_rows_that_waited_on_disk_since_an_older_version_are_renamed_too(row: Callable[..., EpisodeRow]) -> None:
    entry = json.loads(pending.encode(pending.convert(row(1, phase="evaluate", protocol="sticky"), None, None)))
    assert pending.decode(json.dumps(entry).encode()).values["protocol"] == "sticky"
    del entry["form"]
    assert pending.decode(json.dumps(entry).encode()).values["protocol"] == "sticky_decisions"


def test_no_migration_reads_the_schema() -> None:
    for path in (PROJECT / "episodes" / "migrations" / "versions").glob("*.py"):
        code = path.read_text(encoding="utf-8")
        assert re.findall(r"^\s*(?:from|import) (?:episodes|configs)\b", code, re.M) == [], path.name


def test_opening_again_changes_nothing(store: EpisodeStore, tmp_path: Path) -> None:
    with EpisodeStore.open(store.url, tmp_path), store.transaction("reading the revision") as connection:
        assert migrations.current(connection) == migrations.head()


def test_two_processes_that_open_at_once_do_not_collide(lone_store: EpisodeStore, tmp_path: Path) -> None:
    with lone_store.transaction("emptying the database") as connection:
        connection.execute(text(f"DROP TABLE alembic_version, {', '.join(schema.metadata.tables)}"))
    code = "import sys; from pathlib import Path; from episodes import EpisodeStore; sys.stdin.read(1)\n"
    code += "EpisodeStore.open(sys.argv[1], Path(sys.argv[2])).close()"
    command = [sys.executable, "-c", code, lone_store.url, str(tmp_path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert lone_store.experiments().empty


def test_an_older_code_refuses_a_newer_database_naming_both_revisions(lone_store: EpisodeStore, tmp_path: Path) -> None:
    with lone_store.transaction("pretending") as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (EpisodeStore.open, upgrade_database):
        with pytest.raises(RevisionError, match=rf"at revision 9999.*its newest is {migrations.head()}.*Update train-mario"):
            attempt(lone_store.url, tmp_path)


@pytest.fixture
def older(database: URL) -> str:
    """The URL of a shared database of the first revision."""
    (dump,) = (path for path in RELEASED if path.stem == "revision_0001")
    load(dump, database)
    return database.render_as_string(hide_password=False)


def test_a_shared_database_is_upgraded_only_when_a_person_says_so(older: str, tmp_path: Path) -> None:
    with pytest.raises(RevisionError) as caught:
        EpisodeStore.open(older, tmp_path)
    said = str(caught.value)
    assert f"at revision 0001, and this version of train-mario needs {migrations.head()}" in said
    assert "0002: Make names of experiments unique" in said
    assert "`mario database upgrade` does that" in said
    engine = create_engine(address.parse(older))
    with engine.connect() as connection:
        assert migrations.current(connection) == "0001"
        assert migrations.missing(connection)[0].revision == "0002"
    engine.dispose()
    url, steps = upgrade_database(older, tmp_path)
    assert ":***@" in url
    assert [step.revision for step in steps] == [f"{number:04d}" for number in range(2, int(migrations.head()) + 1)]
    assert upgrade_database(older, tmp_path) == (url, [])
    EpisodeStore.open(older, tmp_path).close()


def test_a_database_whose_experiments_are_being_run_is_upgraded_by_force_only(older: str, tmp_path: Path) -> None:
    with EpisodeStore.connected(older, tmp_path) as store, store.engine.connect() as holder:
        # As an older version holds it: it cannot be opened by this one.
        holder.execute(text("SELECT pg_advisory_lock(:kind, 2)"), {"kind": EARLIER_LOCK})
        with pytest.raises(StoreError, match=r"is in use: twice\..*add --force"):
            upgrade_database(older, tmp_path)
        _, steps = upgrade_database(older, tmp_path, force=True)
        assert steps


def test_the_embedded_database_goes_on_by_itself(short_home: Path) -> None:
    (dump,) = (path for path in RELEASED if path.stem == "revision_0001")
    load(dump, start_embedded(short_home))
    with EpisodeStore.open(None, short_home) as store:
        assert store.find_experiment("twice-older-2") == 2


def test_revision_3_gives_each_earlier_experiment_its_first_attempt(database: URL, tmp_path: Path) -> None:
    (dump,) = (path for path in RELEASED if path.stem == "revision_0002")
    load(dump, database)
    engine = create_engine(database)
    with engine.begin() as connection:
        train = """UPDATE experiments SET config = config || '{"train": {"total_steps": 3000000000}}' WHERE id = 1"""
        connection.execute(text(train.replace(": ", r"\: ")))
    engine.dispose()
    url = database.render_as_string(hide_password=False)
    upgrade_database(url, tmp_path)
    with EpisodeStore.open(url, tmp_path) as store:
        record = store.experiment(1).record
        (first,) = attempts(store, 1)
        assert (first.attempt, first.started, first.git_commit) == (1, record.started, record.git_commit)
        assert (first.packages, first.mlflow_run_id, first.code) == (record.packages, record.mlflow_run_id, {})
        assert first.total_steps == 3_000_000_000
        assert attempts(store, 2)[0].total_steps == 2_000_000
        assert record.attempt == 1, "the next attempt is the second"
