"""The commands of `docs/operations.md`: they are taken from the page and run. Those in containers are run without them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import Engine, create_engine, inspect, make_url

from configs import PROJECT, Settings
from episodes.embedded import start_embedded
from episodes.postgres_program import programs
from tasks.experiment import open_store
from tests.conftest import PASSWORD, Command, Pipeline, Postgres

pytestmark = pytest.mark.one_python

PAGE = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
IN_CONTAINER = "docker compose exec -T database "
DATABASES = ("mario", "mlflow", "prefect")


def commands(heading: str) -> list[str]:
    """The shell blocks of a section of the page."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def shell(commands: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"} | variables
    return subprocess.run(
        ["bash", "-euc", commands], cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def test_what_is_backed_up_on_one_machine_is_restored_on_another_server(
    pipeline: Pipeline, settings: Settings, postgres: Postgres, mario: Command, tmp_path: Path
) -> None:
    """The restoration goes to another home and to a Postgres with a password."""
    back_up, restore = commands("One machine")
    saved = shell(back_up, tmp_path)
    assert saved.returncode == 0, saved.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"episodes.dump", "files.tar.gz"}

    home = tmp_path / "home"
    place = {"MARIO_HOME": str(home), "DATABASE_URL": postgres.url}
    restored = shell(restore, tmp_path, **place)
    assert restored.returncode == 0, restored.stderr
    assert pipeline.name in restored.stdout

    with open_store(settings) as before, open_store(Settings(home, postgres.url, None)) as after:
        found, copied = (store.experiment(pipeline.name) for store in (before, after))
        assert copied.record == found.record
        assert after.episodes(copied.id).equals(before.episodes(found.id))
    assert (home / "experiments" / pipeline.name / "report" / "report.html").is_file()
    assert (home / "mlflow" / "mlflow.db").is_file()

    again = mario("database", "restore", str(tmp_path / "episodes.dump"), **place)
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    absent = mario(
        "database", "backup", str(tmp_path / "none.dump"), DATABASE_URL=f"postgresql://a:{PASSWORD[:4]}@127.0.0.1:1/a"
    )
    assert absent.returncode == 1
    assert "No server listens there" in absent.stderr
    assert PASSWORD not in saved.stdout + restored.stderr + again.stderr
    assert not list(tmp_path.glob("*.partial"))


@pytest.fixture
def team(postgres: Postgres) -> Iterator[dict[str, Engine]]:
    """The databases of `compose.yaml`, made by its own statements, with a row in each."""
    url = start_embedded(postgres.home)
    compose = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
    # The embedded server has the database `mario` already.
    statements = ["CREATE ROLE mario LOGIN SUPERUSER"]
    statements += compose["configs"]["databases"]["content"].split(";")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in filter(str.strip, statements):
            connection.exec_driver_sql(statement)
    engine.dispose()
    engines = {name: create_engine(make_url(url).set(username="mario", database=name)) for name in DATABASES}
    for name, each in engines.items():
        with each.begin() as connection:
            connection.exec_driver_sql(f"CREATE TABLE kept AS SELECT '{name}' AS word")
    yield engines
    for each in engines.values():
        each.dispose()


def test_the_databases_of_a_team_come_back_as_they_were(team: dict[str, Engine], tmp_path: Path) -> None:
    back_up, restore = commands("A team")
    dumps, restores = (
        [line.removeprefix(IN_CONTAINER) for line in block.splitlines() if line.startswith(IN_CONTAINER)]
        for block in (back_up, restore)
    )
    assert len(dumps) == len(restores) == len(DATABASES)
    socket = make_url(team["mario"].url).query
    reached = {"PGHOST": str(socket["host"]), "PGPORT": str(socket["port"])}
    reached["PATH"] = f"{programs(None, None)}:{os.environ['PATH']}"
    saved = shell("\n".join(dumps), tmp_path, **reached)
    assert saved.returncode == 0, saved.stderr

    for engine in team.values():
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE kept SET word = 'changed'")
    restored = shell("\n".join(restores), tmp_path, **reached)
    assert restored.returncode == 0, restored.stderr
    for name, engine in team.items():
        with engine.begin() as connection:
            assert inspect(connection).get_table_names() == ["kept"]
            assert connection.exec_driver_sql("SELECT word FROM kept").scalars().all() == [name]
