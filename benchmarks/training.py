"""The speed of whole trainings: the presets and the predecessor's pipeline, in one run.

    python -m benchmarks.training [--json FILE] [--seconds 10] [--rounds 3] [--only dqn,ppo]
                                  [--variant "dqn train.n_envs=16 agent.batch_size=128"] …

The predecessor is stable-baselines3's DQN at its defaults (batch size 32, an update every fourth step, Nature CNN) on one
nes-py environment with Python wrappers, where every frame is a decision, as in the preset `baseline`. Its replay buffer has
only 10 000 transitions, to save memory. It is measured with torch's default number of threads and with one; ratios are over the
faster.

Before the first round, all trainings have filled their buffers and performed updates. Actions come from the network, as after
exploration has ended, which is nine tenths of a training. Whole rollouts with their updates are measured. All trainings take
turns, and the best round of each counts, because other programs on the machine can only slow it down. `samples` is the number
of samples in updates per environment step. A variant is a preset or a file with overrides, as for `mario run`.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gymnasium.spaces import Box

from agents import build
from agents.algorithms import steps_per_update
from agents.device import StopLearning, best_of, candidates, torch_threads
from agents.training.thread_choice import measure_update
from configs import Config, load
from configs.schema import PPOConfig
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
        best: steps per second in the best round.
    """

    model: BaseAlgorithm
    threads: int | None
    samples: float
    best: float = 0.0

    def __post_init__(self) -> None:
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    def learn(self, enough: Callable[[BaseAlgorithm], bool]) -> None:
        """Continue the training until `enough` returns True."""
        try:
            with torch_threads(self.threads):
                self.model.learn(FOR_EVER, Until(enough), log_interval=sys.maxsize, reset_num_timesteps=False)
        except StopLearning:
            pass

    def warm_up(self) -> None:
        """Train until there were three updates (PPO: one)."""
        updates = 1 if hasattr(self.model, "rollout_buffer") else 3
        self.learn(lambda model: model._n_updates >= updates)

    def round(self, seconds: float) -> None:
        """Train for `seconds`, in whole rollouts, and keep the best speed."""
        steps, started = self.model.num_timesteps, time.perf_counter()
        self.learn(lambda _: time.perf_counter() - started > seconds)
        self.best = max(self.best, (self.model.num_timesteps - steps) / (time.perf_counter() - started))


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
    return Pipeline(model, threads, model.batch_size / 4)


def pipeline(preset: str, overrides: list[str]) -> Pipeline:
    """The training that `mario run` would run."""
    config = load(preset, overrides)
    if not isinstance(config.agent, PPOConfig):
        started = {"learning_starts": WARM_UP, "exploration_initial_eps": config.agent.exploration_final_eps}
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


def measure(trainings: dict[str, Pipeline], seconds: float, rounds: int) -> None:
    """Warm up all trainings, measure them in turns, and close their environments."""
    for training in trainings.values():
        training.warm_up()
    for _ in range(rounds):
        for training in trainings.values():
            training.round(seconds)
    for training in trainings.values():
        if training.model.env is not None:
            training.model.env.close()


def ratios(rates: dict[str, float]) -> dict[str, float]:
    """The ratios of the measured rates."""
    before = max(rate for name, rate in rates.items() if name.startswith(PREDECESSOR))
    found = {
        f"{name}_over_predecessor": rate / before for name, rate in rates.items() if not name.startswith(("ppo", PREDECESSOR))
    }
    if REFERENCE_PPO in rates:
        found["ppo_over_reference_envs"] = rates["ppo"] / rates[REFERENCE_PPO]
    if {"ppo", "ppo-tiles"} <= rates.keys():
        found["ppo_tiles_over_ppo"] = rates["ppo-tiles"] / rates["ppo"]
    return found


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=lambda text: text.split(","), default=["baseline", "dqn", "qrdqn", "ppo"])
    parser.add_argument("--variant", action="append", default=[])
    arguments = parser.parse_args()
    measured = pipelines(arguments.only, arguments.variant)
    measure(measured, arguments.seconds, arguments.rounds)
    rates = {name: one.best for name, one in measured.items()}
    found = ratios(rates)
    sys.stdout.write("\nsteps/s and samples per step\n")
    sys.stdout.write("".join(f"  {rate:9.1f} {measured[name].samples:7.2f}  {name}\n" for name, rate in rates.items()))
    sys.stdout.write("\nratios\n" + "".join(f"  {value:9.2f}  {name}\n" for name, value in found.items()))
    if arguments.json is not None:
        figures: dict[str, Any] = {
            "rates": rates,
            "samples": {name: one.samples for name, one in measured.items()},
            "ratios": found,
            "cores": os.cpu_count(),
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
