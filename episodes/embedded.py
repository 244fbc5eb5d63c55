"""The embedded Postgres: started when it is needed, shared by all processes, stopped by :func:`stop_embedded`.

`HOME/postgres` holds the data, the socket's folder and the server's log. For an ordinary user it is a folder; for root it is
a link to a folder in /var/lib/train-mario (see `episodes.postgres_program` for why). Only its user can reach the socket, so the
server asks for no password.

The server keeps running when the last process ends: a later start is quicker, and psql, notebooks and reports find it. It does
not depend on the process that started it, so killing that process does no harm. Starting, stopping and looking whether it runs
happen under a file lock on `HOME/postgres.lock`, which the operating system releases when the holder dies.
"""

import fcntl
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import psycopg2
from sqlalchemy import URL

from episodes.address import DRIVER
from episodes.errors import StoreError
from episodes.postgres_program import Account, account_of, programs, run, system_folder

DATABASE: Final = "mario"
ROLE: Final = "postgres"
_LOCK_SECONDS: Final = 120.0
_START_SECONDS: Final = 120
_PROBE_SECONDS: Final = 5.0
# A socket's path has at most 107 bytes on Linux and 103 on macOS; Postgres adds "/.s.PGSQL.5432" to the folder. Spaces, commas
# and quotes would need three levels of quoting.
_SOCKET_FOLDER: Final = re.compile(r"[A-Za-z0-9/._+-]{1,88}")


@dataclass(frozen=True)
class _Server:
    """A server according to `postmaster.pid`: its process and where it listens."""

    pid: int
    port: int
    socket_folder: str

    @classmethod
    def recorded(cls, data: Path) -> "_Server | None":
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
            return cls(int(lines[0]), int(lines[3]), lines[4].strip())
        except (FileNotFoundError, IndexError, ValueError):  # missing, or still being written
            return None

    def process(self, data: Path) -> psutil.Process | None:
        """The server's process; None if no process has the number, or another one has since a reboot."""
        try:
            process = psutil.Process(self.pid)
            if process.name().startswith("postgres") and Path(process.cwd()).samefile(data):
                return process
        except (psutil.Error, OSError):
            pass
        return None

    @property
    def socket(self) -> Path:
        """The file of its socket."""
        return Path(self.socket_folder) / f".s.PGSQL.{self.port}"

    def listens(self) -> bool:
        """Whether a process listens at the socket, even if it is in recovery, has too many clients, or does not answer.

        Only a refused connection or a missing socket means that none does. If a running server were taken for dead, a second
        one would be started on the same data.
        """
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_SECONDS)
            try:
                probe.connect(str(self.socket))
            except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
                return False
            except OSError:  # a full queue, a timeout, no permission: a server may be there
                return True
        return True

    def url(self) -> URL:
        query = {"host": self.socket_folder, "port": str(self.port)}
        return URL.create(DRIVER, username=ROLE, database=DATABASE, query=query)


def start_embedded(home: Path) -> URL:
    """Make sure that the server runs and has its database.

    Returns:
        The database's URL, without a password.

    Raises:
        StoreError: it cannot be started; the message holds the end of the server's log.
    """
    home = home.absolute()
    try:
        return _ensure_running(home)
    except OSError as error:
        raise StoreError(f"the embedded Postgres of {home} cannot be started: {error}") from None


def _ensure_running(home: Path) -> URL:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(home):
        folder = _folder(home)
        data = folder / "data"
        account = account_of(data)
        if not (data / "PG_VERSION").exists():
            _initialise(folder, account)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            server = _running(data) or _start(folder, account)
            try:
                _create_database(server)
            except psycopg2.OperationalError as error:  # it is recovering, or has just been killed
                if time.monotonic() > deadline:
                    words = " ".join(str(error).split())
                    raise StoreError(f"the embedded Postgres does not answer ({words}): see {folder / 'server.log'}") from None
                time.sleep(0.05)
            else:
                return server.url()


