"""`mario ui`: run Prefect's server, its workers and MLflow's server on loopback, until Ctrl-C."""

import fcntl
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs import CHECKOUT, Settings
from configs.masking import mask_url
from flows import graceful, guarded_server, prefect_access
from tracking import (
    SERVER_PAGE,
    RunningServer,
    TrackingError,
    attended,
    end_process_group,
    mlflow_url,
    require_free,
    resolve_tracking_uri,
    wait_for_server,
)

logger = logging.getLogger(__name__)

# One worker runs one flow at a time that plays games. Another one runs the flows that need not wait for a training.
_WORKERS = {
    "worker": graceful.worker_arguments("mario", queues=["default"], limit=1, name="mario-worker"),
    "light-worker": graceful.worker_arguments("mario", queues=["light"], name="mario-light-worker"),
}
# Beginnings of the lines of a traceback, as Python and Rich print it. The error message follows them.
_TRACEBACK_PREFIXES = (" ", "Traceback (most recent", "\u256d", "\u2502", "\u2570")


class ServerError(RuntimeError):
    """A server did not start, or it ended; the message names its log."""


@dataclass(frozen=True)
class Ports:
    """The loopback ports of the servers."""

    prefect: int
    mlflow: int


def serve(settings: Settings, ports: Ports) -> None:
    """Start the servers, print their addresses, and wait. Ctrl-C or SIGTERM stops them.

    Raises:
        ServerError, TrackingError: a port is taken, this home's servers run already, or a server did not start or ended.
    """
    home = settings.create_home()
    uri = resolve_tracking_uri(settings.tracking_uri, home)
    own_mlflow = not uri.startswith("http")
    _require_startable(home, ports, own_mlflow)
    with server_lock(home):
        _serve(home, uri, ports, own_mlflow)


@contextmanager
def server_lock(home: Path) -> Iterator[None]:
    """Hold the lock on the servers of `home`, from before they start until they have stopped.

    Raises:
        ServerError: another process holds it.
    """
    path = prefect_access.secret_file(home).with_name("lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The file stays: if it were deleted, two processes could each lock a file of this name.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError(
                f"another `mario ui` is starting or stopping the servers of {home}: wait for it, or end it"
            ) from None
        yield
    finally:
        os.close(handle)


