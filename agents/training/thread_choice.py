"""How many threads torch gets in a training on a CPU: measured once, and the same for as long as the training goes on.

Which number is best depends on the network, the batch, the processor and its other load. Another number also adds up in another
order and gives other floats, so a training resumes exactly only with the number that it began with. The choice is therefore
written down before anything is learned, and each checkpoint has it too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import torch
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms import build_policy
from agents.announce import announce
from agents.checkpoints import Checkpoint, recorded_threads
from agents.device import best_of, candidates, measure
from configs import Config
from configs.schema import PPOConfig

CHOICE = "torch_threads.json"
"""The file in a training's folder that has the choice until the first checkpoint does."""

_SECONDS = 1.0


def choose_threads(config: Config, env: VecEnv, directory: Path, device: str, checkpoint: Checkpoint | None) -> None:
    """Set torch's threads, before a network is built: the last bit of its first weights may depend on it.

    Args:
        device: "cpu" or "cuda".
        directory: the training's folder, where the choice is written down.
        checkpoint: the one that the training resumes from, if there is one.
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
    """The threads of a training: the configured number, else the number it began with, else the best in a measurement.

    Args:
        device: "cpu" or "cuda"; on a GPU the result is None, for torch's own number: its threads have next to nothing to do.
        space: of one observation, uint8 (channels, height, width).
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
        announce(f"torch works with {chosen} thread{'s' * (chosen != 1)}: an update and the acting before it take {found}")
    return chosen


def forget(directory: Path) -> None:
    """Let the next training in `directory` measure again."""
    (directory / CHOICE).unlink(missing_ok=True)


def measure_update(
    config: Config, space: gym.spaces.Box, n_actions: int, counts: list[int], budget: float = _SECONDS
) -> dict[int, float]:
    """Seconds of one update and its share of acting, by number of threads, with the configured network and batch.

    torch's generator and number of threads are afterwards as before.
    """
    if len(counts) == 1:
        return {counts[0]: 0.0}
    with torch.random.fork_rng(devices=[]):
        return measure(update_and_act(config, space, n_actions), counts, budget)


def update_and_act(config: Config, space: gym.spaces.Box, n_actions: int) -> Callable[[], float]:
    """A function that updates once and acts once, and returns the seconds of the update and its share of acting."""
    policy = build_policy(config, space, n_actions)
    agent, n_envs = config.agent, config.train.n_envs
    batch, few = _observations(agent.batch_size, space), _observations(n_envs, space)
    actions = torch.zeros(agent.batch_size, dtype=torch.long)
    acting = _steps_per_update(config)

    def work() -> float:
        started = time.perf_counter()
        policy.set_training_mode(True)
        loss = _loss(policy, batch, actions)
        policy.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        policy.optimizer.step()
        updated = time.perf_counter()
        policy.set_training_mode(False)
        with torch.no_grad():
            policy(few)
        return updated - started + acting * (time.perf_counter() - updated)

    return work


def _steps_per_update(config: Config) -> float:
    """Steps of all environments together for each update."""
    agent, n_envs = config.agent, config.train.n_envs
    if isinstance(agent, PPOConfig):
        updates = agent.n_epochs * -(-agent.n_steps * n_envs // agent.batch_size)
        return agent.n_steps / updates
    return agent.train_freq / (agent.gradient_steps if agent.gradient_steps > 0 else agent.train_freq * n_envs)


def _loss(policy: BasePolicy, batch: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """A loss whose gradient takes the passes of a real update."""
    if isinstance(policy, ActorCriticPolicy):
        values, chances, _ = policy.evaluate_actions(batch, actions)
        return values.mean() - chances.mean()
    # A target network and the network: most of their work is the extractor's.
    extractors = [module for module in policy.modules() if isinstance(module, BaseFeaturesExtractor)]
    with torch.no_grad():
        targets = extractors[-1](batch.float())
    loss: torch.Tensor = (extractors[0](batch.float()) - targets - 1.0).square().mean()
    return loss


def _observations(count: int, space: gym.spaces.Box) -> torch.Tensor:
    numbers = torch.arange(count * int(torch.tensor(space.shape).prod())) % 256
    batch = numbers.to(torch.as_tensor(space.low).dtype).reshape(count, *space.shape)
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def _chosen_before(directory: Path) -> int | None:
    """What a training that has no checkpoint yet chose; None if there is none, or the file is damaged."""
    try:
        count = int(json.loads((directory / CHOICE).read_text(encoding="utf-8"))["threads"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return count if count > 0 else None
