"""What tests share: a home of their own, one run of everything on the real game, a Postgres that can be stopped."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from configs import LOGGERS, PROJECT, Settings

if TYPE_CHECKING:
    from tasks.experiment import Experiment

# SQLAlchemy and the episode store are imported where they are needed: the other stack is tested without a database's packages.

# Before torch is imported. The networks of the tests are tiny, and on a busy machine threads that wait for each other at every
# layer cost ten times what they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MARIO = str(Path(sys.executable).with_name("mario"))
# Of the server that a test stops and starts.
PASSWORD = "kn0wn#pass:w@rd"
TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")

Command = Callable[..., "subprocess.CompletedProcess[str]"]

# Files that take minutes.
LONGEST = (
    "tests/flows/test_deployment.py",
    "tests/test_other_stack.py",
    "tests/agents/training/test_exact_resumption.py",
    "tests/agents/training/test_interruption.py",
    "tests/mario_env/nes/test_parity.py",
    "tests/test_wheel.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, then those with tests marked `one_python`: a long file that is begun last keeps one worker
    busy while the other has nothing left to do."""
    missing = [name for name in LONGEST if not (PROJECT / name).is_file()]
    assert not missing, f"LONGEST in {__file__} names files that are not there: {missing}"
    marked = {item.path for item in items if item.get_closest_marker("one_python")}
    ranks = {PROJECT / name: rank for rank, name in enumerate(LONGEST)}

    def rank(item: pytest.Item) -> int:
        return ranks.get(item.path, len(ranks) + (item.path not in marked))

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test writes into the person's `.mario`, or reads the person's servers."""
    home = tmp_path_factory.mktemp("mario-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARIO_HOME", str(home))
        for name in (
            *("DATABASE_URL", "MLFLOW_TRACKING_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT", "MARIO_CHECKPOINTS"),
            *("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_HOME"),
        ):
            patch.delenv(name, raising=False)
        Settings.from_environment().apply(os.environ)
        yield home
        if any(home.iterdir()):
            from episodes import remove_embedded

            remove_embedded(home)


@pytest.fixture(autouse=True)
def _our_lines_reach_the_log() -> None:
    """Whatever configured logging in this process before: Prefect and Alembic cut loggers off from the root or disable them."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] in LOGGERS and isinstance(logger, logging.Logger):
            logger.disabled, logger.propagate = False, True
            logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def home(_own_home: Path) -> Path:
    """The session's MARIO_HOME."""
    return _own_home


@pytest.fixture(scope="session")
def settings(home: Path) -> Settings:
    """Settings of the session's home."""
    return Settings(home, None, None)


@pytest.fixture(scope="session")
def mario() -> Command:
    """Runs the command `mario` in a process of its own, from the project's folder unless told otherwise."""

    def run(*arguments: str, cwd: Path = PROJECT, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"COLUMNS": "200"} | variables
        return subprocess.run(
            [MARIO, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False
        )

    return run


@dataclass(frozen=True)
class Pipeline:
    """A whole run that has ended.

    Attributes:
        name: of its experiment.
        output: what it printed, standard output and error.
        directory: its folder.
        cwd: where it was started.
    """

    name: str
    output: str
    directory: Path
    cwd: Path

    @property
    def experiment(self) -> "Experiment":
        """Its records, to be read."""
        from tasks.experiment import load_experiment

        return load_experiment(self.name, Settings.from_environment())


@pytest.fixture(scope="session")
def pipeline(home: Path, mario: Command, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """`mario run` on the tiny preset, all five phases, in process and without any server, from an empty folder."""
    cwd = tmp_path_factory.mktemp("elsewhere")
    done = mario("run", TINY, "--experiment", "tiny", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return Pipeline("tiny", done.stdout + done.stderr, home / "experiments" / "tiny", cwd)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """URL of a bucket in an S3 server of the session's own, which this process and its children find and may use."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    access = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "tester", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**access, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="mario")
        yield "s3://mario"
    server.stop()


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def prefect_away() -> Iterator[None]:
    """Prefect's server is where nobody listens: a phase that is called outside a flow starts none."""
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


class Postgres:
    """A server of the test's own, reached by TCP with a password: nothing starts it again but the test."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self._command(f"ALTER SYSTEM SET port = {port}", "ALTER SYSTEM SET listen_addresses = '127.0.0.1'")
        escaped = PASSWORD.replace("'", "''")
        self._command(f"CREATE ROLE tester LOGIN PASSWORD '{escaped}'", "CREATE DATABASE away OWNER tester")
        self.stop()
        self.start()

    @property
    def url(self) -> str:
        """With the password."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The same by way of another port, a proxy's."""
        from sqlalchemy import URL

        return URL.create("postgresql", "tester", PASSWORD, "127.0.0.1", port, "away").render_as_string(False)

    def start(self) -> None:
        """Start it, if it does not run."""
        from episodes.embedded import start_embedded

        start_embedded(self.home)

    def stop(self) -> None:
        """To its clients it is away from now on."""
        from episodes import stop_embedded

        stop_embedded(self.home)

    def _command(self, *statements: str) -> None:
        from sqlalchemy import create_engine

        from episodes.embedded import start_embedded

        engine = create_engine(start_embedded(self.home), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The module's own server."""
    from episodes import remove_embedded

    home = tmp_path_factory.mktemp("own") / ".mario"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        yield Postgres(home, port)
    finally:
        remove_embedded(home)


@pytest.fixture
def postgres(own_postgres: Postgres) -> Iterator[Postgres]:
    """It runs before and after the test."""
    own_postgres.start()
    yield own_postgres
    own_postgres.start()
