"""Losses that are read seldom, as on a GPU: the same learning, the same mean, and no number goes unnoticed for long."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import KVWriter, Logger
from toy_game import toy_config, toy_vec

from agents import NonFiniteError, algorithms, train
from agents.algorithms import algorithm_arguments, algorithm_class, build
from agents.callbacks import FiniteGuard
from agents.deferred_losses import LOSSES_ON_A_GPU, losses_kept
from agents.exact_length import ExactDQN, ExactPPO, ExactQRDQN
from agents.prioritised_learning import PrioritisedDQN
from agents.progress import Tally
from agents.reporting import Statistics
from agents.rollout import ChannelsLastDeviceRolloutBuffer, ChannelsLastRolloutBuffer, DeviceRolloutBuffer
from agents.value_learning import DoubleDQN, SampledDQN, SampledQRDQN


@pytest.mark.parametrize(
    ("algorithm", "agent", "on_cpu", "on_gpu"),
    [
        ("dqn", {}, ExactDQN, SampledDQN),
        ("qrdqn", {}, ExactQRDQN, SampledQRDQN),
        ("dqn", {"double": True}, DoubleDQN, DoubleDQN),
        ("dqn", {"prioritised": {}}, PrioritisedDQN, PrioritisedDQN),
        ("ppo", {}, ExactPPO, ExactPPO),
    ],
)
def test_on_a_gpu_no_librarys_update_waits_for_its_loss(
    algorithm: str, agent: dict[str, Any], on_cpu: type, on_gpu: type
) -> None:
    config = toy_config(algorithm, agent=agent)

    assert algorithm_class(config.agent, "cpu") is on_cpu
    assert algorithm_class(config.agent, "cuda") is on_gpu


def test_losses_are_read_at_once_on_a_cpu_and_seldom_on_a_gpu() -> None:
    assert (losses_kept("cpu"), losses_kept("cuda"), losses_kept("cuda:1")) == (1, LOSSES_ON_A_GPU, LOSSES_ON_A_GPU)


def test_the_layout_is_that_of_the_devices_convolutions() -> None:
    replay = toy_config("dqn").agent
    found = {
        (device, precision): algorithm_arguments(replay, device, precision)["replay_buffer_kwargs"]["channels_last"]
        for device in ("cpu", "cuda")
        for precision in ("float32", "bfloat16")
    }

    assert found == {
        ("cpu", "float32"): True,
        ("cpu", "bfloat16"): True,
        ("cuda", "float32"): False,
        ("cuda", "bfloat16"): True,
    }


def test_a_rollout_is_kept_on_a_gpu() -> None:
    agent = toy_config("ppo").agent

    assert algorithm_arguments(agent, "cpu")["rollout_buffer_class"] is ChannelsLastRolloutBuffer
    assert algorithm_arguments(agent, "cuda")["rollout_buffer_class"] is DeviceRolloutBuffer
    assert algorithm_arguments(agent, "cuda", "bfloat16")["rollout_buffer_class"] is ChannelsLastDeviceRolloutBuffer


class Written(KVWriter):
    """Losses as they are written."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        if "train/loss" in key_values:
            self.losses.append(key_values["train/loss"])

    def close(self) -> None:
        pass


def test_the_same_is_learned_and_the_mean_is_written() -> None:
    weights, means = [], []
    for kept in (1, 1_000):
        model: Any = build(toy_config("dqn", agent={"double": True}), toy_vec(), device="cpu")
        model.losses_kept = kept
        each, written = note_losses(model), Written()
        model.set_logger(Logger(folder=None, output_formats=[written]))
        statistics = Statistics(Tally(), 4, 300)
        model.learn(300, CallbackList([statistics]), log_interval=None)
        statistics.dump()
        weights.append(model.policy.state_dict())
        means.append((written.losses, each))

    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    (last,), each = means[0]
    assert last == each[-1]  # of the last call of `train`, as the library has it
    (mean,), each = means[1]
    assert mean == pytest.approx(np.mean(each))
    assert len(each) == model._n_updates > 40


def note_losses(model: Any) -> list[float]:
    """Losses of all updates, as they are made."""
    update, noted = model._update, []

    def noting(batch_size: int) -> torch.Tensor:
        loss: torch.Tensor = update(batch_size)
        noted.append(loss.item())
        return loss

    model._update = noting
    return noted


@pytest.mark.parametrize("kept", [1, 10])
def test_a_loss_that_is_no_number_is_noticed_within_so_many_updates(kept: int) -> None:
    model: Any = build(toy_config("dqn", agent={"double": True, "learning_starts": 0}), toy_vec(), device="cpu")
    model.losses_kept = kept
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(100, log_interval=None)
    model.read_losses()
    with torch.no_grad():
        next(model.q_net.parameters()).fill_(float("nan"))
    updates = model._n_updates

    with pytest.raises(NonFiniteError, match=r"train/loss became nan"):
        model.learn(100, FiniteGuard(lambda: None), log_interval=None, reset_num_timesteps=False)

    assert model._n_updates == updates + kept


def test_one_that_statistics_have_read_and_written_is_noticed_all_the_same() -> None:
    model: Any = build(toy_config("dqn", agent={"double": True}), toy_vec(), device="cpu")
    model.losses_kept = 10
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.keep_losses([torch.tensor(float("inf"))])
    guard = FiniteGuard(lambda: None)
    guard.init_callback(model)
    guard.check_losses()

    model.read_losses()
    model.logger.dump(1)

    with pytest.raises(NonFiniteError, match=r"train/loss became inf"):
        guard.check_losses()


def test_the_last_losses_of_a_training_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithms, "losses_kept", lambda device: 1_000_000)
    agent = {"double": True, "learning_rate": 1e30, "max_grad_norm": 1e30}

    with pytest.raises(NonFiniteError, match=r"train/loss became (nan|inf)"):
        train(toy_config("dqn", agent=agent), env=toy_vec(), directory=tmp_path, on_episode=lambda _: None, total_steps=200)

    assert not (tmp_path / "model").exists()
