"""`mario ui`: Prefect's server with a worker, and MLflow's, on this machine only, until Ctrl-C."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs import PROJECT, Settings
from flows.prefect_plugin import local_api_url
from tracking import RunningServer, TrackingError, end_process_group, resolve_tracking_uri, wait_for_server

logger = logging.getLogger(__name__)

WORK_POOL = "mario"


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
        ServerError, TrackingError: a port is taken, or a server did not start or ended.
    """
    logs = settings.create_home() / "logs"
    logs.mkdir(exist_ok=True)
    with ExitStack() as stack:
        _stop_on_signals()
        environment = os.environ | {"PREFECT_API_URL": local_api_url(ports.prefect)}
        server = stack.enter_context(_process("prefect", _prefect_server(ports.prefect), environment, logs, patience=5.0))
        uri = resolve_tracking_uri(settings.tracking_uri, settings.home)
        mlflow = None
        if not uri.startswith("http"):
            mlflow = stack.enter_context(RunningServer.start(uri, settings.home, port=ports.mlflow, log=logs / "mlflow.log"))
        _wait_for_prefect(ports.prefect, server, logs / "prefect.log")
        _deploy(environment, logs / "deploy.log")
        # The worker passes the signal on to the flow run it has, which writes a checkpoint: that takes its time.
        worker = stack.enter_context(_process("worker", _worker(), environment, logs, patience=30.0))
        _announce(ports, mlflow.url if mlflow else uri)
        _wait({"prefect": server, "worker": worker} | ({"mlflow": mlflow.process} if mlflow else {}), logs)


def _prefect_server(port: int) -> Sequence[str]:
    return ("server", "start", "--host", "127.0.0.1", "--port", str(port))


def _worker() -> Sequence[str]:
    return ("worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", "mario-worker")


def _prefect(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


@contextmanager
def _process(
    name: str, arguments: Sequence[str], environment: dict[str, str], logs: Path, *, patience: float
) -> Iterator["subprocess.Popen[bytes]"]:
    """A `prefect` command in a process group of its own, stopped at the end with all it started.

    Prefect's server waits for its clients' connections to close, the worker for its flow run: after `patience` seconds both are
    killed.
    """
    with (logs / f"{name}.log").open("ab") as sink:
        process = subprocess.Popen(
            _prefect(arguments),
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


def _wait_for_prefect(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    try:
        wait_for_server(local_api_url(port), name="Prefect", process=process)
    except TrackingError as error:
        raise ServerError(f"{error} (is port {port} taken?); see {log}:\n{_tail(log)}") from None


def _deploy(environment: dict[str, str], log: Path) -> None:
    """Create the work pool, and the deployment that `prefect.yaml` describes."""
    for arguments in (
        ("work-pool", "create", WORK_POOL, "--type", "process", "--overwrite"),
        ("deploy", "--all"),
    ):
        done = subprocess.run(
            _prefect(arguments), cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        with log.open("ab") as sink:
            sink.write(done.stdout + done.stderr)
        if done.returncode != 0:
            raise ServerError(f"prefect {' '.join(arguments)} failed; see {log}:\n{_tail(log)}")


def _announce(ports: Ports, mlflow: str) -> None:
    print(  # noqa: T201 (a person waits for it)
        f"Prefect   http://127.0.0.1:{ports.prefect}   flow runs, tasks, artifacts\n"
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
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
