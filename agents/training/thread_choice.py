"""The number of torch threads of a training on a CPU. It is measured once and kept for the whole training.

The best number depends on the network, the batch, the processor and its other load. With another number, sums are computed in
another order and rounded differently, so a training resumes exactly only with the number it started with. The choice is
therefore saved before anything is learned, and again in each checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import torch
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel, BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from agents.algorithms import build_policy, steps_per_update
from agents.announce import announce
from agents.checkpoints import Checkpoint, recorded_threads
from agents.device import best_of, candidates, measure
from configs import Config

CHOICE = "torch_threads.json"
"""The file in the folder of a training with the choice, for the time before the first checkpoint."""

_SECONDS = 1.0


def choose_threads(config: Config, env: VecEnv, directory: Path, device: str, checkpoint: Checkpoint | None) -> None:
    """Set the number of torch threads. Call this before a network is built: its initial weights may depend on the number.

    Args:
        device: "cpu" or "cuda".
        directory: the folder of the training, where the choice is saved.
        checkpoint: the checkpoint that the training resumes from, or None.
    """
    assert isinstance(env.observation_space, gym.spaces.Box)
    n_actions = int(env.action_space.n)  # type: ignore[attr-defined]
    recorded = None if checkpoint is None else recorded_threads(checkpoint)
    count = threads_of(config, device, env.observation_space, n_actions, directory, recorded)
    if count is not None:
        torch.set_num_threads(count)


def threads_of(
    config: Config, device: str, space: gym.spaces.Box, n_actions: int, directory: Path, recorded: int | None
) -> int | None:
    """The number of threads: the configured one, else the one that the training started with, else the best measured one.

    Args:
        device: "cpu" or "cuda". On a GPU the result is None, which means torch's own number: the threads do hardly anything.
        space: the space of one observation, uint8 (channels, height, width).
        recorded: the number in the checkpoint that the training resumes from.
    """
    if config.train.torch_threads is not None:
        return config.train.torch_threads
    if device != "cpu":
        return None
    known = recorded or _chosen_before(directory)
    if known is not None:
        return known
    seconds = measure_update(config, space, n_actions, candidates())
    chosen = best_of(seconds)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CHOICE).write_text(json.dumps({"threads": chosen, "seconds": seconds}), encoding="utf-8")
    if len(seconds) > 1:
        found = ", ".join(f"{1000 * each:.0f} ms with {count}" for count, each in seconds.items())
        announce(f"torch uses {chosen} thread{'s' * (chosen != 1)}: an update and the acting before it take {found}")
    return chosen


def clear(directory: Path) -> None:
    """Delete the choice, so that the next training in `directory` measures again."""
    (directory / CHOICE).unlink(missing_ok=True)


def measure_update(
    config: Config, space: gym.spaces.Box, n_actions: int, counts: list[int], budget: float = _SECONDS
) -> dict[int, float]:
    """Measure the seconds of one update and its share of acting, by number of threads, with the configured network and batch.

    Afterwards torch's generator and number of threads are as before.
    """
    if len(counts) == 1:
        return {counts[0]: 0.0}
    with torch.random.fork_rng(devices=[]):
        return measure(update_and_act(config, space, n_actions), counts, budget)


def update_and_act(config: Config, space: gym.spaces.Box, n_actions: int) -> Callable[[], float]:
    """A function that updates once and acts once, and returns the seconds of the update and its share of acting."""
    policy = build_policy(config, space, n_actions)
    agent, n_envs = config.agent, config.train.n_envs
    # Buffers sample in this layout on a CPU; games return the default one.
    batch, few = _channels_last(_observations(agent.batch_size, space)), _observations(n_envs, space)
    actions = torch.zeros(agent.batch_size, dtype=torch.long)
    acting = steps_per_update(config)

    def work() -> float:
        started = time.perf_counter()
        policy.set_training_mode(True)
        loss = _loss(policy, batch, actions, double=getattr(agent, "double", False))
        policy.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        policy.optimizer.step()
        updated = time.perf_counter()
        policy.set_training_mode(False)
        with torch.no_grad():
            policy(few)
        return updated - started + acting * (time.perf_counter() - updated)

    return work


def _loss(policy: BasePolicy, batch: torch.Tensor, actions: torch.Tensor, *, double: bool) -> torch.Tensor:
    """A loss whose gradient needs the passes of a real update."""
    if isinstance(policy, ActorCriticPolicy):
        values, chances, _ = policy.evaluate_actions(batch, actions)
        return values.mean() - chances.mean()
    # Most of the work is in the extractors: of the network, of the target network, and of the network again if it chooses the
    # next actions.
    network, *others = [module for module in policy.modules() if isinstance(module, BaseModel) and module.features_extractor]
    target = torch.ones(())
    with torch.no_grad():
        for each in (*others, network) if double else others:
            target = target + _features(each, batch)
    return (_features(network, batch) - target).square().mean()


def _features(network: BaseModel, batch: torch.Tensor) -> torch.Tensor:
    assert network.features_extractor is not None
    return network.extract_features(batch, network.features_extractor)


def _observations(count: int, space: gym.spaces.Box) -> torch.Tensor:
    numbers = torch.arange(count * int(torch.tensor(space.shape).prod())) % 256
    return numbers.to(torch.as_tensor(space.low).dtype).reshape(count, *space.shape)


def _channels_last(batch: torch.Tensor) -> torch.Tensor:
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def _chosen_before(directory: Path) -> int | None:
    """The choice of a training without a checkpoint; None if there is none, or the file is damaged."""
    try:
        count = int(json.loads((directory / CHOICE).read_text(encoding="utf-8"))["threads"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return count if count > 0 else None
