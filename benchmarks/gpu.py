"""The speed of trainings on a GPU with many games, with and without what is special there.

    python -m benchmarks.gpu [--json FILE] [--device cuda] [--only ppo,pqn] [--games 512,1024,2048] [--steps 32]
                             [--seconds 20] [--rounds 3]

Ways of collecting a rollout that are compared:

- together: all games are played, then actions are chosen for all; stacks are gathered in main memory;
- on the device: the same, but frames are kept on the device, and stacks are gathered there;
- halves: as before, and one half of the games is played while actions are chosen for the other.

All ways of a preset continue the same training, in turns, in whole rollouts with their updates. The best round of each counts.
A rollout has `--steps` steps of each game; an epoch has eight batches. `GPU` is the share of the time in which the GPU
computes. It is sampled ten times a second, if NVIDIA's library can be asked (package nvidia-ml-py). The aim is 2 000 000 steps
in under 2 minutes, with `GPU` above 70 %.

Without a GPU this exits with status 2. `--device cpu --games 8 --steps 8 --seconds 1` tries the benchmark itself.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from threading import Event, Thread
from typing import Any, Final

import torch

from agents import build
from agents.rollouts import DeviceRolloutBuffer, FrameRolloutBuffer
from benchmarks.training import Pipeline, samples_per_step
from configs import load
from mario_env import make_training_vec

STEPS: Final = 2_000_000
BATCHES: Final = 8  # of an epoch


@dataclass
class Way:
    """A way of collecting rollouts, and its speed.

    Attributes:
        buffer: the class of its rollout buffer.
        in_halves: whether one half of the games is played while actions are chosen for the other.
        rates: steps per second of each round.
        busy: percent of the time in which the GPU computed, sampled.
    """

    buffer: type[FrameRolloutBuffer]
    in_halves: bool
    rates: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def apply(self, model: Any) -> None:
        """Make `model` collect its rollouts in this way."""
        old = model.rollout_buffer
        model.rollout_buffer = None  # the device has room for one
        model.in_halves, model.rollout_buffer_class = self.in_halves, self.buffer
        model.rollout_buffer = self.buffer(
            old.buffer_size, old.observation_space, old.action_space, old.device, old.gae_lambda, old.gamma, old.n_envs
        )

    def row(self) -> dict[str, float | None]:
        """Steps per second, seconds for 2 000 000 steps, and percent of the time in which the GPU computed."""
        best = max(self.rates)
        return {"steps/s": best, "seconds": STEPS / best, "gpu": mean(self.busy) if self.busy else None}


def ways() -> dict[str, Way]:
    """The ways that are compared, by name."""
    return {
        "together": Way(FrameRolloutBuffer, False),
        "on the device": Way(DeviceRolloutBuffer, False),
        "halves": Way(DeviceRolloutBuffer, True),
    }


def pipeline(preset: str, games: int, steps: int, device: str) -> Pipeline:
    """A training of a preset with many games and short rollouts."""
    overrides = [f"train.n_envs={games}", f"agent.n_steps={steps}", f"agent.batch_size={max(2, games * steps // BATCHES)}"]
    if preset.startswith("pqn"):
        overrides.append("agent.exploration_initial_eps=0.05")  # as after exploration has ended
    config = load(preset, overrides)
    model = build(config, make_training_vec(config), device=device)
    return Pipeline(model, None, samples_per_step(config))


def measure(training: Pipeline, seconds: float, rounds: int) -> dict[str, Way]:
    """Measure all ways in turns; the first round of each, of one rollout, does not count."""
    compared = ways()
    for turn in range(rounds + 1):
        for way in compared.values():
            way.apply(training.model)
            with utilisation() as samples:
                steps, taken = training.round(seconds if turn else 0.0)
            if turn:
                way.rates.append(steps / taken)
                way.busy += samples
    return compared


@contextmanager
def utilisation() -> Iterator[list[float]]:
    """A list that is filled with the percentages of the GPU's time spent computing; empty where it cannot be asked."""
    samples: list[float] = []
    ended = Event()

    def sample() -> None:
        while not ended.wait(0.1):
            try:
                samples.append(float(torch.cuda.utilization()))
            except Exception:  # the library is missing, or the driver does not answer
                return

    thread = Thread(target=sample, daemon=True)
    if torch.cuda.is_available():
        thread.start()
    try:
        yield samples
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", type=lambda text: text.split(","), default=["ppo", "pqn"])
    parser.add_argument("--games", type=lambda text: [int(each) for each in text.split(",")], default=[512, 1024, 2048])
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "torch sees no GPU here, so there is nothing to measure; --device cpu tries the benchmark itself\n")
    found: list[dict[str, Any]] = []
    sys.stdout.write(f"{'steps/s':>10}{'ratio':>8}{'to 2 000 000':>14}{'GPU':>7}\n")
    for preset in arguments.only:
        for games in arguments.games:
            training = pipeline(preset, games, arguments.steps, arguments.device)
            rows = {name: way.row() for name, way in measure(training, arguments.seconds, arguments.rounds).items()}
            if training.model.env is not None:
                training.model.env.close()
            for name, row in rows.items():
                ratio = row["steps/s"] / rows["together"]["steps/s"]  # type: ignore[operator]
                busy = "-" if row["gpu"] is None else f"{row['gpu']:.0f} %"
                figures = f"{row['steps/s']:10.0f}{ratio:8.2f}{row['seconds']:12.0f} s{busy:>7}"
                sys.stdout.write(f"{figures}  {preset}, {games} games, {name}\n")
                found.append({"preset": preset, "games": games, "way": name, "ratio": ratio, **row})
            sys.stdout.flush()
    if arguments.json is not None:
        device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
        report = {"device": device, "cores": os.cpu_count(), "steps": arguments.steps, "rows": found}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
