"""The speed of whole trainings: the presets and the predecessor's pipeline, in one run.

    python -m benchmarks.training [--json FILE] [--seconds 10] [--rounds 3] [--only dqn,ppo] [--busy]
                                  [--variant "dqn train.n_envs=16 agent.batch_size=128"] …

The predecessor is stable-baselines3's DQN at its defaults (batch size 32, an update every fourth step, Nature CNN) on one
nes-py environment with Python wrappers, where every frame is a decision, as in the preset `baseline`. Its replay buffer has
only 10 000 transitions, to save memory. It is measured with torch's default number of threads and with one; ratios are over the
faster.

Before the first round, all trainings have filled their buffers and performed updates. Actions come from the network, as after
exploration has ended, which is nine tenths of a training. Whole rollouts with their updates are measured. All trainings take
turns, and the best round of each counts, because other programs on the machine can only slow it down. `samples` is the number
of samples in updates per environment step. A variant is a preset or a file with overrides, as for `mario run`.

The shares of acting, playing, learning and recording are those of `benchmarks.shares`. GFLOP/s are of learning; the peak beside
them is that of a large product in the same run, with as many threads (`benchmarks.learner`).

With `--busy` each training has as many turns beside two processes that never pause. `quiet_over_busy` is the speed of its best
quiet round over the mean of its busy rounds. The number of threads is the one that was chosen on the quiet machine.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gymnasium.spaces import Box

from agents import build
from agents.algorithms import steps_per_update
from agents.device import StopLearning, best_of, candidates, keep_freed_memory, torch_threads
from agents.training.thread_choice import measure_update
from benchmarks.learner import peak
from benchmarks.shares import Shares
from configs import Config, load, preset_names
from mario_env import make, make_training_vec

# This comes after the project's imports, which silence the notice of the old Gym.
from stable_baselines3 import DQN  # isort: skip
from stable_baselines3.common.base_class import BaseAlgorithm  # isort: skip
from stable_baselines3.common.callbacks import BaseCallback  # isort: skip
from stable_baselines3.common.logger import Logger  # isort: skip

WARM_UP: Final = 1_000  # transitions before the first update
FOR_EVER: Final = 10**9
PREDECESSOR: Final = "predecessor"
REFERENCE_PPO: Final = "ppo, reference environments"


class Until(BaseCallback):
    """Ends `learn` before a rollout when `enough` returns True."""

    def __init__(self, enough: Callable[[BaseAlgorithm], bool]) -> None:
        super().__init__()
        self._enough = enough

    def _on_rollout_start(self) -> None:
        if self._enough(self.model):
            raise StopLearning

    def _on_step(self) -> bool:
        return True


@dataclass
class Pipeline:
    """A training and its speed.

    Attributes:
        model: the algorithm with its environment.
        threads: torch's threads; None: torch's default.
        samples: samples in updates per environment step.
        keeps_memory: whether freed memory is kept, as in the project's trainings.
        best: steps per second in the best round.
        shares: what the rounds were spent on.
        busy: steps and seconds of all rounds on a busy machine.
    """

    model: BaseAlgorithm
    threads: int | None
    samples: float
    keeps_memory: bool = True
    best: float = 0.0
    busy: tuple[int, float] = (0, 0.0)

    def __post_init__(self) -> None:
        self.model.set_logger(Logger(folder=None, output_formats=[]))
        self.shares = Shares(self.model)

    def learn(self, enough: Callable[[BaseAlgorithm], bool]) -> None:
        """Continue the training until `enough` returns True."""
        try:
            with torch_threads(self.threads), keep_freed_memory() if self.keeps_memory else nullcontext():
                self.model.learn(FOR_EVER, Until(enough), log_interval=sys.maxsize, reset_num_timesteps=False)
        except StopLearning:
            pass

    def warm_up(self) -> None:
        """Train until there were three updates (with rollouts: one)."""
        updates = 1 if hasattr(self.model, "rollout_buffer") else 3
        self.learn(lambda model: model._n_updates >= updates)
        self.shares.reset()

    def round(self, seconds: float) -> tuple[int, float]:
        """Train for `seconds`, in whole rollouts; returns the steps and the seconds they took."""
        steps, started = self.model.num_timesteps, time.perf_counter()
        self.learn(lambda _: time.perf_counter() - started > seconds)
        return self.model.num_timesteps - steps, time.perf_counter() - started

    def quiet_round(self, seconds: float) -> None:
        """A round whose speed counts if it is the best."""
        steps, taken = self.round(seconds)
        self.best = max(self.best, steps / taken)
        self.shares.add(taken, steps)

    def busy_round(self, seconds: float) -> None:
        """A round on a busy machine; its shares do not count."""
        before = dict(self.shares.seconds)
        steps, taken = self.round(seconds)
        self.busy = (self.busy[0] + steps, self.busy[1] + taken)
        self.shares.seconds = before

    def figures(self) -> dict[str, float]:
        """The shares, and GFLOP/s with their ratio to the machine's peak."""
        with torch_threads(self.threads):
            highest = max(peak(time.perf_counter) for _ in range(5))
        return self.shares.row(self.samples, highest)


