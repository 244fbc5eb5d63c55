"""A comparison of settings by short trainings: their learning curves, and an evaluation of the final agents.

    python -m benchmarks.settings PRESET [--set section.key=value] … [--episodes 50] [--bin 50000] [--json FILE]

The training is that of the pipeline (`agents.train`) without servers: episodes are counted instead of stored, and only the
figures are kept. A line is printed every `--bin` steps: the number of episodes, the mean and the quartiles of their distances
in pixels, and the number of completed levels. Then the agent plays under the given protocols. One seed is one sample: another
seed may give a very different result.
"""

import argparse
import json
import logging
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents import PlayedEpisode, TrainingResult, load_agent, play_episodes, train
from configs import PROTOCOLS, Config, load
from mario_env import make_training_vec


@dataclass(frozen=True)
class Stretch:
    """The figures of the episodes that ended in one part of the training; distances in pixels."""

    until: int
    episodes: int
    mean: float
    quartiles: tuple[float, float, float]
    furthest: int
    completed: int
    decisions: float  # mean length of an episode


@dataclass
class Curve:
    """Collects the episodes of a training, and prints a line for each part of it."""

    width: int
    stretches: list[Stretch] = field(default_factory=list)
    _pending: list[PlayedEpisode] = field(default_factory=list)

    def add(self, episode: PlayedEpisode) -> None:
        """Add an episode. Episodes must be added in the order of their ends."""
        if self._pending and episode.global_step // self.width > self._pending[0].global_step // self.width:
            self.close()
        self._pending.append(episode)

    def close(self) -> None:
        """End the current part."""
        if not self._pending:
            return
        until = (self._pending[0].global_step // self.width + 1) * self.width
        self.stretches.append(summary(until, self._pending))
        self._pending = []
        sys.stdout.write(line(self.stretches[-1]))
        sys.stdout.flush()


def summary(until: int, episodes: list[PlayedEpisode]) -> Stretch:
    """The figures of some episodes."""
    distances = np.array([episode.summary.distance_traveled for episode in episodes])
    lower, middle, upper = (float(value) for value in np.percentile(distances, (25, 50, 75)))
    return Stretch(
        until,
        len(episodes),
        float(distances.mean()),
        (lower, middle, upper),
        int(distances.max()),
        sum(episode.summary.level_completed for episode in episodes),
        float(np.mean([episode.summary.steps for episode in episodes])),
    )


def line(stretch: Stretch) -> str:
    """Format a stretch as a line."""
    lower, middle, upper = stretch.quartiles
    return (
        f"  until {stretch.until:>9,}: {stretch.episodes:5d} episodes of {stretch.decisions:4.0f} decisions, "
        f"{stretch.mean:5.0f} px ({lower:.0f} | {middle:.0f} | {upper:.0f}, furthest {stretch.furthest}), "
        f"{stretch.completed} completed\n"
    )


def learn(config: Config, directory: Path, curve: Curve) -> TrainingResult:
    """Run the training of `config`."""
    training = config.train
    env = make_training_vec(config)
    try:
        result = train(config, env=env, directory=directory, on_episode=curve.add, total_steps=training.total_steps)
    finally:
        env.close()
    curve.close()
    return result


def judge(config: Config, model: Path, episodes: int) -> dict[str, Stretch]:
    """Evaluate the model under the protocols of the configuration. Returns the figures by protocol."""
    agent = load_agent(model)
    evaluate = config.evaluate.model_copy(update={"episodes": episodes, "n_envs": min(episodes, 10)})
    judged: dict[str, Stretch] = {}
    for protocol in evaluate.protocols:
        played: list[PlayedEpisode] = []
        play_episodes(agent, config.environment, protocol, evaluate, seed=config.seed, on_episode=played.append)
        judged[protocol] = summary(agent.manifest.steps, played)
        sys.stdout.write(f"{protocol:>10}: {line(judged[protocol]).split(': ', 1)[1]}")
    return judged


def main() -> None:
    """Run the training and the evaluation of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--protocols", type=lambda text: text.split(","), default=["greedy", "stochastic", "sticky"])
    parser.add_argument("--bin", type=int, default=50_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.protocols) - set(PROTOCOLS):
        parser.error(f"--protocols: {', '.join(sorted(unknown))}: the protocols are {', '.join(PROTOCOLS)}")
    # These keys do not affect learning. train.total_steps does, because it determines the slope of schedules.
    protocols = "evaluate.protocols=[" + ", ".join(arguments.protocols) + "]"
    quiet = ["train.progress_bar=false", "train.statistics_every=1000000000", "train.checkpoint_every=1000000000"]
    config = load(arguments.preset, [*quiet, protocols, *arguments.overrides])
    curve = Curve(arguments.bin)
    sys.stdout.write(f"{arguments.preset} {' '.join(arguments.overrides)}\n")
    with tempfile.TemporaryDirectory() as directory:
        result = learn(config, Path(directory), curve)
        sys.stdout.write(f"{result.steps:,} steps in {result.seconds:.0f} s: {result.steps / result.seconds:.0f}/s\n")
        assert result.model_path is not None, "the training was interrupted"
        judged = judge(config, result.model_path, arguments.episodes)
    if arguments.json is not None:
        figures: dict[str, Any] = {
            "preset": arguments.preset,
            "overrides": arguments.overrides,
            "steps_per_second": result.steps / result.seconds,
            "curve": [asdict(stretch) for stretch in curve.stretches],
            "judged": {name: asdict(stretch) for name, stretch in judged.items()},
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
