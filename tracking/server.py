"""MLflow's own server, with its UI, on this machine only."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from configs.masking import mask_url
from tracking.attended import attended
from tracking.client import connect, environment
from tracking.errors import TrackingError
from tracking.location import artifact_root, is_server, normalise

LOOPBACK = "127.0.0.1"
PORT = 5000


@dataclass(frozen=True)
class ServerCommand:
    """How to start the server.

    Attributes:
        arguments: the command line; it holds no password.
        environment: variables to add to the process's own. They include the database's URI, because every user of the machine
            can read the command line.
        url: the server's address.
        folder: the working folder of the server.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    url: str
    folder: Path


def mlflow_url(port: int) -> str:
    """The address of an MLflow server on the loopback `port`."""
    return f"http://{LOOPBACK}:{port}"


def server_command(uri: str, home: Path, *, port: int = PORT) -> ServerCommand:
    """The command that serves the store at `uri` on loopback with one worker.

    Args:
        uri: the store; a database, see :func:`tracking.resolve_tracking_uri`.
        home: the project's folder.
        port: the port to listen on; 0 picks a free one.

    Raises:
        TrackingError: `uri` is that of a server, or nothing says where to keep files; see :func:`artifact_root`.
    """
    uri = normalise(uri)
    if is_server(uri):
        raise TrackingError(f"{mask_url(uri)} is already an MLflow server: open it in a browser")
    root = artifact_root(uri, home)
    assert root is not None  # None only for servers
    port = port or free_port()
    options = (
        "server",
        # MLflow's application without its assistant, see tracking/server_app.py.
        "--app-name", "train-mario",
        "--host", LOOPBACK,
        "--port", str(port),
        "--workers", "1",
        # Artifacts logged through the server and straight into the database are in the same folder, under the same kind of
        # address, so one experiment can be used both ways. All clients are on this machine.
        "--default-artifact-root", root,
        "--artifacts-destination", root,
        "--allowed-hosts", f"localhost:{port},{LOOPBACK}:{port}",
        # MLflow also allows every page of this machine, whatever its port; no setting prevents that.
        "--cors-allowed-origins", f"http://localhost:{port},http://{LOOPBACK}:{port}",
    )  # fmt: skip
    added = environment() | {
        "MLFLOW_BACKEND_STORE_URI": uri,
        # Job runners, which this project does not use, would be several processes with a database of their own.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
    }
    # The server ends with this process, even if this one is killed.
    return ServerCommand(tuple(attended("mlflow", options)), added, mlflow_url(port), home.absolute() / "mlflow")


class RunningServer:
    """An MLflow server as a child process; a context manager that stops it.

    Attributes:
        url: the server's address.
        process: the child; it leads a process group.
    """

    def __init__(self, command: ServerCommand, process: "subprocess.Popen[bytes]") -> None:
        self.url = command.url
        self.process = process

    @classmethod
    def start(cls, uri: str, home: Path, *, port: int = PORT, log: Path | None = None, timeout: float = 90.0) -> Self:
        """Start the server and wait until it answers.

        Args:
            uri: the store.
            home: the project's folder.
            port: the port to listen on; 0 picks a free one.
            log: a file for the server's output; None: it is discarded.
            timeout: seconds to wait.

        Raises:
            TrackingError: the port is taken, the store cannot be opened, or the server ends or does not answer in time.
        """
        command = server_command(uri, home, port=port)
        require_free(port or int(command.url.rpartition(":")[2]))
        connect(uri)  # creates the store, which takes a while and is logged
        command.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            sink = stack.enter_context(log.open("ab")) if log is not None else subprocess.DEVNULL
            process = subprocess.Popen(
                command.arguments,
                env=os.environ | command.environment,
                cwd=command.folder,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = cls(command, process)
        try:
            wait_for_server(server.url, process=process, timeout=timeout)
        except BaseException as error:
            server.stop()
            if isinstance(error, TrackingError) and log is not None:
                raise TrackingError(f"{error}; see {log}") from None
            raise
        return server

    def stop(self, timeout: float = 10.0) -> None:
        """End the server and its workers."""
        end_process_group(self.process, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def end_process_group(process: "subprocess.Popen[bytes]", patience: float) -> None:
    """End a process group with SIGTERM, and with SIGKILL after `patience` seconds; `process` leads the group."""
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, number)
            else:
                process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            if number == signal.SIGTERM and not _group_alive(process.pid):
                return


def wait_for_server(
    url: str, *, name: str = "MLflow", process: "subprocess.Popen[bytes] | None" = None, timeout: float = 90.0
) -> None:
    """Wait until the server at `url` answers ``/health`` with 200.

    Raises:
        TrackingError: `process` has ended, or `timeout` seconds have passed.
    """
    deadline = time.monotonic() + timeout
    # Requests to loopback must not go to a proxy from the environment.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise TrackingError(f"the {name} server ended right after its start (exit code {process.returncode})")
        try:
            with opener.open(f"{url}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise TrackingError(f"the {name} server at {mask_url(url)} did not answer within {timeout:.0f} s")


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require_free(port: int) -> None:
    """Check that a server can have a loopback port.

    Raises:
        TrackingError: something listens there, or this user may not listen there.
    """
    taken = TrackingError(f"port {port} is taken: stop what listens there, or choose another port")
    with socket.socket() as probe:
        probe.settimeout(1)
        # On macOS a listener on all addresses does not prevent one on loopback: `bind` would not notice it.
        if probe.connect_ex((LOOPBACK, port)) == 0:
            raise taken
    with socket.socket() as probe:
        # As servers do: connections that an earlier server has closed do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            raise TrackingError(f"port {port} is not allowed to this user: choose one above 1023") from None
        except OSError:
            raise taken from None


def _group_alive(group: int) -> bool:
    if not hasattr(os, "killpg"):
        return False
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
