"""The runs of a sweep as processes of this machine, a few at a time."""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from configs import Settings
from configs.sweep import SweepRun
from flows.sweep_progress import RunState
from tracking import attended

logger = logging.getLogger(__name__)

# A training that is asked to end writes a checkpoint first.
_PATIENCE_SECONDS = 120.0
_LAST_BYTES = 4_000


class LocalRunError(RuntimeError):
    """A run of the sweep has failed; the message is the end of its output, and names its log."""


class LocalRuns:
    """Processes of `mario run`, at most `number` at a time, each on its share of the processors.

    A process ends when this one ends, even if this one is killed: it writes a checkpoint first.

    Args:
        settings: the home folder and the servers.
        number: processes at a time.
        environment: variables of the processes, besides those of this process.
    """

    def __init__(self, settings: Settings, number: int, environment: Mapping[str, str]) -> None:
        self.at_once: int | None = number
        self._logs = settings.home / "sweeps"
        self._environment = {**os.environ, **environment}
        self._shares: SimpleQueue[set[int]] = SimpleQueue()
        for share in processor_shares(number):
            self._shares.put(share)
        self._runner: ThreadPoolTaskRunner[None] = ThreadPoolTaskRunner(max_workers=number)
        self._futures: dict[str, PrefectFuture[None]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = threading.Event()

    @contextmanager
    def opened(self) -> Iterator["LocalRuns"]:
        """Run processes in a `with` block. If it ends before they do, they are asked to end, and waited for."""
        with self._runner:
            try:
                yield self
            finally:
                self._ending.set()
                for process in list(self._processes.values()):
                    process.send_signal(signal.SIGTERM)

    def start(self, runs: Sequence[SweepRun]) -> None:
        """Queue `runs`."""
        self._logs.mkdir(parents=True, exist_ok=True)
        by_name = {run.experiment: run for run in runs}

        @task(task_run_name="{experiment}", cache_policy=NO_CACHE, persist_result=False)
        def run_locally(experiment: str) -> None:
            self.run(by_name[experiment])

        for name in by_name:
            self._futures[name] = self._runner.submit(run_locally, parameters={"experiment": name})

    def states(self, runs: Sequence[SweepRun]) -> dict[str, RunState]:
        """The state of each of `runs`, by the name of the experiment."""
        return {run.experiment: self._state(run.experiment) for run in runs}

    def log(self, experiment: str) -> Path:
        """The file with the output of a run."""
        return self._logs / f"{experiment}.log"

    def run(self, run: SweepRun) -> None:
        """Run a process to its end.

        Raises:
            LocalRunError: it failed, or was asked to end.
        """
        if self._ending.is_set():
            raise LocalRunError("the sweep was ended before this run began")
        share = self._shares.get()
        try:
            self._run_on(run, share)
        finally:
            self._shares.put(share)

    def _run_on(self, run: SweepRun, share: set[int]) -> None:
        settings = [part for each in run.overrides for part in ("--set", each)]
        command = attended(
            "flows.entry", ["run", run.preset, *settings, "--experiment", run.experiment], patience=_PATIENCE_SECONDS
        )
        log = self.log(run.experiment)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment, start_new_session=True
            )
            self._processes[run.experiment] = process
            try:
                _confine(process.pid, share)
                code = process.wait()
            finally:
                del self._processes[run.experiment]
        if code != 0:
            raise LocalRunError(f"{_last_line(log)} (exit code {code}, output in {log})")

    def _state(self, experiment: str) -> RunState:
        if experiment in self._processes:
            return RunState("running")
        future = self._futures.get(experiment)
        if future is None or not future.state.is_final():
            return RunState("queued")
        return RunState("completed") if future.state.is_completed() else RunState("failed", future.state.message or "")


def processor_shares(number: int) -> list[set[int]]:
    """The usable processors divided into `number` sets; where there are fewer than that, the sets overlap.

    An empty set means all processors: macOS has no affinity.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(number)]
    usable = sorted(os.sched_getaffinity(0))
    if number >= len(usable):
        return [{usable[index % len(usable)]} for index in range(number)]
    return [set(usable[index::number]) for index in range(number)]


def _confine(pid: int, share: set[int]) -> None:
    if share:
        try:
            os.sched_setaffinity(pid, share)
        except ProcessLookupError:
            logger.debug("process %d ended before it was confined to its processors", pid)


def _last_line(log: Path) -> str:
    """The last line of a log that is an error, or else its last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LAST_BYTES))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("error:")), lines[-1] if lines else "no output")
