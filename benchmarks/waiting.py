"""The effect of the passive wait policy of torch's threads (`configs.openmp`), on an idle machine and on a busy one.

    python -m benchmarks.waiting [--preset ppo] [--set section.key=value] [--seconds 3] [--rounds 3] [--busy N] [--json FILE]

Each line is a process that performs updates with the network and batch size of the preset, with a number of threads and
OpenMP's default or passive wait policy. The processes take turns of some seconds, and the best round of each counts. The
measurement is repeated next to `--busy` processes that run endless loops (default: as many as there are cores).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# torch is imported first, because the project's packages would set the wait policy.
_CHILD = "import torch; from benchmarks.waiting import answer; answer()"
_COUNT = "while True: pass"


class Learner:
    """A process that performs updates on request."""

    def __init__(self, arguments: list[str], threads: int, asleep: bool) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        environment["OMP_NUM_THREADS"] = str(threads)
        if asleep:
            environment["OMP_WAIT_POLICY"] = "PASSIVE"
        self.threads, self.asleep = threads, asleep
        command = [sys.executable, "-c", _CHILD, str(threads), *arguments]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self, seconds: float) -> float:
        """Let the process work for `seconds`. Returns its updates per second."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(seconds, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def answer() -> None:
    """The main function of the process. It reads seconds from each line of input, and prints the updates per second."""
    import time

    import torch

    from agents.training.thread_choice import update_and_act
    from configs import load
    from mario_env import observation_space

    threads, preset, *overrides = sys.argv[1:]
    torch.set_num_threads(int(threads))
    config = load(preset, overrides)
    work = update_and_act(config, observation_space(config.environment), 7)
    work()
    for line in sys.stdin:
        seconds, done, started = float(line), 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            work()
            done += 1
        print(done / (time.perf_counter() - started), flush=True)


def measure(learners: list[Learner], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """The best rate of each process, and its ratio to the process with one thread and the default policy."""
    rates = [0.0] * len(learners)
    for _ in range(rounds):
        rates = [max(rate, learner.rate(seconds)) for rate, learner in zip(rates, learners, strict=True)]
    return [
        {
            "threads": each.threads,
            "waits": "asleep" if each.asleep else "default",
            "updates_per_second": rate,
            "ratio": rate / rates[0],
        }
        for each, rate in zip(learners, rates, strict=True)
    ]


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="ppo")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    kinds = [(threads, asleep) for threads in sorted({1, os.cpu_count() or 1}) for asleep in (False, True)]
    learners = [Learner([arguments.preset, *arguments.overrides], *kind) for kind in kinds]
    counting: list[subprocess.Popen[bytes]] = []
    found: dict[str, Any] = {"load before": os.getloadavg()[0]}
    try:
        found["quiet"] = measure(learners, arguments.seconds, arguments.rounds)
        counting = [subprocess.Popen([sys.executable, "-c", _COUNT]) for _ in range(arguments.busy)]
        found["busy"] = measure(learners, arguments.seconds, arguments.rounds)
    finally:
        for learner in learners:
            learner.close()
        for process in counting:
            process.kill()
            process.wait()
    for name in ("quiet", "busy"):
        for each in found[name]:
            rate = f"{each['updates_per_second']:7.2f} updates/s  {each['ratio']:5.2f} x"
            print(f"{name:<6} {each['threads']} thread{'s' * (each['threads'] > 1):<2} waiting {each['waits']:<8} {rate}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
