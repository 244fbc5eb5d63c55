"""Machines for tests: servers that all use, and workers that have nothing in common but them.

A machine is a home, a working folder and a process namespace of its own, so that no other can see whether its processes still
run. Killing it kills all of its processes at once, as a power cut does.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import text

from configs import PROJECT
from episodes import EpisodeStore
from flows import guarded_server
from flows.prefect_access import api_url
from tests.conftest import MARIO
from tracking import end_process_group, wait_for_server

AUTH = "mario:of-the-test"
_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
_OF_A_USER = (*_NAMESPACE, "--user", "--map-root-user")

# Read by every Python process of a machine: writes down whose home each file lies in that the process opens.
_SITE = """
import os, sys
homes, log, seen = os.environ["WATCHED_HOMES"].split(":"), os.environ["WATCHED_LOG"], set()
def watch(event, arguments):
    if event not in ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "sqlite3.connect"):
        return
    for argument in arguments[:2]:
        if not isinstance(argument, (str, bytes)):
            continue
        path = os.fsdecode(argument)
        home = next((each for each in homes if each in path), None)
        if home is not None and home not in seen:
            seen.add(home)
            descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{home}\\n".encode())
            os.close(descriptor)
sys.addaudithook(watch)
"""


@cache
def namespace() -> tuple[str, ...]:
    """The command that gives another one a process namespace of its own; nothing where the system does not allow it.

    Without namespaces a machine sees at once that a process of another one is gone, and need not wait for its lease.
    """
    for command in (_NAMESPACE, _OF_A_USER):
        with suppress(FileNotFoundError):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return ()


@dataclass
class Machine:
    """A machine with a worker of the pool `mario`.

    Attributes:
        name: of the worker and its home.
        folder: the folder of the home, the working folder and the logs.
        variables: the addresses of the servers.
    """

    name: str
    folder: Path
    variables: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def home(self) -> Path:
        return self.folder / self.name / "home"

    @property
    def log(self) -> Path:
        """What the worker and its flow runs print."""
        return self.folder / self.name / "log"

    @property
    def opened_homes(self) -> set[str]:
        """The homes in which processes of this machine have opened or listed something."""
        file = self.folder / self.name / "opened"
        return set(file.read_text().split()) if file.exists() else set()

    def start(self, queue: str) -> None:
        """Start a worker of a queue of the pool `mario`, which runs one flow at a time."""
        elsewhere = self.folder / self.name / "elsewhere"
        elsewhere.mkdir(parents=True, exist_ok=True)
        command = [*namespace(), MARIO, "worker", "mario", "--queue", queue, "--name", self.name]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=elsewhere, env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """Cut the power."""
        assert self.process is not None
        # With a namespace all of them die with the first.
        for each in [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()

    def stop_between_writes(self, store: EpisodeStore) -> None:
        """Stop all processes (SIGSTOP) while none of them writes to Postgres, or to MLflow, which is done in a transaction."""
        while True:
            ports = self._signal(signal.SIGSTOP)
            while "active" in (states := _states(store, ports)):
                time.sleep(0.01)
            if not any(state.startswith("idle in transaction") for state in states):
                return
            self.resume()
            time.sleep(0.01)

    def resume(self) -> None:
        """Let all processes go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> set[int]:
        """Send a signal to all processes; returns the local ports of their connections."""
        assert self.process is not None
        ports = set()
        for each in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)
                ports |= {connection.laddr.port for connection in each.net_connections("tcp") if connection.laddr}
        return ports

    def _environment(self) -> dict[str, str]:
        site = self.folder / self.name / "site"
        site.mkdir(parents=True, exist_ok=True)
        (site / "sitecustomize.py").write_text(_SITE)
        homes = ":".join(str(each / "home") for each in sorted(self.folder.iterdir()) if each.is_dir())
        watched = {"WATCHED_HOMES": homes, "WATCHED_LOG": str(self.folder / self.name / "opened")}
        return environment(self.home, self.variables) | watched | {"PYTHONPATH": str(site)}


def environment(home: Path, variables: dict[str, str]) -> dict[str, str]:
    """The variables of a process of a machine: nothing that belongs to the home of the tests."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MARIO_"))}
    return known | variables | {"MARIO_HOME": str(home), "COLUMNS": "200"}


def _states(store: EpisodeStore, ports: set[int]) -> set[str]:
    query = text("SELECT state FROM pg_stat_activity WHERE client_port = ANY(:ports)")
    with store.transaction("looking at the connections") as connection:
        return {str(state) for state in connection.execute(query, {"ports": list(ports)}).scalars()}


@dataclass
class Servers:
    """Prefect's and MLflow's server, as a team has them.

    Attributes:
        folder: the folder of their data.
        prefect_port: of Prefect's server.
        mlflow_port: of MLflow's server.
    """

    folder: Path
    prefect_port: int
    mlflow_port: int
    _prefect: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def addresses(self) -> dict[str, str]:
        """The variables with which a client finds them."""
        return {
            "PREFECT_API_URL": api_url(self.prefect_port),
            "PREFECT_API_AUTH_STRING": AUTH,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.mlflow_port}",
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Both servers run in the block, and the deployments are there."""
        with ExitStack() as stack:
            stack.enter_context(self._mlflow())
            self.start_prefect()
            stack.callback(self.stop_prefect)
            wait_for_server(f"http://127.0.0.1:{self.mlflow_port}", timeout=200)
            done = subprocess.run(
                [MARIO, "deploy"], env=environment(self.folder, self.addresses), capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            yield

    def start_prefect(self) -> None:
        """Start Prefect's server and wait for it."""
        variables = self.addresses | guarded_server.environment(self.prefect_port, AUTH)
        variables |= {"PREFECT_HOME": str(self.folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        self._prefect = self._start("flows.guarded_server", [str(self.prefect_port)], variables)
        wait_for_server(api_url(self.prefect_port), name="Prefect", process=self._prefect, timeout=200)

    def stop_prefect(self) -> None:
        """End Prefect's server."""
        if self._prefect is not None:
            end_process_group(self._prefect, 10.0)

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """The answer of Prefect's API."""
        headers = {"Content-Type": "application/json"}
        headers["Authorization"] = f"Basic {base64.b64encode(AUTH.encode()).decode()}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{api_url(self.prefect_port)}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    @contextmanager
    def _mlflow(self) -> Iterator[None]:
        """As in mlflow/compose.yaml: clients send artifacts to the server."""
        data = self.folder / "mlflow"
        data.mkdir(parents=True)
        arguments = ["server", "--host", "127.0.0.1", "--port", str(self.mlflow_port), "--workers", "1"]
        arguments += [
            "--backend-store-uri",
            f"sqlite:///{data / 'mlflow.db'}",
            "--artifacts-destination",
            str(data / "artifacts"),
        ]
        process = self._start("mlflow", arguments, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
        try:
            yield
        finally:
            end_process_group(process, 10.0)

    def _start(self, module: str, arguments: list[str], variables: dict[str, str]) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=PROJECT,
                env=environment(self.folder, variables),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until `condition` returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return found
