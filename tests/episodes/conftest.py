"""A Postgres for the store's tests: an embedded server that is reached by its socket and, with a password, by TCP."""

import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from episodes import EpisodeRow, EpisodeStore, ExperimentRecord, remove_embedded, stop_embedded
from episodes.embedded import start_embedded

# Every character that has a meaning in a URL, a shell or SQL.
PASSWORD = "p@ss:w/o%r?d#'\"$x"
ROLE = "mario_tester"
_numbers = itertools.count()
# Of an attempt.
ORIGIN: dict[str, Any] = {
    "started": datetime(2026, 1, 2, tzinfo=UTC),
    "total_steps": 10,
    "code": {"agents": "1"},
    "python_version": "3.13.1",
    "device": "cpu",
    "host": "here",
}


@dataclass(frozen=True)
class Server:
    """A running Postgres.

    Attributes:
        home: the folder it was started in.
        by_socket: URL without a password.
        by_tcp: URL of the same server on loopback, with user and password.
    """

    home: Path
    by_socket: URL
    by_tcp: URL

    def execute(self, statement: str, **parameters: Any) -> None:
        """Run a statement as superuser, outside a transaction."""
        engine = create_engine(self.by_socket.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement), parameters)
        engine.dispose()

    def new_database(self) -> str:
        """Make an empty database and return its name."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self.execute(f'CREATE DATABASE "{name}" OWNER {ROLE}')
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def cut_off(self, name: str) -> None:
        """End all connections to a database and let nobody in: to its clients the server is away."""
        self.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=name)

    def let_in(self, name: str) -> None:
        self.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A home whose path is short and open enough for a socket and for other users; any server in it is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mario-test-", dir="/tmp"))
    yield folder / ".mario"
    remove_embedded(folder / ".mario")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the session; it listens on loopback too, where it asks for a password."""
    home = tmp_path_factory.mktemp("server") / ".mario"
    try:
        engine = create_engine(start_embedded(home), isolation_level="AUTOCOMMIT")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with engine.connect() as connection:
            quoted = PASSWORD.replace("'", "''").replace("%", "%%")
            connection.exec_driver_sql(f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{quoted}'")
            connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")  # a test's data need not survive a power cut
            connection.exec_driver_sql("ALTER SYSTEM SET listen_addresses = '127.0.0.1'")
            connection.exec_driver_sql(f"ALTER SYSTEM SET port = {port}")
        engine.dispose()
        stop_embedded(home)
        by_socket = start_embedded(home)
        by_tcp = URL.create("postgresql", ROLE, PASSWORD, "127.0.0.1", port, "postgres")
        yield Server(home, by_socket, by_tcp)
    finally:
        remove_embedded(home)


@pytest.fixture(scope="module", params=["socket", "tcp"])
def database_url(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    """URL of a database of the module's own, by socket and by TCP."""
    name = server.new_database()
    url = (server.by_socket if request.param == "socket" else server.by_tcp).set(database=name)
    yield url.render_as_string(hide_password=False)
    server.drop_database(name)


@pytest.fixture(scope="module")
def store(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EpisodeStore]:
    """A store that the module's tests share; each makes its own experiment."""
    with EpisodeStore.open(database_url, tmp_path_factory.mktemp("home")) as store:
        yield store


@pytest.fixture
def lone_store(server: Server, tmp_path: Path) -> Iterator[EpisodeStore]:
    """A store with a database of the test's own, by TCP, to be damaged."""
    name = server.new_database()
    url = server.by_tcp.set(database=name).render_as_string(hide_password=False)
    with EpisodeStore.open(url, tmp_path) as store:
        yield store
    server.drop_database(name)


def _record(**columns: Any) -> ExperimentRecord:
    values: dict[str, Any] = {
        "name": f"ppo-{next(_numbers)}",
        "config": {"environment": {"game": "level", "world": 1, "stage": 1}},
        "config_hash": "0" * 64,
        "seed": 1,
        "python_version": "3.13.1",
        "device": "cpu",
        "host": "here",
        "started": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return ExperimentRecord(**values | columns)


@pytest.fixture(scope="session")
def record() -> Callable[..., ExperimentRecord]:
    """Makes an experiment's record with a name of its own; keywords replace its values."""
    return _record


@pytest.fixture
def experiment(store: EpisodeStore) -> int:
    """A new experiment in the module's store."""
    return store.create_experiment(_record())


def _row(experiment_id: int, episode_index: int = 0, **columns: Any) -> EpisodeRow:
    values: dict[str, Any] = {
        "experiment_id": experiment_id,
        "phase": "train",
        "protocol": "training",
        "env_index": 0,
        "episode_index": episode_index,
        "timestamp": datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=10 * int(episode_index)),
        "reward": 12.5 + int(episode_index),
        "steps": 100,
        "frames": 400,
        "duration_seconds": 1.25,
        "global_step": 100 * (int(episode_index) + 1),
        "exploration_rate": 0.5,
        "distance_traveled": 300,
        "x_pos": 340,
        "y_pos": 79,
        "score": 200,
        "coins": 2,
        "time": 380,
        "life": 1,
        "status": "small",
        "world": 1,
        "stage": 1,
        "level_completed": False,
        "end_reason": "died",
    }
    return EpisodeRow(**values | columns)


@pytest.fixture(scope="session")
def row() -> Callable[..., EpisodeRow]:
    """Makes an episode's row: row(experiment_id, episode_index); keywords replace its values."""
    return _row


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """The file where a writer's rows wait."""
    return tmp_path / "rows.sqlite"


@pytest.fixture
def database_name(lone_store: EpisodeStore) -> str:
    """The name of the lone store's database."""
    return str(make_url(lone_store.url).database)
