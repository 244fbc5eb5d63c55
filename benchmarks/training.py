"""How fast training is, end to end: the presets against the predecessor's pipeline, in one run.

    python -m benchmarks.training [--json FILE] [--seconds 10] [--rounds 3] [--only dqn,ppo]
                                  [--variant "dqn train.n_envs=16 agent.batch_size=128"] …

The predecessor is stable-baselines3's DQN at its defaults (batch 32, an update after each fourth step, Nature CNN) on one
nes-py environment with Python wrappers, every frame a decision, as in the preset `baseline`. Its memory is of 10 000
transitions, for the sake of the machine's. It is measured with torch's own number of threads and with one; ratios are over the
faster.

Every step that counts is one that is learned from: before the first round all have filled what they learn from and have been
updated, and actions are the network's, as they are when exploration has ended (nine tenths of a training). Whole rollouts are
measured, updates included. All take turns, and the best round of each counts, since whatever else runs on the machine can only
slow it down. `samples` are those that an algorithm is updated with for each step of one game. A variant is a preset, or a file,
and what is set otherwise, as `mario run` takes it.
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
from agents.device import StopLearning, best_of, candidates, torch_threads
from agents.training.thread_choice import measure_update
from configs import Config, load
from configs.schema import PPOConfig
from mario_env import make, make_vec

# After the project's, which silences the old Gym's notice.
from stable_baselines3 import DQN  # isort: skip
from stable_baselines3.common.base_class import BaseAlgorithm  # isort: skip
from stable_baselines3.common.callbacks import BaseCallback  # isort: skip
from stable_baselines3.common.logger import Logger  # isort: skip

WARM_UP: Final = 1_000  # transitions before the first update
FOR_EVER: Final = 10**9
PREDECESSOR: Final = "predecessor"
REFERENCE_PPO: Final = "ppo, reference environments"


class Until(BaseCallback):
    """Ends `learn` between an update and a rollout, when `enough` says so."""

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
    """A training, and how fast it was in its best round."""

    model: BaseAlgorithm
    threads: int | None
    samples: float
    best: float = 0.0

    def __post_init__(self) -> None:
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    def learn(self, enough: Callable[[BaseAlgorithm], bool]) -> None:
        """Go on with the training until `enough`."""
        try:
            with torch_threads(self.threads):
                self.model.learn(FOR_EVER, Until(enough), log_interval=sys.maxsize, reset_num_timesteps=False)
        except StopLearning:
            pass

    def warm_up(self) -> None:
        """Until it learns, and has done so a few times (PPO: once)."""
        updates = 1 if hasattr(self.model, "rollout_buffer") else 3
        self.learn(lambda model: model._n_updates >= updates)

    def round(self, seconds: float) -> None:
        """Train for so long, in whole rollouts."""
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
    """A training as `mario run` builds it."""
    config = load(preset, overrides)
    if not isinstance(config.agent, PPOConfig):
        started = {"learning_starts": WARM_UP, "exploration_initial_eps": config.agent.exploration_final_eps}
        config = config.model_copy(update={"agent": config.agent.model_copy(update=started)})
    train = config.train
    env = make_vec(config.environment, train.n_envs, seed=config.seed, threads=train.game_threads)
    assert isinstance(env.observation_space, Box)
    n_actions = int(env.action_space.n)  # type: ignore[attr-defined]
    threads = train.torch_threads or _threads(config, env.observation_space, n_actions)
    return Pipeline(build(config, env, device="cpu"), threads, samples_per_step(config))


def _threads(config: Config, space: Box, n_actions: int) -> int:
    return best_of(measure_update(config, space, n_actions, candidates()))


def samples_per_step(config: Config) -> float:
    """How many samples an algorithm is updated with, for each step of one game."""
    agent = config.agent
    if isinstance(agent, PPOConfig):
        return float(agent.n_epochs)
    return agent.batch_size * agent.gradient_steps / (agent.train_freq * config.train.n_envs)


def pipelines(only: list[str], variants: list[str]) -> dict[str, Pipeline]:
    """All that are measured, by name."""
    chosen = {PREDECESSOR: predecessor(None), f"{PREDECESSOR}, 1 thread": predecessor(1)}
    chosen |= {preset: pipeline(preset, []) for preset in only}
    if "ppo" in only:
        chosen[REFERENCE_PPO] = pipeline("ppo", ["environment.emulator=nes-py"])
    for variant in variants:
        preset, *overrides = shlex.split(variant)
        chosen[variant] = pipeline(preset, overrides)
    return chosen


def measure(all_of_them: dict[str, Pipeline], seconds: float, rounds: int) -> None:
    """Warm up, take turns, and end."""
    for one in all_of_them.values():
        one.warm_up()
    for _ in range(rounds):
        for one in all_of_them.values():
            one.round(seconds)
    for one in all_of_them.values():
        if one.model.env is not None:
            one.model.env.close()


def ratios(rates: dict[str, float]) -> dict[str, float]:
    """Of the rates that were measured."""
    before = max(rate for name, rate in rates.items() if name.startswith(PREDECESSOR))
    found = {
        f"{name}_over_predecessor": rate / before for name, rate in rates.items() if not name.startswith(("ppo", PREDECESSOR))
    }
    if REFERENCE_PPO in rates:
        found["ppo_over_reference_envs"] = rates["ppo"] / rates[REFERENCE_PPO]
    return found


def main() -> None:
    """Measure and report as the command line says."""
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
    sys.stdout.write("\nsteps/s and samples a step\n")
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
