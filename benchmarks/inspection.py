"""How soon `mario inspect` shows something: run as ``python -m benchmarks.inspection [--json FILE] [--repeats N]``.

The episode completes 1-1 and is judged by the model `world-1-1`. Each repeat opens it again and measures what a browser waits
for:

- first picture: the episode is played again and taken apart, and its first sheet of screens is encoded;
- jump: a sheet from the middle is drawn from a snapshot and encoded; to compare, the game is played from its start to there;
- opinion: the scores and values of every decision; where the model looks, at one decision;
- file: the export, and its size.

The two kinds of jump take turns, so that their ratio holds on a busy machine too.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from agents import load_shipped
from benchmarks.finishes import read_plays
from configs import PROJECT
from inspection import Episode, Thinker, analyse, export, played_episode
from inspection.sheets import Pictures, level_map
from mario_env import EpisodeStart, play_back


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    agent = load_shipped(PROJECT / "models" / "world-1-1.json")
    *_, last = play_back(agent.config.environment, EpisodeStart(), read_plays()["1-1"])  # compiles, and gives the summary
    assert last.summary is not None
    episode = played_episode("play-1", agent.config, last.summary, {"name": "1-1"})
    figures = measure(episode, Thinker(agent, "world-1-1"), arguments.repeats)
    for name, value in figures.items():
        print(f"{name:42} {value:10.4g}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(episode: Episode, thinker: Thinker, repeats: int) -> dict[str, float]:
    """Medians in milliseconds, by name; and the size of the file in megabytes."""
    times: dict[str, list[float]] = {}

    def timed(name: str, act: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        result = act(*arguments)
        times.setdefault(f"{name}, ms", []).append(1000 * (time.perf_counter() - began))
        return result

    for repeat in range(repeats):
        analysis = timed("playing again and taking apart", analyse, episode)
        pictures = Pictures(analysis)
        timed("first sheet of screens", pictures.screen_sheet, 0)
        level_map.cache_clear()
        timed("picture of the level", level_map, "vanilla", "1-1")
        for part in range(1, 5):
            number = (part * pictures.screens.sheets // 5 + repeat) % pictures.screens.sheets
            timed("jump, from snapshots", pictures.screen_sheet, number)
            first = number * pictures.screens.per_sheet
            environment = episode.config.environment
            played = play_back(environment, episode.start, episode.actions, episode.delays)
            timed("jump, from the start", deque, islice(played, first + 1), 1)
        timed("opinion of every decision", thinker.think, analysis)
        timed("where the model looks", thinker.saliency, analysis, analysis.decisions // 2)
    with tempfile.TemporaryDirectory() as folder:
        file = timed("file", export, episode, Path(folder) / "episode.html", thinker)
        size = file.stat().st_size / 1e6
    figures = {name: statistics.median(values) for name, values in times.items()}
    both = figures["playing again and taking apart, ms"] + figures["first sheet of screens, ms"]
    ratio = figures["jump, from the start, ms"] / figures["jump, from snapshots, ms"]
    return {
        "frames": float(analysis.frames),
        "first picture, ms": both,
        **figures,
        "slowest jump, ms": max(times["jump, from snapshots, ms"]),
        "start / snapshots": ratio,
        "file, MB": size,
    }


if __name__ == "__main__":
    main()
