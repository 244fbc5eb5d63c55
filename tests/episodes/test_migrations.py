"""The migrated database is the schema, however often and from however many processes it is opened."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text

from episodes import EpisodeStore, ExperimentRecord, StoreError, migrations, schema
from episodes.attempts import attempts, record_attempt


def test_the_migrated_database_is_the_schema(store: EpisodeStore) -> None:
    with store.transaction("comparing") as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_checks_are_there_too(store: EpisodeStore) -> None:
    # Alembic compares no CHECK constraints.
    with store.transaction("comparing") as connection:
        inspector = inspect(connection)
        for table in schema.metadata.tables.values():
            declared = {str(check.name) for check in table.constraints if isinstance(check, CheckConstraint)}
            assert {check["name"] for check in inspector.get_check_constraints(table.name)} == declared


def test_opening_again_changes_nothing(store: EpisodeStore, tmp_path: Path) -> None:
    with EpisodeStore.open(store.url, tmp_path), store.transaction("reading the revision") as connection:
        assert migrations.current(connection) == migrations.head()


def test_two_processes_that_open_at_once_do_not_collide(lone_store: EpisodeStore, tmp_path: Path) -> None:
    with lone_store.transaction("emptying the database") as connection:
        connection.execute(text("DROP TABLE attempts, episode_actions, episodes, experiments, alembic_version"))
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
    with pytest.raises(StoreError, match=rf"at revision 9999.*its newest is {migrations.head()}.*Update train-mario"):
        EpisodeStore.open(lone_store.url, tmp_path)


def test_a_column_of_a_later_revision_is_left_to_its_migration() -> None:
    @dataclass
    class Record:
        old: Annotated[int, schema.Fact(schema.INTEGER, "there from the beginning")]
        new: Annotated[float, schema.Fact(schema.DOUBLE, "added later", revision=2)]

    assert schema.build(1, {"table": Record}).tables["table"].columns.keys() == ["id", "old"]
    table = schema.build(2, {"table": Record}).tables["table"]
    assert table.columns.keys() == ["id", "old", "new"]
    assert {check.name for check in table.constraints if isinstance(check, CheckConstraint)} == {"ck_table_new_finite"}


def test_experiments_of_before_have_their_first_attempt(
    lone_store: EpisodeStore, record: Callable[..., ExperimentRecord], tmp_path: Path
) -> None:
    given = record(name="older", git_commit="abc", mlflow_run_id="r", packages={"torch": "2.13.0"})
    experiment = lone_store.create_experiment(given)
    with lone_store.transaction("going back") as connection:
        connection.execute(text("DROP TABLE attempts"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with EpisodeStore.open(lone_store.url, tmp_path) as store:
        (first,) = attempts(store, experiment)
        assert (first.attempt, first.started, first.git_commit, first.packages) == (
            1,
            given.started,
            "abc",
            {"torch": "2.13.0"},
        )
        assert (first.mlflow_run_id, first.code) == ("r", {})
        origin = {"started": given.started, "code": {"agents": "1"}, "python_version": "3", "device": "cpu", "host": "h"}
        second = record_attempt(store, experiment, origin)
        assert second.attempt == 2
        assert attempts(store, experiment) == [first, second]
