"""The cost of logging to MLflow during a training: run as ``python -m benchmarks.tracking [--json FILE]``.

A dump is what stable-baselines3's logger writes at once, here 20 metrics, into a real SQLite store in a temporary folder. Three
ways are compared in one run: the project's (`TrackedRun.kv_writer`, whose thread sends every five seconds), MLflow's
asynchronous logging, and the synchronous call. The share of a training's time is an upper bound: it counts the processor time
of the sending thread and of the system metrics as if the training had waited for them.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracking import TrackedRun, resolve_tracking_uri
from tracking.client import connect

METRICS = 20
SEND_EVERY_SECONDS = 5.0
SAMPLE_EVERY_SECONDS = 10.0
GOAL = 0.01


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--dumps", type=int, default=200, help="dumps for each way (default 200)")
    parser.add_argument("--rate", type=float, default=1.0, help="assumed dumps per second of the training (default 1)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="train-mario-benchmark-") as folder:
        figures = measure(Path(folder), options.dumps, options.rate)
    for name, value in figures.items():
        sys.stdout.write(f"{name:44} {value:12.6g}\n")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if figures["share of training time"] > GOAL:
        sys.exit(f"logging takes more than {GOAL:.0%} of a training's time")


def measure(home: Path, dumps: int, rate: float) -> dict[str, float]:
    """The figures, in milliseconds per dump unless their names say otherwise."""
    uri = resolve_tracking_uri(f"sqlite:///{home.as_posix()}/mlflow/mlflow.db", home)
    with TrackedRun.open(uri, "benchmark", "project") as run:
        writer = run.kv_writer()
        handover = median_ms(lambda step: writer.write(values(step), {}, step), dumps)
        run.flush()
        together = max(1, round(rate * SEND_EVERY_SECONDS))
        sending = processor_ms(lambda: send(run, together, 20)) / 20
        sample = system_sample_ms()
        client, run_id = connect(uri), run.run_id
        synchronous = median_ms(lambda step: client.log_batch(run_id, batch(2 * 10**6 + step), synchronous=True), dumps)
        sent: list[Any] = []
        mlflow_async = median_ms(
            lambda step: sent.append(client.log_batch(run_id, batch(3 * 10**6 + step), synchronous=False)), dumps
        )
        for operation in sent:  # mlflow.flush_async_logging() would open the global store in the working directory
            operation.wait()
    busy = handover * rate + sending / SEND_EVERY_SECONDS + sample / SAMPLE_EVERY_SECONDS
    return {
        "hand-over, project": handover,
        "hand-over, MLflow asynchronous": mlflow_async,
        "call, MLflow synchronous": synchronous,
        "synchronous over project": synchronous / handover,
        "MLflow asynchronous over project": mlflow_async / handover,
        f"processor time to send {together} dumps": sending,
        "processor time of a system sample": sample,
        "dumps per second assumed": rate,
        "share of training time": busy / 1000,
    }


def values(step: int) -> dict[str, Any]:
    """The metrics of a dump."""
    return {f"train/metric_{number}": step + number / 7 for number in range(METRICS)}


def batch(step: int) -> list[Any]:
    """The metrics of a dump as MLflow entities."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, value, now, step) for name, value in values(step).items()]


def send(run: TrackedRun, dumps: int, times: int) -> None:
    """Do the work of the project's thread in `times` periods of five seconds: one request with `dumps` dumps each."""
    for request in range(times):
        for step in range(10**6 + request * dumps, 10**6 + (request + 1) * dumps):
            run.log_metrics(values(step), step)
        run.flush()


def system_sample_ms() -> float:
    """The processor time of one sample of the system metrics, in milliseconds."""
    from tracking.system_metrics import SystemMetrics

    sampler = SystemMetrics(lambda sampled, step: None, {}, interval=lambda _: 0.01)
    time.sleep(0.5)  # imports and first readings
    before, steps = time.process_time(), sampler._step
    time.sleep(1.0)
    spent, sampled = time.process_time() - before, sampler._step - steps
    sampler.stop()
    return spent * 1000 / max(1, sampled)


def median_ms(call: Callable[[int], Any], times: int) -> float:
    """The median wall-clock time of a call in milliseconds, without the first five calls."""
    taken = []
    for step in range(times + 5):
        started = time.perf_counter()
        call(step)
        taken.append(time.perf_counter() - started)
        time.sleep(0.002)  # background threads run between calls, as in a training
    return statistics.median(taken[5:]) * 1000


def processor_ms(call: Callable[[], Any]) -> float:
    """The processor time of all threads during a call, in milliseconds."""
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1000


if __name__ == "__main__":
    main()
