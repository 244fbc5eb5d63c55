"""`mario worker`: a Prefect worker whose flow runs end in order when it is stopped.

Prefect's process worker kills its flow runs at once when it is stopped. This one first sends SIGTERM to them, so that a
training writes its checkpoint, and then stops the worker. Pools of containers need none of this: there the container's own
process (`prefect flow-run execute`) passes the signal on.
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
_WORKER_SECONDS: Final = 10.0


def start_arguments(pool: str, *, queues: Sequence[str] = (), limit: int | None = None, name: str | None = None) -> list[str]:
    """The arguments of `prefect worker start` for a worker of process `pool`.

    Args:
        pool: the work pool.
        queues: the work queues; none: all of the pool.
        limit: how many flow runs it executes at once; None: any number.
        name: the worker's name; None: Prefect makes one.
    """
    arguments = ["--pool", pool, "--type", "process"]
    for queue in queues:
        arguments += ["--work-queue", queue]
    arguments += [] if limit is None else ["--limit", str(limit)]
    return arguments + ([] if name is None else ["--name", name])


def run_worker(arguments: Sequence[str]) -> int:
    """Run `prefect worker start ARGUMENTS` until it ends, or until SIGTERM or Ctrl-C.

    Returns:
        Its exit code; 0 after a signal.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    command = attended("prefect", ["--no-prompt", "worker", "start", *arguments], _WORKER_SECONDS)
    # In a session of its own, so that the terminal's Ctrl-C does not reach it before its flow runs have ended.
    worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return worker.wait()
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        end_flow_runs(worker.pid, CHECKPOINT_SECONDS)
        end_process_group(worker, _WORKER_SECONDS)
        return 0


def end_flow_runs(worker: int, patience: float) -> None:
    """Send SIGTERM to the flow runs of a worker, and SIGKILL to those that still run after `patience` seconds.

    Args:
        worker: the worker's process id.
        patience: seconds between the two signals.
    """
    try:
        runs = [child.pid for child in psutil.Process(worker).children() if os.getpgid(child.pid) == child.pid]
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
    sys.exit(run_worker(sys.argv[1:]))