def stop_embedded(home: Path) -> bool:
    """Stop the server. Returns whether one ran.

    Raises:
        StoreError: it belongs to another user, or does not stop.
    """
    home = home.absolute()
    if not (home / "postgres").exists():
        return False
    with _locked(home):
        return _stop((home / "postgres").resolve(), ("fast", "immediate"))


def remove_embedded(home: Path) -> bool:
    """Stop the server and delete its data with all episodes. Returns whether there was something to delete."""
    home = home.absolute()
    link = home / "postgres"
    if not link.exists():
        link.unlink(missing_ok=True)
        return False
    with _locked(home):
        folder = link.resolve()
        _stop(folder, ("immediate",))
        shutil.rmtree(folder)
        if link.is_symlink():
            link.unlink()
        return True


def psql_command(home: Path) -> str:
    """The shell command that opens psql on the embedded database; psql comes with the package.

    Raises:
        StoreError: the server does not run.
    """
    data = home.absolute() / "postgres" / "data"
    server = _Server.recorded(data)
    if server is None:
        raise StoreError(f"the embedded Postgres of {home} does not run: the next run starts it")
    psql = programs(_version(data), None) / "psql"
    return shlex.join([str(psql), "-h", server.socket_folder, "-p", str(server.port), "-U", ROLE, "-d", DATABASE])


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    path = home / "postgres.lock"
    deadline = time.monotonic() + _LOCK_SECONDS
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"another process has been starting or stopping the embedded Postgres for {_LOCK_SECONDS:.0f} s"
                    raise StoreError(f"{message} (lock {path}): wait until it ends, or stop it") from None
                time.sleep(0.05)
        yield  # closing the file releases the lock


def _folder(home: Path) -> Path:
    """The server's folder; created if it is missing."""
    link = home / "postgres"
    if link.is_symlink() and not link.exists():
        raise StoreError(
            f"{link} points to {os.readlink(link)}, which is gone, and the episodes with it. Restore it from a backup, or "
            "remove the link to start with an empty database."
        )
    if link.exists():
        return link.resolve()
    account = account_of(link / "data")
    if account is None:
        link.mkdir(mode=0o700)
        return link.resolve()
    _stop_orphans(system_folder())
    name = re.sub(r"[^A-Za-z0-9_-]+", "", home.parent.name)[:32] or "home"
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=system_folder()))
    (folder / "belongs-to").write_text(f"{home}\n")
    for path in (folder, folder / "belongs-to"):
        os.chown(path, account.uid, account.gid)
    link.symlink_to(folder)
    return folder


def _stop_orphans(folder: Path) -> None:
    """Stop servers whose home was deleted without `stop_embedded`. Their data stay: the home may only be unmounted."""
    for owner in folder.glob("*/belongs-to"):
        link = Path(owner.read_text().strip()) / "postgres"
        if not link.is_symlink() or link.readlink() != owner.parent:
            with suppress(StoreError):
                _stop(owner.parent, ("fast", "immediate"))


def _version(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _initialise(folder: Path, account: Account | None) -> None:
    """Create the data folder, under another name until it is complete: a killed initdb leaves nothing that looks like data."""
    unfinished = folder / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    arguments = ["-D", unfinished.name, "-U", ROLE, "--auth-local=trust", "--auth-host=scram-sha-256"]
    arguments += ["--encoding=UTF8", "--no-locale", "--no-instructions"]
    settings = ["listen_addresses = ''  # the socket only"]
    if sys.platform == "linux":
        # One sync of the file system instead of one for each of a thousand files: as safe, and seconds faster on a busy disk.
        arguments.append("--sync-method=syncfs")
        settings.append("recovery_init_sync_method = syncfs")
    done = _run(programs(None, account) / "initdb", arguments, account, folder)
    if done.returncode != 0:
        raise StoreError(f"the embedded Postgres could not create its data in {folder}: {_tail(done.stdout)}")
    with (unfinished / "postgresql.conf").open("a") as file:
        file.write("\n# Set by train-mario.\n" + "".join(f"{setting}\n" for setting in settings))
    unfinished.rename(folder / "data")


def _run(program: Path, arguments: list[str], account: Account | None, folder: Path) -> subprocess.CompletedProcess[str]:
    failure = f"{program.name} of the embedded Postgres in {folder}"
    try:
        return run(program, arguments, account=account, folder=folder, seconds=_START_SECONDS + 30)
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"{failure} has not ended after {error.timeout:.0f} s: see {folder / 'server.log'}") from None
    except OSError as error:
        raise StoreError(f"{failure} cannot be run: {error}") from None