def predecessor(threads: int | None) -> Pipeline:
    """The pipeline that the project replaces."""
    config = load("baseline", ["environment.emulator=nes-py"])
    model = DQN(
        "CnnPolicy",
        make(config.environment),
        buffer_size=10_000,
        learning_starts=WARM_UP,
        exploration_initial_eps=0.01,
        exploration_final_eps=0.01,
    )
    return Pipeline(model, threads, model.batch_size / 4, keeps_memory=False)


def pipeline(preset: str, overrides: list[str]) -> Pipeline:
    """The training that `mario run` would run."""
    config = load(preset, overrides)
    # As after exploration has ended.
    started: dict[str, Any] = {"learning_starts": WARM_UP} if hasattr(config.agent, "learning_starts") else {}
    if hasattr(config.agent, "exploration_initial_eps"):
        started["exploration_initial_eps"] = config.agent.exploration_final_eps
    config = config.model_copy(update={"agent": config.agent.model_copy(update=started)})
    train = config.train
    env = make_training_vec(config)
    assert isinstance(env.observation_space, Box)
    n_actions = int(env.action_space.n)  # type: ignore[attr-defined]
    threads = train.torch_threads or _threads(config, env.observation_space, n_actions)
    return Pipeline(build(config, env, device="cpu"), threads, samples_per_step(config))


def _threads(config: Config, space: Box, n_actions: int) -> int:
    return best_of(measure_update(config, space, n_actions, candidates()))


def samples_per_step(config: Config) -> float:
    """The number of samples in updates per environment step."""
    return config.agent.batch_size / (steps_per_update(config) * config.train.n_envs)


def pipelines(only: list[str], variants: list[str]) -> dict[str, Pipeline]:
    """The trainings to measure, by name."""
    chosen = {PREDECESSOR: predecessor(None), f"{PREDECESSOR}, 1 thread": predecessor(1)}
    chosen |= {preset: pipeline(preset, []) for preset in only}
    if "ppo" in only:
        chosen[REFERENCE_PPO] = pipeline("ppo", ["environment.emulator=nes-py"])
    for variant in variants:
        preset, *overrides = shlex.split(variant)
        chosen[variant] = pipeline(preset, overrides)
    return chosen


def measure(trainings: dict[str, Pipeline], seconds: float, rounds: int, *, busy: bool) -> None:
    """Warm up all trainings and measure them in turns."""
    for training in trainings.values():
        training.warm_up()
    for _ in range(rounds):
        for training in trainings.values():
            training.quiet_round(seconds)
        if busy:
            with busy_machine():
                for training in trainings.values():
                    training.busy_round(seconds)


@contextmanager
def busy_machine() -> Iterator[None]:
    """Two processes that never pause, within the block."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ratios(trainings: dict[str, Pipeline]) -> dict[str, float]:
    """The ratios of the measured rates."""
    rates = {name: one.best for name, one in trainings.items()}
    before = max(rate for name, rate in rates.items() if name.startswith(PREDECESSOR))
    ours = {name: rate for name, rate in rates.items() if not name.startswith(PREDECESSOR) and name != REFERENCE_PPO}
    found = {f"{name}_over_predecessor": rate / before for name, rate in ours.items()}
    if REFERENCE_PPO in rates:
        found["ppo_over_reference_envs"] = rates["ppo"] / rates[REFERENCE_PPO]
    found |= {f"{name}_quiet_over_busy": one.best * one.busy[1] / one.busy[0] for name, one in trainings.items() if one.busy[0]}
    if {"ppo", "ppo-tiles"} <= rates.keys():
        found["ppo_tiles_over_ppo"] = rates["ppo-tiles"] / rates["ppo"]
    return found


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=lambda text: text.split(","), default=preset_names())
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--busy", action="store_true")
    arguments = parser.parse_args()
    measured = pipelines(arguments.only, arguments.variant)
    measure(measured, arguments.seconds, arguments.rounds, busy=arguments.busy)
    shares = {name: one.figures() for name, one in measured.items()}
    found = ratios(measured)
    names = list(next(iter(shares.values())))
    sys.stdout.write("\n" + "".join(f"{name:>10}" for name in ("steps/s", "samples", "threads", *names)) + "\n")
    for name, one in measured.items():
        row = [one.best, one.samples, one.threads or 0, *shares[name].values()]
        sys.stdout.write("".join(f"{value:10.2f}" for value in row) + f"  {name}\n")
    sys.stdout.write("\nratios\n" + "".join(f"  {value:9.2f}  {name}\n" for name, value in found.items()))
    for one in measured.values():
        if one.model.env is not None:
            one.model.env.close()
    if arguments.json is not None:
        figures: dict[str, Any] = {
            "rates": {name: one.best for name, one in measured.items()},
            "samples": {name: one.samples for name, one in measured.items()},
            "threads": {name: one.threads for name, one in measured.items()},
            "shares": shares,
            "ratios": found,
            "cores": os.cpu_count(),
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
