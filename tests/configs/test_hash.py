"""The configuration hash: it covers the keys that determine results, and no others."""

import hashlib
import json
from typing import Any

import pytest
from pydantic import BaseModel

from configs import config_hash, from_dict, load, to_dict
from configs.hashing import hashed_values
from configs.schema import Config

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
    "tracking.videos=false",
    "tracking.parent_run='0123456789abcdef0123456789abcdef'",
    "report.video=false",
    "retry.attempts=9",
    "retry.worker_timeout=5.0",
]


@pytest.mark.parametrize("override", FREE)
def test_a_key_that_does_not_affect_results_does_not_change_the_hash(override: str) -> None:
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
        "train.checkpoint_every=50_000",
        "train.validation.episodes=3",
        "evaluate.episodes=3",
        "environment.levels=[1-1, 1-2]",
        "evaluate.levels=[1-2]",
        "train.curriculum={}",
    ],
)
def test_a_key_that_affects_results_changes_the_hash(override: str) -> None:
    assert config_hash(load("ppo", [override])) != config_hash(load("ppo"))


def test_an_extension_does_not_change_the_hash() -> None:
    extended = load("ppo", ["train.total_steps=3_000_000", "train.planned_steps=1_000_000"])
    assert config_hash(extended) == config_hash(load("ppo"))


def test_every_key_is_hashed_unless_it_is_runtime_only() -> None:
    """A new key is hashed by default. If its author forgets `runtime_only`, the worst result is a refused continuation."""
    left_out = _paths(to_dict(load("ppo"))) - _paths(hashed_values(load("ppo")))
    sections = {path.split(".")[0] for path in left_out}
    # Some fields were added, and have their defaults.
    assert sections - {"environment", "agent"} == {
        "name",
        "description",
        "train",
        "evaluate",
        "episodes",
        "tracking",
        "report",
        "retry",
    }
    assert {path for path in left_out if path.startswith("evaluate.")} == {"evaluate.n_envs", "evaluate.levels"}
    sections_of_agent, added = {"network", "learning_rate", "ent_coef"}, {"average_decay"}
    agent = {f"agent.{name}" for name in to_dict(load("ppo"))["agent"] if name not in sections_of_agent | added}
    assert _paths(hashed_values(load("ppo"))) >= agent


def test_an_added_key_is_hashed_unless_it_has_its_default() -> None:
    """The hash of an experiment that is older than the key stays the same."""
    environment = load("ppo").environment
    assert "observation" not in hashed_values(load("ppo"))["environment"]
    other = load("ppo").model_copy(update={"environment": environment.model_copy(update={"observation": "other"})})
    assert hashed_values(other)["environment"]["observation"] == "other"
    assert config_hash(other) != config_hash(load("ppo"))


def test_a_stored_configuration_without_an_added_key_has_its_default() -> None:
    values = to_dict(load("ppo"))
    del values["environment"]["observation"]
    assert from_dict(values, "experiment old") == load("ppo")


def old_hash(config: Config) -> str:
    """The hash of earlier versions, which covered all keys except names and the restarts of workers."""
    values = to_dict(config)
    del values["name"], values["description"], values["retry"]["worker_timeout"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def test_earlier_versions_computed_another_hash() -> None:
    assert old_hash(load("ppo")) != config_hash(load("ppo"))


def _paths(values: Any, prefix: str = "") -> set[str]:
    if isinstance(values, BaseModel) or not isinstance(values, dict):
        return {prefix.rstrip(".")}
    return {path for name, value in values.items() for path in _paths(value, f"{prefix}{name}.")}
