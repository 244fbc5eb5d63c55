"""The speed of updates without environments, for each algorithm, memory layout, batch size and number of threads, in one run.

    python -m benchmarks.learner [--json FILE] [--algorithms dqn,qrdqn,ppo] [--batches 32,64,128,256,512] [--threads 1,2]
                                 [--network nature] [--rounds 3]

Updates are whole updates of the project's algorithms: sampling, networks, gradients, optimiser. The layouts of samples are
`default` (n, channels, height, width) and `channels_last`, both with the operations of stable-baselines3's networks. `plain` is
the default layout without fused Adam steps. `memory_kept` is `channels_last` with freed memory kept. `parts` is what a training
on Linux does: pictures stay bytes up to the network, which computes large batches in parts (`agents.extractors`). In
PPO's first two layouts the rollout is stable-baselines3's.

All variants take turns, and the best round of each counts, because other programs on the machine can only slow it down. With
one thread, processor time is measured; with several, wall-clock time, which is less reliable on a busy machine. GFLOP/s count
multiplications and additions of convolutions and linear layers, forwards and backwards. `share_of_peak` is relative to the
faster of two large float32 products in the same run: of matrices, and a convolution. The first table compares sampling with
stable-baselines3's replay buffer.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn
from torch.nn import functional

from agents import build
from agents.device import keep_freed_memory, torch_threads
from agents.extractors import PictureNetwork
from agents.replay import FrameReplayBuffer, PrioritisedReplayBuffer
from configs import from_dict
from mario_env.observations import Frames

SPACE: Final = Frames().space
ACTIONS: Final = gym.spaces.Discrete(7)
STORED: Final = 4_096
LAYOUTS: Final = ("plain", "default", "channels_last", "memory_kept", "parts")
MATRIX: Final = 1_024


class Noise(gym.Env[Any, Any]):
    """An environment of endless episodes with a new random frame at each step."""

    observation_space, action_space = SPACE, ACTIONS

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode with random frames."""
        super().reset(seed=seed)
        self._stack = self.np_random.integers(256, size=Frames.shape, dtype=Frames.dtype)
        return self._stack, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Append a random frame."""
        picture = self.np_random.integers(256, size=(1, *Frames.shape[1:]), dtype=Frames.dtype)
        self._stack = np.concatenate([self._stack[1:], picture])
        return self._stack, float(self.np_random.normal()), False, False, {}


@dataclass
class Candidate:
    """An algorithm in one layout. `work` performs `updates` updates of `batch` samples each; `flops` is for one update."""

    algorithm: str
    layout: str
    batch: int
    updates: int
    flops: float
    work: Callable[[], None]
    seconds: float = float("inf")

    def turn(self, clock: Callable[[], float]) -> None:
        """Call `work` once, and keep the shortest time per update."""
        with ExitStack() as stack:
            if self.layout in ("memory_kept", "parts"):
                stack.enter_context(keep_freed_memory())
                self.work()  # the allocator must allocate the memory first
            started = clock()
            self.work()
            self.seconds = min(self.seconds, (clock() - started) / self.updates)


def candidate(algorithm: str, layout: str, batch: int, network: str) -> Candidate:
    """Build an algorithm with filled buffers, and perform its first updates."""
    sizes = {"features": network, "features_dim": 256 if network == "small" else 512}
    agent: dict[str, Any] = {"algorithm": algorithm, "batch_size": batch, "network": sizes}
    if algorithm == "ppo":
        agent.update(n_steps=2 * batch, n_epochs=1)
    else:
        agent.update(buffer_size=STORED)
    config = from_dict({"name": "learner", "agent": agent, "train": {"n_envs": 1}}, "benchmark")
    model = build(config, DummyVecEnv([Noise]), device="cpu")
    model.set_logger(Logger(folder=None, output_formats=[]))
    for module in model.policy.modules():
        if isinstance(module, PictureNetwork) and layout != "parts":
            module.takes_bytes, module.large_batch = False, sys.maxsize
    if layout == "plain":
        model.policy.optimizer.param_groups[0]["fused"] = None
    flops = batch * flops_of_a_sample(model)
    if isinstance(model, PPO):
        work, updates = ppo_work(model, layout), 2
    else:
        work, updates = replay_work(model, layout, batch), max(128 // batch, 1)
    work()
    return Candidate(algorithm, layout, batch, updates, flops, work)


def replay_work(model: Any, layout: str, batch: int) -> Callable[[], None]:
    """A few updates of DQN or QR-DQN."""
    model.replay_buffer.channels_last = layout not in ("plain", "default")
    fill(model.replay_buffer, STORED)
    return lambda: model.train(gradient_steps=max(128 // batch, 1), batch_size=batch)


def ppo_work(model: PPO, layout: str) -> Callable[[], None]:
    """One epoch of PPO, of two batches."""
    if layout in ("plain", "default"):
        model.rollout_buffer = RolloutBuffer(
            model.n_steps, SPACE, ACTIONS, "cpu", gae_lambda=model.gae_lambda, gamma=model.gamma
        )
    _, callback = model._setup_learn(model.n_steps)
    assert model.env is not None
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    return model.train


def fill(buffer: ReplayBuffer, count: int) -> None:
    """Fill `buffer` with `count` steps of random frames."""
    env = Noise()
    observation, _ = env.reset(seed=0)
    for step in range(count):
        following, reward, _, _, _ = env.step(0)
        done = np.array([step % 200 == 199])
        buffer.add(observation[None], following[None], np.array([step % 7]), np.array([reward]), done, [{}])
        observation = following


def flops_of_a_sample(model: BaseAlgorithm) -> float:
    """The multiplications and additions of an update per sample.

    The forward pass, the gradients of the weights and those of the inputs (except for the first layer) take the same number
    each. The DQN family has a second forward pass through the target network, and double Q-learning a third.
    """
    layers: list[float] = []

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        weight = module.get_parameter("weight")
        layers.append(2.0 * weight[0].numel() * output[0].numel())

    counted = [module for module in model.policy.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [module.register_forward_hook(count) for module in counted]
    with torch.no_grad():
        model.policy(torch.zeros(1, *(model.observation_space.shape or ())))
    for handle in handles:
        handle.remove()
    forwards = 1.0 + hasattr(model, "replay_buffer") + getattr(model, "double", False)
    return (forwards + 2.0) * sum(layers) - layers[0]


def peak(clock: Callable[[], float]) -> float:
    """The current GFLOP/s of a large product: of matrices or as a convolution, whichever is faster.

    torch computes the one with MKL, the other with oneDNN. MKL leaves AVX-512 unused on processors of other makers than Intel.
    """
    matrix, pictures, weights = torch.rand(MATRIX, MATRIX), torch.rand(64, 64, 16, 16), torch.rand(256, 64, 4, 4)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    weights = weights.contiguous(memory_format=torch.channels_last)
    products: list[tuple[Callable[[], torch.Tensor], float]] = [
        (lambda: matrix @ matrix, 2.0 * MATRIX**3),
        (lambda: functional.conv2d(pictures, weights), 2.0 * 64 * 13**2 * weights.numel()),
    ]
    found = []
    for product, operations in products:
        started = clock()
        for _ in range(8):
            product()
        found.append(8 * operations / (clock() - started) / 1e9)
    return max(found)


def measure(algorithms: list[str], batches: list[int], threads: int, network: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each algorithm, batch and layout."""
    clock = time.process_time if threads == 1 else time.perf_counter
    rows, best = [], 0.0
    with torch_threads(threads):
        for algorithm in algorithms:
            for batch in batches:
                candidates = [candidate(algorithm, layout, batch, network) for layout in LAYOUTS]
                for _ in range(rounds):
                    best = max(best, peak(clock))
                    for one in candidates:
                        one.turn(clock)
                rows += [row(one, threads, candidates[0].seconds) for one in candidates]
    for each in rows:
        each["share_of_peak"] = each["gflops"] / best
    return rows


