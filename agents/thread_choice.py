"""How many threads torch gets in a training on a CPU: measured once, and the same for as long as the training goes on.

Which number is best depends on the network, the batch, the processor and what else it does. Another number also adds up in
another order, and gives other floats: a training that goes on exactly needs the number that it began with. So the choice is
written down before anything is learned, and each checkpoint has it too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gymnasium as gym
import torch
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms import build_policy
from agents.checkpoints import Checkpoint, recorded_threads
from agents.networks import available_precision
from agents.reporting import say
from configs import Config
from configs.schema import PPOConfig
from mario_env.processors import usable_processors

CHOICE = "torch_threads.json"
"""The file in a training's folder that has the choice until the first checkpoint does."""

_SECONDS = 1.0
# A second thread must bring more than chance does: it takes a core from everything else.
_LEAST_GAIN = 0.9


def threads_of(
    config: Config, device: str, space: gym.spaces.Box, n_actions: int, directory: Path, recorded: int | None
) -> int | None:
    """The threads of a training: those of the configuration, else those it began with, else what a measurement finds best.

    Args:
        device: "cpu" or "cuda"; with a GPU None, for torch's own number: its threads have next to nothing to do.
        space: of one observation.
        directory: the training's folder, where the choice is written down.
        recorded: what the checkpoint says that it goes on from.
    """
    if config.train.torch_threads is not None:
        return config.train.torch_threads
    if device != "cpu":
        return None
    known = recorded or _chosen_before(directory)
    if known is not None:
        return known
    seconds = measure(config, space, n_actions, candidates(config.train.overlap))
    chosen = best_of(seconds)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CHOICE).write_text(json.dumps({"threads": chosen, "seconds": seconds}), encoding="utf-8")
    if len(seconds) > 1:
        found = ", ".join(f"{1000 * each:.0f} ms with {count}" for count, each in seconds.items())
        say(f"torch works with {chosen} thread{'s' * (chosen != 1)}: an update and the acting before it take {found}")
    return chosen


def settle(config: Config, env: VecEnv, directory: Path, device: str, checkpoint: Checkpoint | None) -> None:
    """Have torch work with so many threads, before a network is built: the last bit of its first weights may depend on it.

    Args:
        checkpoint: the one that the training goes on from, if there is one.
    """
    assert isinstance(env.observation_space, gym.spaces.Box)
    n_actions = int(env.action_space.n)  # type: ignore[attr-defined]
    recorded = None if checkpoint is None else recorded_threads(checkpoint)
    count = threads_of(config, device, env.observation_space, n_actions, directory, recorded)
    if count is not None:
        torch.set_num_threads(count)


def forget(directory: Path) -> None:
    """Let the next training in `directory` measure again."""
    (directory / CHOICE).unlink(missing_ok=True)


def candidates(overlap: bool = False) -> list[int]:
    """The numbers to choose from, rising: powers of two, and as many as torch would take of the cores this process may use.

    With `train.overlap` the games play on the other cores meanwhile: one thread.
    """
    most = 1 if overlap else max(1, min(torch.get_num_threads(), usable_processors()))
    return sorted({1 << power for power in range(most.bit_length())} | {most})


def best_of(seconds: Mapping[int, float]) -> int:
    """Of the times by number of threads the quickest, but more threads only where they are a tenth quicker."""
    chosen = min(seconds)
    for count in sorted(seconds):
        if seconds[count] < _LEAST_GAIN * seconds[chosen]:
            chosen = count
    return chosen


def measure(
    config: Config, space: gym.spaces.Box, n_actions: int, counts: Sequence[int], budget: float = _SECONDS
) -> dict[int, float]:
    """Seconds of one update and its share of acting, by number of threads: means of the configuration's own network and batch.

    The numbers take turns, so that what else the machine does meets them all alike. Takes `budget` seconds, or two turns where
    those take longer. Neither torch's generator nor its number of threads is different afterwards.
    """
    if len(counts) == 1:
        return {counts[0]: 0.0}
    before = torch.get_num_threads()
    seconds = dict.fromkeys(counts, 0.0)
    try:
        with torch.random.fork_rng(devices=[]):
            work = work_of(config, space, n_actions)
            for count in counts:
                torch.set_num_threads(count)
                work()  # the first time, everything is allocated
            turns, started = 0, time.perf_counter()
            while turns < 2 or time.perf_counter() - started < budget:
                for count in counts:
                    torch.set_num_threads(count)
                    seconds[count] += work()
                turns += 1
    finally:
        torch.set_num_threads(before)
    return {count: total / turns for count, total in seconds.items()}


def work_of(config: Config, space: gym.spaces.Box, n_actions: int) -> Callable[[], float]:
    """Does one update and acts once; returns the seconds of the update and of the acting that comes with each update."""
    precision = available_precision(config.train.precision, "cpu")
    policy = build_policy(config, space, n_actions, precision=precision)
    agent, n_envs = config.agent, config.train.n_envs
    batch, few = _observations(agent.batch_size, space), _observations(n_envs, space)
    if isinstance(agent, PPOConfig):
        updates = agent.n_epochs * -(-agent.n_steps * n_envs // agent.batch_size)
        acting = agent.n_steps / updates
    else:
        acting = agent.train_freq / (agent.gradient_steps if agent.gradient_steps > 0 else agent.train_freq * n_envs)
    actions = torch.zeros(agent.batch_size, dtype=torch.long)

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


def _loss(policy: BasePolicy, batch: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Something to descend that takes the passes of a real update."""
    if isinstance(policy, ActorCriticPolicy):
        values, chances, _ = policy.evaluate_actions(batch, actions)
        return values.mean() - chances.mean()
    kind = "quantile_net" if hasattr(policy, "quantile_net") else "q_net"
    network, target = policy.get_submodule(kind), policy.get_submodule(f"{kind}_target")
    with torch.no_grad():
        wanted = target(batch)
    loss: torch.Tensor = (network(batch) - wanted - 1.0).square().mean()
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
