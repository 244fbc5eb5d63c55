"""What is part of an experiment, and what may change while it goes on."""

import hashlib
import json
from typing import Any

import pytest
from pydantic import BaseModel

from configs import config_hash, load, to_dict
from configs.schema import Config, computed

FREE = [
    "name=other",
    "description=other",
    "train.device=cuda",
    "train.torch_threads=7",
    "train.keep_checkpoints=9",
    "train.milestones=[5_000]",
    "train.checkpoint_replay_buffer=false",
    "train.statistics_every=77",
    "train.statistics_seconds=99.0",
    "train.progress_bar=false",
    "train.keep_awake=false",
    "episodes.store_actions=false",
    "tracking.experiment=other",
    "tracking.system_metrics=false",
    "report.video=false",
    "retry.attempts=9",
    "retry.worker_timeout=5.0",
]


@pytest.mark.parametrize("override", FREE)
def test_a_key_that_changes_nothing_computed_may_change(override: str) -> None:
    assert to_dict(load("ppo", [override])) != to_dict(load("ppo"))
    assert config_hash(load("ppo", [override])) == config_hash(load("ppo"))


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "environment.stage=2",
        "environment.reward.death=0.0",
        "agent.gamma=0.8",
        "agent.network.features_dim=128",
        "agent.learning_rate=1e-4",
        "train.total_steps=3_000_000",
        "train.n_envs=8",
        "train.precision=bfloat16",
        "train.checkpoint_every=50_000",
        "train.validation.episodes=3",
        "evaluate.episodes=3",
    ],
)
def test_a_key_that_changes_results_may_not(override: str) -> None:
    assert config_hash(load("ppo", [override])) != config_hash(load("ppo"))


def test_an_extended_experiment_is_still_the_one_that_was_begun() -> None:
    extended = load("ppo", ["train.total_steps=3_000_000", "train.planned_steps=2_000_000"])
    assert config_hash(extended) == config_hash(load("ppo"))


def test_every_key_is_either_computed_with_or_aside() -> None:
    """A new key counts, unless the schema says otherwise: forgetting to say so only refuses a continuation."""
    aside = _paths(to_dict(load("ppo"))) - _paths(computed(load("ppo")))
    sections = {path.split(".")[0] for path in aside}
    assert sections == {"name", "description", "train", "evaluate", "episodes", "tracking", "report", "retry"}
    assert {path for path in aside if path.startswith("evaluate.")} == {"evaluate.n_envs"}
    assert _paths(computed(load("ppo"))) >= {f"agent.{name}" for name in to_dict(load("ppo"))["agent"] if name != "network"} - {
        "agent.learning_rate",
        "agent.ent_coef",
    }


def by_the_old_rule(config: Config) -> str:
    """As earlier versions hashed: all keys but names and when workers restart."""
    values = to_dict(config)
    del values["name"], values["description"], values["retry"]["worker_timeout"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def test_the_old_rule_gave_another_hash() -> None:
    assert by_the_old_rule(load("ppo")) != config_hash(load("ppo"))


def _paths(values: Any, prefix: str = "") -> set[str]:
    if isinstance(values, BaseModel) or not isinstance(values, dict):
        return {prefix.rstrip(".")}
    return {path for name, value in values.items() for path in _paths(value, f"{prefix}{name}.")}
