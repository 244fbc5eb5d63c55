"""On a GPU: the samples and updates of a CPU, and no waiting for it between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from toy_game import late_wins, toy_config, toy_vec

from agents import build, load_agent
from agents.transfer import Arriving, to_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SWITCHES: list[dict[str, Any]] = [{}, {"double": True, "dueling": True, "n_steps": 3}, {"prioritised": {}}]


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def filled(device: str, algorithm: str = "dqn", *, precision: str = "float32", **agent: Any) -> Any:
    """A model that has played, always the same, and not learned: its learning has yet to start."""
    config = toy_config(algorithm, agent={"learning_starts": 10_000, "gamma": 0.9, **agent}, precision=precision)
    model: Any = build(config, toy_vec(), device=device)
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(300, log_interval=None)
    return model


def test_what_is_sent_arrives_in_its_layout_even_if_the_source_changes() -> None:
    array = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5, 3).transpose(0, 3, 1, 2)
    expected = torch.as_tensor(array.copy(order="K"))

    sent = to_device(array, torch.device("cuda"))
    array[:] = 0

    assert sent.device.type == "cuda"
    assert sent.stride() == expected.stride()
    assert torch.equal(sent.cpu(), expected)


def test_pinned_memory_that_is_used_again_is_not_overwritten_too_soon() -> None:
    device = torch.device("cuda")
    sent = []
    for value in range(50):
        torch.ones(2_000, 2_000, device=device) @ torch.ones(2_000, 2_000, device=device)  # keeps the queue long
        sent.append(to_device(np.full(10_000, value, np.float32), device))

    assert [float(tensor.min()) for tensor in sent] == [float(tensor.max()) for tensor in sent] == list(range(50))


def test_numbers_come_to_the_host_as_they_were_when_they_were_sent_for() -> None:
    numbers = torch.arange(5, dtype=torch.float32, device="cuda")
    arriving = Arriving(numbers)
    numbers.zero_()

    assert arriving.numpy().tolist() == [0, 1, 2, 3, 4]
    assert arriving.there


@pytest.mark.parametrize("agent", SWITCHES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_samples_are_those_of_a_cpu(agent: dict[str, Any], precision: str) -> None:
    drawn = []
    for device in ("cpu", "cuda"):
        memory = filled(device, precision=precision, **agent).replay_buffer
        np.random.seed(1)
        drawn.append(memory.sample(64))

    for name, one, other in zip(drawn[0]._fields, *drawn, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            assert other.device.type == "cuda", name
            assert torch.equal(one, other.cpu()), name


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
@pytest.mark.parametrize("agent", SWITCHES)
def test_an_update_is_a_cpus_but_for_rounding(algorithm: str, agent: dict[str, Any]) -> None:
    models = [filled(device, algorithm, learning_rate=1e-4, **agent) for device in ("cpu", "cuda")]
    models[1].policy.load_state_dict(models[0].policy.state_dict())
    for model in models:
        np.random.seed(2)
        model.train(gradient_steps=1, batch_size=64)
        if hasattr(model, "read_losses"):
            model.read_losses()

    losses = [model.logger.name_to_value["train/loss"] for model in models]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    for name, weights in models[0].policy.state_dict().items():
        # Adam's first step is the gradient's sign, almost: near 0 a rounding turns it.
        close = torch.isclose(weights, models[1].policy.state_dict()[name].cpu(), rtol=1e-3, atol=1e-5)
        assert float(close.float().mean()) > 0.99, name


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
@pytest.mark.parametrize("agent", SWITCHES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_update_waits_for_nothing(algorithm: str, agent: dict[str, Any], precision: str) -> None:
    model = filled("cuda", algorithm, precision=precision, **agent)
    model.train(gradient_steps=3, batch_size=64)  # what is only done at first

    with waiting_is_an_error():
        model.train(gradient_steps=5, batch_size=64)

    assert len(model._unread) == 8
    model.read_losses()
    assert np.isfinite(model.latest_loss)


def test_ppo_draws_from_the_gpu_without_waiting() -> None:
    buffer = filled_rollout("cuda")
    first = next(buffer.get(32))
    with waiting_is_an_error():
        batches = list(buffer.get(32))

    assert first.observations.device.type == "cuda"
    assert first.observations.dtype == torch.uint8
    assert sum(len(batch.observations) for batch in batches) == buffer.buffer_size * buffer.n_envs


def test_ppos_rollout_is_drawn_as_on_a_cpu() -> None:
    """Of one rollout, that a CPU has collected."""
    here = filled_rollout("cpu")
    there = filled_rollout("cuda")
    for name in ("observations", "actions", "rewards", "values", "log_probs", "advantages", "returns"):
        setattr(there, name, getattr(here, name).copy())
    there.generator_ready = here.generator_ready
    drawn = []
    for buffer in (here, there):
        np.random.seed(3)
        drawn.append(list(buffer.get(32)))

    for one, other in zip(*drawn, strict=True):
        for name, mine, theirs in zip(one._fields, one, other, strict=True):
            assert torch.equal(mine, theirs.cpu()), name


def filled_rollout(device: str) -> Any:
    model: Any = build(toy_config("ppo"), toy_vec(), device=device)
    _, callback = model._setup_learn(128)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    return model.rollout_buffer


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn", "ppo"])
def test_a_toy_game_is_learned_and_the_model_played_on_a_cpu(algorithm: str, tmp_path: Path) -> None:
    wins = late_wins(toy_config(algorithm), tmp_path, device="cuda")
    observations = np.asarray(toy_vec(8).reset())

    assert wins >= 17
    actions = load_agent(tmp_path / "model", device="cpu").act(observations)
    assert (actions == (observations[:, -1, 0, -1] == 255)).all()
