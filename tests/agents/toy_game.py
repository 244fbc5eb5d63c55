"""A toy environment that is learned in seconds, with the infos of the game's environment."""

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import train
from configs import Config, from_dict
from mario_env import EpisodeStart, EpisodeSummary

SHAPE = (4, 36, 36)


class BrightSide(gym.Env[NDArray[np.uint8], np.int64]):
    """One random half of the newest frame is bright. The action for that half (0 left, 1 right) earns 1; action 2 earns 0."""

    observation_space = gym.spaces.Box(0, 255, SHAPE, np.uint8)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, length: int = 8) -> None:
        self.length = length

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self._reward, self._actions, self._started = 0.0, bytearray(), time.perf_counter()
        self._stack = np.zeros(SHAPE, np.uint8)
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        reward = float(int(action) == self._side)
        self._reward += reward
        self._actions.append(int(action))
        steps = len(self._actions)
        info: dict[str, Any] = {"frames": 4}
        done = steps >= self.length
        if done:
            info["episode_summary"] = self._summary(steps)
            info["episode"] = {"r": self._reward, "l": steps, "t": 0.0}
        return self._observe(), reward, done, False, info

    def _observe(self) -> NDArray[np.uint8]:
        self._side = int(self.np_random.integers(2))
        frame = np.zeros(SHAPE[1:], np.uint8)
        half = SHAPE[2] // 2
        frame[:, self._side * half : (self._side + 1) * half] = 255
        self._stack = np.concatenate([self._stack[1:], frame[None]])
        return self._stack

    def _summary(self, steps: int) -> EpisodeSummary:
        won = self._reward >= self.length
        return EpisodeSummary(
            reward=self._reward,
            steps=steps,
            frames=4 * steps,
            duration_seconds=time.perf_counter() - self._started,
            distance_traveled=int(10 * self._reward),
            x_pos=40,
            y_pos=79,
            score=0,
            coins=0,
            time=400,
            life=0,
            status="small",
            world=1,
            stage=1,
            level_completed=won,
            end_reason="completed" if won else "died",
            reward_components={"progress": self._reward, "death": 0.0},
            start=EpisodeStart(noop_frames=0),
            actions=bytes(self._actions),
        )


def toy_vec(n_envs: int = 2, length: int = 8) -> DummyVecEnv:
    return DummyVecEnv([lambda: BrightSide(length)] * n_envs)


AGENTS: dict[str, dict[str, Any]] = {
    "dqn": {
        "algorithm": "dqn",
        "learning_rate": 1e-3,
        "gamma": 0.0,
        "buffer_size": 1_000,
        "learning_starts": 64,
        "batch_size": 32,
        "train_freq": 2,
        "target_update_interval": 100,
        "exploration_fraction": 0.5,
        "exploration_final_eps": 0.02,
    },
    "ppo": {
        "algorithm": "ppo",
        "learning_rate": 1e-3,
        "gamma": 0.0,
        "n_steps": 64,
        "batch_size": 64,
        "n_epochs": 4,
        "ent_coef": 0.0,
    },
}
AGENTS["pqn"] = {
    "algorithm": "pqn",
    "learning_rate": 1e-3,
    "gamma": 0.0,
    "n_steps": 16,
    "batch_size": 16,
    "n_epochs": 2,
    "exploration_fraction": 0.5,
    "exploration_final_eps": 0.0,
}
AGENTS["qrdqn"] = {**AGENTS["dqn"], "algorithm": "qrdqn", "n_quantiles": 8}


def toy_config(algorithm: str = "dqn", *, agent: dict[str, Any] | None = None, **train: Any) -> Config:
    values: dict[str, Any] = {
        "name": "toy",
        "seed": 3,
        "agent": {**AGENTS[algorithm], "network": {"features": "small", "features_dim": 32}, **(agent or {})},
        "train": {"n_envs": 2, "progress_bar": False, "keep_awake": False, "device": "cpu", **train},
    }
    return from_dict(values, source="toy")


def late_wins(config: Config, directory: Path, device: str = "cpu") -> int:
    """The number of wins among the last 20 episodes of a training of 1 500 steps. A random policy wins one in 6 561."""
    won: list[bool] = []
    train(
        config,
        env=toy_vec(),
        directory=directory,
        on_episode=lambda episode: won.append(episode.summary.level_completed),
        total_steps=1_500,
        device=device,
    )
    return sum(won[-20:])
