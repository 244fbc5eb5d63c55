"""A password that is everywhere a run needs one is nowhere in what the run writes, prints or raises."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, inspect, text

from tests.conftest import TINY, Command
from tests.episodes.conftest import PASSWORD, Server, server, short_home

__all__ = ["server", "short_home"]  # fixtures

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

# What each way to write the password has in common: as it is (also in HTML, JSON and Python's repr), percent-encoded once and
# twice, and as an .ini file doubles percent signs.
CORE = "w/o%r?d"
WRONG = "wr0ng" + CORE
FORMS = [CORE, quote(CORE, safe=""), quote(CORE), quote(quote(CORE, safe=""), safe="")]
FORMS += [form.replace("%", "%%") for form in FORMS]
FORMS += [CORE.replace("/", "\\/")]


def leaks_in(content: bytes) -> list[str]:
    return [form for form in FORMS if form.encode() in content or form.encode("utf-16-le") in content]


def files_with_leaks(folder: Path) -> Iterator[str]:
    """Every file below `folder`, and what is in archives, that holds the password."""
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        if leaks_in(path.read_bytes()):
            yield str(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from (f"{path}: {name}" for name in archive.namelist() if leaks_in(archive.read(name)))


def rows_with_leaks(server: Server, database: str) -> Iterator[str]:
    """Every table of a database that holds the password in a row."""
    engine = create_engine(server.by_socket.set(database=database))
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            rows = connection.execute(text(f'SELECT each::text FROM "{table}" AS each')).scalars()  # noqa: S608
            if any(leaks_in(row.encode()) for row in rows):
                yield f"{database}.{table}"
    engine.dispose()


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    assert CORE in PASSWORD
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", f"postgresql://me:{quote(PASSWORD, safe='')}@host")
    (tmp_path / "plain").write_text(repr({"password": PASSWORD}))
    (tmp_path / "clean").write_text("postgresql://me:***@host")
    assert sorted(files_with_leaks(tmp_path)) == [f"{tmp_path}/a.zip: inside", f"{tmp_path}/plain"]


def test_no_credential_is_left_anywhere(server: Server, short_home: Path, tmp_path: Path, mario: Command) -> None:
    episodes, tracking = server.new_database(), server.new_database()

    def url(database: str, **parts: object) -> str:
        return server.by_tcp.set(database=database, **parts).render_as_string(hide_password=False)  # type: ignore[arg-type]

    temporary = tmp_path / "tmp"
    temporary.mkdir()
    variables = {
        "MARIO_HOME": str(short_home),
        "PREFECT_HOME": str(short_home / "prefect"),
        "TMPDIR": str(temporary),
        "DATABASE_URL": url(episodes),
        "MLFLOW_TRACKING_URI": url(tracking),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(tmp_path / "artifacts"),
    }
    whole = mario("run", TINY, "--experiment", "known", **variables)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    faults = {
        "a wrong password": {"DATABASE_URL": url(episodes, password=WRONG)},
        "Postgres away": {"DATABASE_URL": url(episodes, port=1)},
        "MLflow's wrong password": {"MLFLOW_TRACKING_URI": url(tracking, password=WRONG)},
        "MLflow away": {"MLFLOW_TRACKING_URI": f"http://me:{quote(PASSWORD, safe='')}@127.0.0.1:1"},
        "no URL": {"DATABASE_URL": f"me:{PASSWORD}@host/mario"},
    }
    said = {"the whole run": whole.stdout + whole.stderr}
    for name, instead in faults.items():
        done = mario("run", TINY, "--set", "retry.attempts=0", "--experiment", "known", **variables | instead)
        assert done.returncode != 0, name
        said[name] = done.stdout + done.stderr

    assert {name for name, output in said.items() if leaks_in(output.encode())} == set()
    assert (short_home / "prefect").is_dir()
    assert list(files_with_leaks(short_home)) == []
    assert list(files_with_leaks(temporary)) == []
    assert list(rows_with_leaks(server, episodes)) == []
    assert list(rows_with_leaks(server, tracking)) == []
