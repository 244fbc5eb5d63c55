"""The cost of durability: run as ``python -m benchmarks.durability [--json FILE] [--transitions 100000]``.

The replay buffer of the preset `dqn`, filled with random play of the real game, is written to disk uncompressed, as in
checkpoints, and deflated at two levels. Then whole checkpoints are written. All files are synced. Shares refer to a training
with `--rate` decisions per second.

All variants take turns, and the fastest round of each counts. Files are written below the working directory, whose disk is
measured.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from agents import build
from agents.checkpoints import save_checkpoint
from agents.progress import Counters
from agents.replay import FrameReplayBuffer, save_replay
from configs import Config, load
from mario_env import make_vec

KEPT: Final = "as it is"
LEVELS: Final = {"deflated, fastest": 1, "deflated": 6}


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--transitions", type=int, default=100_000, help="transitions in the replay buffer (default 100 000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=600.0, help="assumed decisions per second of the training (default 600)")
    options = parser.parse_args()
    size = f"={options.transitions}"
    config = load("dqn", [f"agent.buffer_size{size}", f"agent.learning_starts{size}", f"train.total_steps{size}"])
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=".") as folder:
        model = played(config)
        figures = replay(model, Path(folder), options.rounds)
        figures |= checkpoint(model, config, Path(folder), options.rounds, options.rate)
    for name, value in figures.items():
        sys.stdout.write(f"{name:56} {value:12.5g}\n")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def played(config: Config) -> OffPolicyAlgorithm:
    """An agent with a full replay buffer."""
    model = build(config, make_vec(config.environment, config.train.n_envs, seed=0), device="cpu")
    assert isinstance(model, OffPolicyAlgorithm)
    model.learn(config.train.total_steps)
    return model


def replay(model: OffPolicyAlgorithm, folder: Path, rounds: int) -> dict[str, float]:
    """The size of the replay buffer in each form, and the seconds to write and to read it."""
    plain, file = folder / "plain.npz", folder / "replay.npz"
    assert isinstance(model.replay_buffer, FrameReplayBuffer)
    save_replay(model.replay_buffer, plain)
    ways: dict[str, Callable[[], None]] = {KEPT: partial(save_replay, model.replay_buffer, file)}
    ways |= {name: partial(_deflate, plain, file, level) for name, level in LEVELS.items()}
    writing, reading, size = (dict.fromkeys(ways, float("inf")) for _ in range(3))
    for _ in range(rounds):
        for name, way in ways.items():
            writing[name] = min(writing[name], _seconds(way, partial(_sync, file)))
            reading[name] = min(reading[name], _seconds(partial(_read, file)))
            size[name] = file.stat().st_size / 1e6
            file.unlink()
    figures = {f"replay memory {name}: seconds to write": seconds for name, seconds in writing.items()}
    figures |= {f"replay memory {name}: seconds to read": seconds for name, seconds in reading.items()}
    figures |= {f"replay memory {name}: megabytes": megabytes for name, megabytes in size.items()}
    for name in LEVELS:
        figures[f"{name} over {KEPT}: time to write"] = writing[name] / writing[KEPT]
        figures[f"{name} over {KEPT}: size"] = size[name] / size[KEPT]
    return figures


def checkpoint(model: OffPolicyAlgorithm, config: Config, folder: Path, rounds: int, rate: float) -> dict[str, float]:
    """The seconds of a whole checkpoint with weights, optimiser, replay buffer and games, hashed and synced."""
    seconds = min(_seconds(partial(save_checkpoint, folder, config, model, Counters())) for _ in range(rounds))
    every = config.train.checkpoint_every
    return {"checkpoint: seconds": seconds, f"checkpoint each {every} decisions: share of time": seconds * rate / every}


def _deflate(source: Path, target: Path, level: int) -> None:
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as new,
    ):
        for name in old.namelist():
            with old.open(name) as member, new.open(name, "w", force_zip64=True) as copy:
                while piece := member.read(1 << 20):
                    copy.write(piece)


def _read(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                while member.read(1 << 20):
                    pass


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _seconds(*work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    for part in work:
        part()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
