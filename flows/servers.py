"""`mario ui`: Prefect's server with a worker, and MLflow's, on this machine only, until Ctrl-C."""

import fcntl
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs import PROJECT, Settings
from configs.masking import mask_url
from flows import guarded_server, prefect_access
from tracking import (
    RunningServer,
    TrackingError,
    attended,
    end_process_group,
    require_free,
    resolve_tracking_uri,
    wait_for_server,
)

logger = logging.getLogger(__name__)

WORK_POOL = "mario"
_WORKER = ("--no-prompt", "worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", "mario-worker")
# How its lines begin, as Python and as Rich write it; what follows them is the error itself.
_OF_A_TRACEBACK = (" ", "Traceback (most recent", "\u256d", "\u2502", "\u2570")


class ServerError(RuntimeError):
    """A server did not start, or ended; the message names its log."""


@dataclass(frozen=True)
class Ports:
    """Where the servers listen on loopback."""

    prefect: int
    mlflow: int


def serve(settings: Settings, ports: Ports) -> None:
    """Start everything, print the addresses, and wait; Ctrl-C or SIGTERM stops everything again.

    Raises:
        ServerError, TrackingError: a port is taken, this home's servers run already, or a server did not start or ended.
    """
    home = settings.create_home()
    uri = resolve_tracking_uri(settings.tracking_uri, home)
    own_mlflow = not uri.startswith("http")
    _refuse_in_vain(home, ports, own_mlflow)
    with server_lock(home):
        _serve(home, uri, ports, own_mlflow)


@contextmanager
def server_lock(home: Path) -> Iterator[None]:
    """Hold the right to start the servers of `home`, from before they start until they have stopped.

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
    with ExitStack() as stack:
        _stop_on_signals()
        server = stack.enter_context(_prefect_server(ports.prefect, client, auth, logs))
        mlflow = None
        if own_mlflow:
            mlflow = stack.enter_context(RunningServer.start(uri, home, port=ports.mlflow, log=logs / "mlflow.log"))
        _wait_for_prefect(ports.prefect, auth, server, logs / "prefect.log")
        _deploy(client, logs / "deploy.log", lambda: _require_own(ports.prefect, auth, server, logs / "prefect.log"))
        # The worker passes the signal on to the flow run it has, which writes a checkpoint: that takes its time.
        worker = stack.enter_context(_process("worker", "prefect", _WORKER, client, logs, patience=30.0))
        prefect_access.announce(home, url)
        stack.callback(prefect_access.withdraw, home)
        _announce(ports, mlflow.url if mlflow else mask_url(uri), home)
        _wait({"prefect": server, "worker": worker} | ({"mlflow": mlflow.process} if mlflow else {}), logs)


def _refuse_in_vain(home: Path, ports: Ports, own_mlflow: bool) -> None:
    """Find before anything is started what would not start."""
    running = prefect_access.running_server(home)
    if running is not None:
        raise ServerError(
            f"the servers of {home} run already: Prefect's is at {running.url.removesuffix('/api')} (process {running.pid})"
        )
    if own_mlflow and ports.prefect == ports.mlflow:
        raise ServerError(f"port {ports.prefect} is wanted for both servers: choose two (--prefect-port, --mlflow-port)")
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
    return _process("prefect", "flows.guarded_server", (str(port),), environment, logs, patience=5.0)


def _prefect(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


@contextmanager
def _process(
    name: str, module: str, arguments: Sequence[str], environment: dict[str, str], logs: Path, *, patience: float
) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python module as a process in a group of its own, stopped at the end with all it started.

    It also ends when this process is killed. Prefect's server waits for its clients' connections to close, the worker for its
    flow run: after `patience` seconds both are killed.
    """
    with (logs / f"{name}.log").open("ab") as sink:
        process = subprocess.Popen(
            attended(module, arguments, patience),
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_process_group(process, patience)


def _wait_for_prefect(port: int, auth: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    try:
        wait_for_server(prefect_access.api_url(port), name="Prefect", process=process)
    except TrackingError as error:
        raise ServerError(f"{error} (is port {port} taken?); see {log}:\n{_tail(log)}") from None
    _require_own(port, auth, process, log)


def _require_own(port: int, auth: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Refuse a server on `port` that is not `process`: another program may have been faster."""
    if prefect_access.proven_server(port, auth) != process.pid:
        raise ServerError(f"what answers on port {port} is not the Prefect server that was started; see {log}:\n{_tail(log)}")


def _deploy(environment: dict[str, str], log: Path, check: Callable[[], None]) -> None:
    """Create the work pool, and the deployment that `prefect.yaml` describes; `check` comes before each request."""
    for arguments in (
        ("work-pool", "create", WORK_POOL, "--type", "process", "--overwrite"),
        ("deploy", "--all"),
    ):
        check()
        done = subprocess.run(
            _prefect(arguments), cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        with log.open("ab") as sink:
            sink.write(done.stdout + done.stderr)
        if done.returncode != 0:
            raise ServerError(f"prefect {' '.join(arguments)} failed; see {log}:\n{_tail(log)}")


def _announce(ports: Ports, mlflow: str, home: Path) -> None:
    secret = prefect_access.secret_file(home)
    # On a terminal the person alone reads it; a file or a service's log may have other readers.
    password = (
        prefect_access.server_secret(home) if sys.stdout.isatty() else f"what this prints: cat {shlex.quote(str(secret))}"
    )
    print(  # noqa: T201 (a person waits for it)
        f"Prefect   http://127.0.0.1:{ports.prefect}   flow runs, tasks, artifacts\n"
        f"          its page asks for a password: {password}\n"
        f"MLflow    {mlflow}   runs and models, side by side\n"
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


def _stop_on_signals() -> None:
    """SIGTERM stops as Ctrl-C does; and Ctrl-C also where a shell started this in the background, with SIGINT ignored."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, without those of a traceback: it is there for who opens the file."""
    try:
        text = log.read_text(errors="replace").splitlines()[-100:]
    except OSError:
        return "(no log)"
    return "\n".join([line for line in text if line.strip() and not line.startswith(_OF_A_TRACEBACK)][-lines:])
