"""What the start of an episode costs: at the level's start, along a demonstration, and by playing up to there.

    python -m benchmarks.starts [--level 1-3] [--rounds 20] [--json FILE]

For each observation the three take turns, so that other load on the machine hits all of them. `--json` writes the median
microseconds of each, and the ratios to a start at the level's start.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from configs import load
from mario_env import training_starts
from mario_env.games import Games
from mario_env.observations import OBSERVATIONS

_EACH = 20  # starts that are timed together


def measure(observation: str, level: str, rounds: int) -> dict[str, float]:
    """Median microseconds of a start: at the level's start, halfway along the demonstration, and by playing up to there."""
    world, stage = level.split("-")
    environment = [f"environment.world={world}", f"environment.stage={stage}", f"environment.observation={observation}"]
    environment += ["environment.actions=complex", "environment.crop_status_bar=false"]
    config = load("ppo", [*environment, "train.curriculum={window: 1, step: 1, elsewhere: 0.0}"])
    starts = training_starts(config)
    assert starts is not None
    assert starts.curriculum is not None
    (demonstration,) = starts.curriculum.demonstrations[level]
    half = len(demonstration) // 2
    starts.curriculum.set_json({level: {"at": half, "tries": []}})
    along = Games(config.environment, 1, seed=0, threads=1, starts=starts)
    plain = Games(config.environment, 1, seed=0, threads=1)

    def play_up_to_there() -> None:
        plain.reset(0)
        for action in demonstration[:half]:
            plain.step([action])

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "level's start": (lambda: plain.reset(0), _EACH),
        "demonstration": (lambda: along.reset(0), _EACH),
        "played": (play_up_to_there, 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (way, count) in ways.items():
            began = time.perf_counter()
            for _ in range(count):
                way()
            seconds[name].append((time.perf_counter() - began) / count)
    return {name: 1e6 * median(each) for name, each in seconds.items()}


def main() -> None:
    """Measure, and print a line for each observation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="1-3")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    found = {}
    for observation in OBSERVATIONS:
        micros = measure(observation, arguments.level, arguments.rounds)
        ratios = {name: each / micros["level's start"] for name, each in micros.items()}
        found[observation] = {"microseconds": micros, "ratios": ratios}
        shown = ", ".join(f"{name} {each:.0f} µs ({ratios[name]:.1f} ×)" for name, each in micros.items())
        sys.stdout.write(f"{observation}: {shown}\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