def _running(data: Path) -> _Server | None:
    """The running or starting server. If there is none, removes the files that say there is one, and returns None."""
    server = _Server.recorded(data)
    if server is None:
        return None
    # The socket decides where the process cannot: two containers that share the folder do not see each other's processes, and
    # a user may not inspect those of another.
    if server.process(data) is not None or server.listens():
        return server
    # Postgres removes these itself, except if another process has the number since.
    (data / "postmaster.pid").unlink(missing_ok=True)
    for path in (server.socket, server.socket.with_name(f"{server.socket.name}.lock")):
        path.unlink(missing_ok=True)
    return None


def _connect(server: _Server, database: str) -> psycopg2.extensions.connection:
    return psycopg2.connect(host=server.socket_folder, port=server.port, user=ROLE, dbname=database, connect_timeout=10)


def _start(folder: Path, account: Account | None) -> _Server:
    data = folder / "data"
    socket_folder = _socket_folder(folder, account)
    options = f"-c unix_socket_directories={socket_folder} -c unix_socket_permissions=0700"
    arguments = ["start", "-w", "-t", str(_START_SECONDS), "-D", "data", "-l", "server.log", "-o", options]
    pg_ctl = programs(_version(data), account) / "pg_ctl"
    deadline = time.monotonic() + 15
    while True:
        done = _run(pg_ctl, arguments, account, folder)
        if done.returncode == 0:
            break
        log = _tail(_log(folder)) or _tail(done.stdout)
        # After the server was killed, its children take a moment to end.
        if "shared memory block" not in log or time.monotonic() > deadline:
            raise StoreError(f"the embedded Postgres does not start. The end of {folder / 'server.log'}: {log}")
        time.sleep(0.5)
    server = _Server.recorded(data)
    if server is None:
        raise StoreError(f"the embedded Postgres stopped right after its start: see {folder / 'server.log'}")
    return server


def _socket_folder(folder: Path, account: Account | None) -> Path:
    """A folder that only the account can enter, with a path short enough for a socket."""
    inside = folder / "socket"
    if _SOCKET_FOLDER.fullmatch(str(inside)):
        inside.mkdir(mode=0o700, exist_ok=True)
        path = inside
    else:
        path = Path(tempfile.mkdtemp(prefix="train-mario-", dir="/tmp"))
    if account is not None:
        os.chown(path, account.uid, account.gid)
    return path


def _create_database(server: _Server) -> None:
    """Create the database if it is missing."""
    with closing(_connect(server, "postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{DATABASE}"')


def _stop(folder: Path, modes: tuple[str, ...]) -> bool:
    """Stop the server with the first of pg_ctl's modes that works. Returns whether one ran."""
    data = folder / "data"
    if not data.exists():
        return False
    account = account_of(data)
    server = _running(data)
    if server is None:
        return False
    pg_ctl = programs(_version(data), account) / "pg_ctl"
    for mode in modes:
        if _run(pg_ctl, ["stop", "-w", "-t", "30", "-m", mode, "-D", "data"], account, folder).returncode == 0:
            break
    else:
        raise StoreError(f"the embedded Postgres (process {server.pid}) does not stop: see {folder / 'server.log'}")
    if Path(server.socket_folder).parent != folder:
        with suppress(OSError):  # a folder in /tmp, see _socket_folder
            Path(server.socket_folder).rmdir()
    return True


def _log(folder: Path) -> str:
    try:
        return (folder / "server.log").read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _tail(text: str, lines: int = 5) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:])