def _serve(home: Path, uri: str, ports: Ports, own_mlflow: bool) -> None:
    logs = home / "logs"
    logs.mkdir(exist_ok=True)
    auth = prefect_access.server_secret(home)
    url = prefect_access.api_url(ports.prefect)
    client = os.environ | {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": auth}
    if own_mlflow:
        client[SERVER_PAGE] = mlflow_url(ports.mlflow)
    with ExitStack() as stack:
        stop_on_signals()
        server = stack.enter_context(_prefect_server(ports.prefect, client, auth, logs))
        mlflow = None
        if own_mlflow:
            mlflow = stack.enter_context(RunningServer.start(uri, home, port=ports.mlflow, log=logs / "mlflow.log"))
        _wait_for_prefect(ports.prefect, auth, server, logs / "prefect.log")
        _deploy(client, logs / "deploy.log")
        patience = graceful.CHECKPOINT_SECONDS + 15.0
        workers = {
            name: stack.enter_context(_process(name, "flows.graceful", arguments, client, logs, grace_seconds=patience))
            for name, arguments in _WORKERS.items()
        }
        prefect_access.publish_server(home, url, mlflow.url if mlflow else None)
        stack.callback(prefect_access.withdraw_server, home)
        _print_addresses(ports, mlflow.url if mlflow else mask_url(uri), home)
        _wait({"prefect": server, **workers} | ({"mlflow": mlflow.process} if mlflow else {}), logs)


def _require_startable(home: Path, ports: Ports, own_mlflow: bool) -> None:
    """Refuse to start what would fail, before anything is started."""
    running = prefect_access.running_server(home)
    if running is not None:
        raise ServerError(
            f"the servers of {home} run already: Prefect's is at {running.url.removesuffix('/api')} (process {running.pid})"
        )
    if own_mlflow and ports.prefect == ports.mlflow:
        raise ServerError(f"port {ports.prefect} is given for both servers: choose two (--prefect-port, --mlflow-port)")
    wanted = {"--prefect-port": ports.prefect} | ({"--mlflow-port": ports.mlflow} if own_mlflow else {})
    for option, port in wanted.items():
        try:
            require_free(port)
        except TrackingError as error:
            raise ServerError(f"{error} ({option})") from None


def _prefect_server(
    port: int, client: dict[str, str], auth: str, logs: Path
) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    environment = client | guarded_server.environment(port, auth)
    return _process("prefect", "flows.guarded_server", (str(port),), environment, logs, grace_seconds=5.0)


@contextmanager
def _process(
    name: str, module: str, arguments: Sequence[str], environment: dict[str, str], logs: Path, *, grace_seconds: float
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a Python module as a process in its own process group, and stop the group at the end.

    The group also ends if this process is killed. Prefect's server waits for its clients' connections to close, and a worker
    waits for its flow runs. They are killed `grace_seconds` after the signal.
    """
    with (logs / f"{name}.log").open("ab") as sink:
        process = subprocess.Popen(
            attended(module, arguments, grace_seconds),
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_process_group(process, grace_seconds)


def _wait_for_prefect(port: int, auth: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    try:
        wait_for_server(prefect_access.api_url(port), name="Prefect", process=process)
    except TrackingError as error:
        raise ServerError(f"{error} (is port {port} taken?); see {log}:\n{_tail(log)}") from None
    _require_started_server(port, auth, process, log)


def _require_started_server(port: int, auth: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Refuse a server on `port` other than `process`. Another program may have taken the port first."""
    if prefect_access.verified_server(port, auth) != process.pid:
        raise ServerError(f"the server on port {port} is not the Prefect server that was started; see {log}:\n{_tail(log)}")


def _deploy(environment: dict[str, str], log: Path) -> None:
    """Create the work pools and the deployments, in a process of its own."""
    command = [sys.executable, "-m", "flows.deploying"]
    with log.open("ab") as sink:
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode != 0:
        raise ServerError(f"the deployments could not be created; see {log}:\n{_tail(log)}")


def _print_addresses(ports: Ports, mlflow: str, home: Path) -> None:
    secret = prefect_access.secret_file(home)
    # Only the user reads a terminal. A file or a service's log may have other readers.
    password = prefect_access.server_secret(home) if sys.stdout.isatty() else f"the output of: cat {shlex.quote(str(secret))}"
    print(  # noqa: T201 (the user waits for it)
        f"Prefect   http://127.0.0.1:{ports.prefect}   flow runs, tasks, artifacts\n"
        f"          its page asks for a password: {password}\n"
        f"MLflow    {mlflow}   runs and models, side by side\n"
        "          its page shows them after a click on 'Model training', at the top left\n"
        "Start a run from this folder:  prefect deployment run train-mario --param preset=demo --watch\n"
        "Ctrl-C stops everything.",
        flush=True,
    )


def _wait(processes: "dict[str, subprocess.Popen[bytes]]", logs: Path) -> None:
    try:
        while True:
            for name, process in processes.items():
                if process.poll() is not None:
                    log = logs / f"{name}.log"
                    raise ServerError(f"{name} ended (exit code {process.returncode}); see {log}:\n{_tail(log)}")
            time.sleep(0.5)
    except KeyboardInterrupt:
        logger.info("stopping")


def stop_on_signals() -> None:
    """Let SIGTERM act as Ctrl-C, and let Ctrl-C work even if a shell started this in the background with SIGINT ignored."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log without tracebacks, which are in the file."""
    try:
        text = log.read_text(errors="replace").splitlines()[-100:]
    except OSError:
        return "(no log)"
    return "\n".join([line for line in text if line.strip() and not line.startswith(_TRACEBACK_PREFIXES)][-lines:])
