"""PPO's updates and metrics are those of stable-baselines3, bit for bit."""

from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger
from torch.distributions import Distribution
from toy_game import toy_config, toy_vec

from agents import build
from agents.algorithms.ppo import PPO

SWITCHES: list[dict[str, Any]] = [
    {},
    {"normalize_advantage": False, "vf_coef": 0.7, "max_grad_norm": 0.01},
    {"clip_range_vf": 0.01, "clip_range": {"start": 0.02, "end": 0.01}},
    {"target_kl": 1e-5, "learning_rate": 3e-3},
    {"batch_size": 127},  # the last batch has one sample
]


class Library(PPO):
    """PPO with the updates of stable-baselines3."""

    def train(self) -> None:
        self.ent_coef = self.ent_coef_schedule(self._current_progress_remaining)
        self.logger.record("train/ent_coef", self.ent_coef)
        stable_baselines3.PPO.train(self)


def trained(library: bool, agent: dict[str, Any]) -> tuple[PPO, list[dict[str, Any]]]:
    """PPO after three rollouts, and its metrics after each."""
    switches = {"gamma": 0.9, "ent_coef": {"start": 0.1, "end": 0.0}, "learning_rate": 1e-3, **agent}
    model = build(toy_config("ppo", agent=switches), toy_vec(), device="cpu")
    assert isinstance(model, PPO)
    if library:
        model.__class__ = Library
    model.set_logger(Logger(folder=None, output_formats=[]))
    metrics, train = [], model.train

    def remembering() -> None:
        train()
        metrics.append({name: value for name, value in model.logger.name_to_value.items() if name.startswith("train/")})

    model.train = remembering  # type: ignore[method-assign]
    model.learn(3 * 128, log_interval=1_000)
    return model, metrics


@pytest.mark.parametrize("agent", SWITCHES)
def test_updates_and_metrics_are_those_of_the_library(agent: dict[str, Any]) -> None:
    (ours, found), (theirs, expected) = trained(False, agent), trained(True, agent)

    assert found == expected
    assert len(found) == 3
    assert found[0]["train/approx_kl"] != found[1]["train/approx_kl"]
    assert found[-1]["train/clip_fraction"] > 0 or "clip_range" not in agent
    if "target_kl" in agent:
        assert ours._n_updates < 3 * ours.n_epochs
    for name, weights in ours.policy.state_dict().items():
        assert torch.equal(weights, theirs.policy.state_dict()[name]), name


def test_numbers_are_read_once_a_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is waited for when a number is read from it."""
    model, _ = trained(False, {})
    reads = []
    for name in ("item", "tolist", "__float__", "__bool__", "cpu", "numpy"):
        read = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, *_, name=name, read=read: reads.append(name) or read(tensor))
    model.device = torch.device("cuda")  # everything is on the CPU; what `train` does is that for a GPU
    PPO.train(model)

    assert Distribution._validate_args
    assert reads == ["cpu", "numpy"]
    assert np.isfinite(model.logger.name_to_value["train/loss"])
