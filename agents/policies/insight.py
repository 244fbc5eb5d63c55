"""What a policy thinks of observations: its scores of all actions, its values, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Final, Literal, Protocol, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.distributions import Categorical

from agents.device import torch_threads
from agents.policies.models import Agent
from mario_env.observations import tiles

_BATCH: Final = 128
_BLUR: Final = 5.0
"""Standard deviation of the blur and of the spot that is blurred, in pixels of the observation, as in Greydanus et al. 2018."""
_SPACING: Final = 6
"""Pixels between the middles of two spots."""


class _ValuePolicy(Protocol):
    """The policies of PQN, DQN and QR-DQN."""

    def q_values(self, observations: Any) -> torch.Tensor: ...


@dataclass(frozen=True)
class Thoughts:
    """What a policy thinks of n observations.

    Attributes:
        kind: whether scores are probabilities of actions (PPO) or their values (PQN, DQN and QR-DQN, there the mean of the
            quantiles).
        scores: float32 (n, actions).
        values: the expected return of each observation, float32 (n,): the critic's, or the highest value of an action.
    """

    kind: Literal["probabilities", "values"]
    scores: NDArray[np.float32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Saliency:
    """How much a chosen action's score depends on each part of an observation.

    Attributes:
        score: of the action.
        map: float32 (rows, columns), spread evenly over the observation: the score minus the score without this part. A
            positive part speaks for the action, a negative one against it.
    """

    score: float
    map: NDArray[np.float32]


def think(agent: Agent, observations: NDArray[np.uint8]) -> Thoughts:
    """Ask the policy about a batch of observations, (n, *shape).

    The policy is the one that plays in evaluations: without exploration and without noise.
    """
    parts = [_ask(agent, observations[first : first + _BATCH]) for first in range(0, len(observations), _BATCH)]
    scores, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    kind: Literal["probabilities", "values"] = "probabilities" if isinstance(agent.model, ActorCriticPolicy) else "values"
    return Thoughts(kind, scores, values)


def saliency(agent: Agent, observation: NDArray[np.uint8], action: int) -> Saliency:
    """Where the policy looks, by occlusion (Greydanus et al. 2018, "Visualizing and Understanding Atari Agents").

    Pictures are blurred in one spot after another. From tiles, one block or object after another is removed. The same way works
    for every algorithm and network, and needs no gradient, which integers do not have.

    Args:
        agent: the policy.
        observation: of its shape.
        action: whose score is examined.
    """
    if agent.config.environment.observation == "tiles":
        changed, places, shape = _without_each_tile(observation)
    else:
        changed, places, shape = _blurred_in_each_spot(observation)
    scores = think(agent, np.concatenate([observation[np.newaxis], changed])).scores[:, action]
    found = np.zeros(shape, np.float32)
    for place, score in zip(places, scores[1:], strict=True):
        found[place] += scores[0] - score
    return Saliency(float(scores[0]), found)


def _ask(agent: Agent, observations: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    policy = agent.model
    # A batch is too small for several threads to help.
    with torch.no_grad(), torch_threads(1):
        tensor, _ = policy.obs_to_tensor(observations)
        if isinstance(policy, ActorCriticPolicy):
            distribution = policy.get_distribution(tensor).distribution
            assert isinstance(distribution, Categorical)
            scores, values = distribution.probs, policy.predict_values(tensor).squeeze(1)
        else:
            scores = cast(_ValuePolicy, policy).q_values(tensor)
            values = scores.amax(dim=1)
    return scores.cpu().numpy(), values.cpu().numpy()


Places = list[tuple[int, int]]


def _blurred_in_each_spot(pictures: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Places, tuple[int, int]]:
    """Copies of a stack of pictures, uint8 (spots, *shape), each blurred in one spot; its place in a grid, and its shape."""
    height, width = pictures.shape[1:]
    spots, shape = _spots(height, width)
    clear = pictures.astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(picture, (0, 0), _BLUR) for picture in clear])
    changed = clear + spots[:, np.newaxis] * (blurred - clear)
    return changed.round().astype(np.uint8), list(product(range(shape[0]), range(shape[1]))), shape


@cache
def _spots(height: int, width: int) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """How much of each pixel is blurred for each spot, float32 (spots, height, width), and the shape of the spots' grid."""
    shape = -(-height // _SPACING), -(-width // _SPACING)
    rows, columns = (
        np.exp(-((np.arange(length) - (np.arange(count)[:, np.newaxis] + 0.5) * length / count) ** 2) / (2 * _BLUR**2))
        for length, count in zip((height, width), shape, strict=True)
    )
    spots = rows[:, np.newaxis, :, np.newaxis] * columns[np.newaxis, :, np.newaxis, :]
    return spots.reshape(-1, height, width).astype(np.float32), shape


def _without_each_tile(table: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Places, tuple[int, int]]:
    """Copies of a table of tiles, each without one block or one object; its place among the blocks, and their shape.

    Mario himself stays: nothing could be said of a screen without him.
    """
    shape = tiles.BLOCK_ROWS, tiles.COLUMNS
    places: Places = []
    changed = []
    for row, column in np.argwhere(table[: tiles.BLOCK_ROWS]).tolist():
        without = table.copy()
        without[row, column] = tiles.EMPTY
        places.append((row, column))
        changed.append(without)
    for column in np.flatnonzero(table[tiles.KIND_ROW, 1:]).tolist():
        without = table.copy()
        without[tiles.KIND_ROW : tiles.STATUS_ROW, column + 1] = 0
        x, y = int(table[tiles.X_ROW, column + 1]), int(table[tiles.Y_ROW, column + 1])
        # An object has 24 pixels of height, of which the screen shows the lower ones; the blocks begin 32 pixels down.
        places.append((min(max((y - 16) // 16, 0), shape[0] - 1), min((x + 8) // 16, shape[1] - 1)))
        changed.append(without)
    copies = np.stack(changed) if changed else np.empty((0, *table.shape), np.uint8)
    return copies, places, shape