def row(one: Candidate, threads: int, plain: float) -> dict[str, Any]:
    """The figures of a candidate."""
    return {
        "algorithm": one.algorithm,
        "threads": threads,
        "batch": one.batch,
        "layout": one.layout,
        "updates_per_second": 1 / one.seconds,
        "samples_per_second": one.batch / one.seconds,
        "gflops": one.flops / one.seconds / 1e9,
        "times_plain": plain / one.seconds,
    }


def measure_replay(batches: list[int], rounds: int) -> list[dict[str, Any]]:
    """The speed of sampling from the project's buffers, relative to stable-baselines3's buffer and to uniform sampling."""
    buffers = {
        "library": ReplayBuffer(STORED, SPACE, ACTIONS, "cpu"),
        "default": FrameReplayBuffer(STORED, SPACE, ACTIONS, "cpu"),
        "channels_last": FrameReplayBuffer(STORED, SPACE, ACTIONS, "cpu", channels_last=True),
        "prioritised": PrioritisedReplayBuffer(STORED, SPACE, ACTIONS, "cpu", channels_last=True),
    }
    for buffer in buffers.values():
        fill(buffer, STORED)
        draw(buffer, 1)
    rows = []
    for batch in batches:
        best = dict.fromkeys(buffers, float("inf"))
        for _ in range(3 * rounds):
            for name, buffer in buffers.items():
                started = time.process_time()
                for _ in range(max(1_024 // batch, 1)):
                    draw(buffer, batch)
                best[name] = min(best[name], (time.process_time() - started) / max(1_024 // batch, 1))
        rows += [
            {
                "buffer": name,
                "batch": batch,
                "samples_per_second": batch / best[name],
                "times_library": best["library"] / best[name],
                "times_uniform": best["channels_last"] / best[name],
            }
            for name in buffers
        ]
    return rows


def draw(buffer: ReplayBuffer, batch: int) -> None:
    """Sample a batch as an update does; a prioritised buffer also gets new priorities."""
    if isinstance(buffer, PrioritisedReplayBuffer):
        sampled = buffer.sample_weighted(batch, beta=0.5)
        buffer.update_priorities(sampled.indices, sampled.weights.numpy())
    else:
        buffer.sample(batch)


def table(rows: list[dict[str, Any]]) -> str:
    """Format rows as text."""
    names = list(rows[0])
    lines = ["  ".join(f"{name:>18}" for name in names)]
    for each in rows:
        cells = (f"{value:18.2f}" if isinstance(value, float) else f"{value:>18}" for value in each.values())
        lines.append("  ".join(cells))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the benchmark of the command line."""

    def names(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--algorithms", type=names, default=["dqn", "qrdqn", "ppo"])
    parser.add_argument("--batches", type=numbers, default=[32, 64, 128, 256, 512])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--network", choices=["nature", "small"], default="nature")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with torch_threads(1):
        figures = {"replay": measure_replay(arguments.batches, arguments.rounds)}
    sys.stdout.write(f"\nreplay\n{table(figures['replay'])}")
    for threads in arguments.threads:
        title = f"updates, {arguments.network}, {threads} threads"
        figures[title] = measure(arguments.algorithms, arguments.batches, threads, arguments.network, arguments.rounds)
        sys.stdout.write(f"\n{title}\n{table(figures[title])}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
