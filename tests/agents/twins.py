"""Small trainings on the real game that tests compare bit for bit: tiny networks, short episodes, every kind of randomness."""

import hashlib
import json
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toy_game import AGENTS

from agents import Agent, PlayedEpisode, Progress, Teachers, TrainingResult, build, latest_checkpoint, load_agent, train
from agents.policies import save_model
from configs import Config, from_dict
from mario_env import make_training_vec
from mario_env.demonstrations import FINISHES

TOTAL = 420
EVERY = 90

_VALUES = {
    "buffer_size": 240,
    "learning_starts": 60,
    "batch_size": 8,
    "train_freq": 2,
    "target_update_interval": 60,
    "gamma": 0.9,
}
# Exploration decreases over most of the training, so that both kinds of action occur before and after every interruption.
_VALUES |= {"exploration_fraction": 0.9, "exploration_final_eps": 0.2}

VARIANTS: dict[str, dict[str, Any]] = {
    "dqn": {"learning_rate": {"start": 1e-3, "end": 1e-4}},
    "dqn, every switch": {"double": True, "dueling": True, "prioritised": {}, "n_steps": 3},
    "qrdqn, every switch": {
        "double": True,
        "dueling": True,
        "noisy": True,
        "prioritised": {},
        "n_steps": 3,
        "gradient_steps": 2,
    },
    "ppo": {"n_steps": 16, "batch_size": 24, "n_epochs": 2, "learning_rate": {"start": 1e-3, "end": 1e-4}, "ent_coef": 0.01},
    "ppo, two threads": {"n_steps": 16, "batch_size": 48},  # large enough for two shares of a batch
    "ppo, averaged": {"n_steps": 16, "batch_size": 24, "average_decay": 0.9},
    "pqn": {"gamma": 0.9, "exploration_fraction": 0.9, "exploration_final_eps": 0.2},
    "pqn, every switch": {
        "gamma": 0.9,
        "dueling": True,
        "munchausen": {},
        "average_decay": 0.9,
        "exploration_fraction": 0.9,
        "exploration_final_eps": 0.2,
        "exploration_highest_eps": 0.5,
        "exploration_zeta": 2.0,
    },
}
VARIANTS["dqn, curriculum"] = VARIANTS["dqn"]
VARIANTS["ppo, tiles"] = VARIANTS["ppo, levels"] = VARIANTS["ppo, taught"] = VARIANTS["ppo"]

# Another play that completes 1-3, besides the one that comes with the project.
_ANOTHER = (
    "3333333334666664444444444414443333334444444444055533311133444444443333444444333333333333333334444444"
    "4434443333344444446666333322233333335333333332223333444444443333333334333334444444440444444444444344"
    "444444444444444"
)
# Further values of the sections `environment` and `train`.
_CURRICULUM = {"window": 3, "step": 2, "tries": 2, "threshold": 0.5, "elsewhere": 0.3, "from_start": 0.2}
SECTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "dqn, curriculum": {
        "environment": {"world": 1, "stage": 3},
        "train": {"curriculum": _CURRICULUM | {"demonstrations": {"1-3": [json.loads(FINISHES.read_text())["1-3"], _ANOTHER]}}},
    },
    "ppo, taught": {
        "environment": {"levels": ["1-1", "1-2"]},
        "train": {"teacher": {"experiment": "teachers-{level}", "weight": {"start": 1.0, "end": 0.1}}},
    },
    "ppo, levels": {
        "environment": {"levels": ["1-1", "1-2", "4-2"]},
        "train": {"level_sampling": "failure", "curriculum": _CURRICULUM | {"tries": 4, "from_start": 0.5}},
    },
}


def twin_config(variant: str, **training: Any) -> Config:
    algorithm = variant.split(",")[0]
    agent = AGENTS[algorithm] | (_VALUES if "buffer_size" in AGENTS[algorithm] else {}) | VARIANTS[variant]
    seen, features = ("tiles", "tiles") if "tiles" in variant else ("frames", "small")
    more = SECTIONS.get(variant, {"environment": {}, "train": {}})
    environment = {"observation": seen, "stall_after": 9, "max_steps": 20, "noop_frames": 12, "sticky_actions": 0.25}
    values: dict[str, Any] = {
        "name": "twin",
        "seed": 5,
        "environment": {**environment, **more["environment"]},
        "agent": {**agent, "network": {"features": features, "features_dim": 16, "layer_norm": algorithm == "pqn"}},
        "train": {
            "n_envs": 3,
            "progress_bar": False,
            "keep_awake": False,
            "device": "cpu",
            "torch_threads": 2 if "two threads" in variant else 1,
            "checkpoint_every": EVERY,
            **more["train"],
            **training,
        },
    }
    return from_dict(values, source="twin")


class Killed(BaseException):
    """Ends a training at once, as SIGKILL does: no handler catches it."""


def kill_at(steps: int) -> Callable[[Progress], bool]:
    def look(progress: Progress) -> bool:
        if progress.steps >= steps:
            raise Killed
        return False

    return look


def signal_at(steps: int) -> Callable[[Progress], bool]:
    def look(progress: Progress) -> bool:
        if progress.steps == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    return look


class Record:
    """Episodes by environment and index, as in Postgres: the first row for a key stays.

    Attributes:
        rows: the rows by key.
        replayed: how many episodes were passed again.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], dict[str, Any]] = {}
        self.replayed = 0

    def __call__(self, episode: PlayedEpisode) -> None:
        row = to_row(episode)
        key = (episode.env_index, episode.episode_index)
        self.replayed += key in self.rows
        assert self.rows.setdefault(key, row) == row, f"episode {key} differs from the one that was played first"


def to_row(episode: PlayedEpisode) -> dict[str, Any]:
    """All recorded values except times."""
    row = {**asdict(episode), **asdict(episode.summary)}
    for name in ("summary", "timestamp", "duration_seconds"):
        del row[name]
    start = episode.summary.start.to_json()
    return {**row, "start": start, "actions": row["actions"].hex(), "delays": row["delays"].hex()}


def untrained_teacher(seed: int, variant: str = "ppo, tiles") -> Agent:
    """An agent with the weights that its seed gives."""
    config = twin_config(variant).model_copy(update={"seed": seed})
    env = make_training_vec(config)
    model = build(config, env, device="cpu")
    env.close()
    with tempfile.TemporaryDirectory() as folder:
        return load_agent(save_model(Path(folder), config, model))


def teachers_of(config: Config) -> Teachers:
    """Another untrained teacher for each level."""
    return Teachers({level: untrained_teacher(seed) for seed, level in enumerate(config.environment.level_names)}, config)


def run(config: Config, directory: Path, on_episode: Any, *, total: int = TOTAL, **more: Any) -> TrainingResult:
    if config.train.teacher is not None:
        more.setdefault("teachers", teachers_of(config))
    env = make_training_vec(config)
    try:
        return train(config, env=env, directory=directory, on_episode=on_episode, total_steps=total, **more)
    finally:
        env.close()


def digest(directory: Path) -> str:
    """SHA-256 of all weights of the final model."""
    weights = load_agent(directory / "model").model.state_dict()
    return hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()


def outcome(directory: Path, result: TrainingResult, record: Record) -> dict[str, Any]:
    """Everything that must be equal in an interrupted training and its uninterrupted twin."""
    checkpoint = latest_checkpoint(directory)
    assert checkpoint is not None
    return {
        "weights": digest(directory),
        "rows": record.rows,
        "counts": (result.steps, result.frames, result.episodes, result.reward_sum),
        "state": (checkpoint.path / "state.json").read_text(),
    }
