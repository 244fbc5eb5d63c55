"""A command of Prefect that executes flow runs, and lets them end in order: `python -m flows.graceful ARGUMENTS`.

Prefect's process worker, and the process of a container that executes one flow run (`prefect flow-run execute`), kill the flow
run at once when they are stopped during a training, which handles SIGTERM itself. Here SIGTERM and Ctrl-C first send SIGTERM to
the flow runs, so that a training writes its checkpoint. Prefect is told that they crashed, and they can be retried.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import psutil

from tracking import attended, end_process_group

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS: Final = 60.0
"""How long a flow run may take to end. A checkpoint with the largest replay buffer takes 4 s on a local disk."""
_REPORT_SECONDS: Final = 10.0


def worker_arguments(pool: str, *, queues: Sequence[str] = (), limit: int | None = None, name: str | None = None) -> list[str]:
    """The arguments that start a worker of a process pool.

    Args:
        pool: the work pool.
        queues: the work queues; none: all of the pool.
        limit: how many flow runs it executes at once; None: any number.
        name: the worker's name; None: Prefect makes one.
    """
    arguments = ["worker", "start", "--pool", pool, "--type", "process"]
    for queue in queues:
        arguments += ["--work-queue", queue]
    arguments += [] if limit is None else ["--limit", str(limit)]
    return arguments + ([] if name is None else ["--name", name])


def run(arguments: Sequence[str]) -> int:
    """Run `prefect ARGUMENTS` until it ends, or until SIGTERM or Ctrl-C.

    Returns:
        Its exit code; 0 for a worker that a signal has stopped.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    command = attended("prefect", ["--no-prompt", *arguments], _REPORT_SECONDS)
    # In a session of its own, so that the terminal's Ctrl-C does not reach it before its flow runs have ended.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        end_flow_runs(process.pid, CHECKPOINT_SECONDS)
        if arguments[0] != "worker":  # it ends by itself, after it has told Prefect
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_REPORT_SECONDS)
        end_process_group(process, _REPORT_SECONDS)
        return 0


def end_flow_runs(parent: int, patience: float) -> None:
    """Send SIGTERM to the flow runs of a process, and SIGKILL to those that still run after `patience` seconds.

    Args:
        parent: the process id of the worker, or of another process that executes flow runs.
        patience: seconds between the two signals.
    """
    try:
        runs = [child.pid for child in psutil.Process(parent).children() if os.getpgid(child.pid) == child.pid]
    except (psutil.NoSuchProcess, ProcessLookupError):
        return
    if runs:
        logger.info("waiting for %d flow runs to end, at most %.0f s", len(runs), patience)
    deadline = time.monotonic() + patience
    _signal_groups(runs, signal.SIGTERM)
    while any(_alive(pid) for pid in runs):
        if time.monotonic() > deadline:
            _signal_groups(runs, signal.SIGKILL)
            return
        time.sleep(0.1)


def _signal_groups(leaders: Sequence[int], number: int) -> None:
    for pid in leaders:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
