"""What a model thinks of an episode, decision by decision."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from configs.agent import PPOConfig
from inspection.analysis import Analysis

if TYPE_CHECKING:
    from agents import Agent, Saliency

__all__ = ["ModelMismatchError", "Opinion", "Thinker"]

_CHUNK: Final = 512  # decisions: 14 MB of pictures


class ModelMismatchError(RuntimeError):
    """A model cannot judge an episode, since it sees or does other things; the message says which."""


@dataclass(frozen=True)
class Opinion:
    """A model's view of every decision of an episode.

    Attributes:
        kind: "probabilities" of the actions (PPO), or their "values" (PQN, DQN, QR-DQN).
        scores: float32 (decisions, actions).
        values: the expected discounted return at each decision, float32 (decisions,).
        advantages: float32 (decisions,). PPO: generalised advantage estimates along this episode, with the training's `gamma`
            and `gae_lambda`; an episode that was cut off counts as if it went on at the last value. Others: the value of the
            action that was taken minus the highest value, 0 or less.
    """

    kind: str
    scores: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    advantages: npt.NDArray[np.float32]


class Thinker:
    """A model that looks at episodes.

    Args:
        agent: the model.
        label: which one it is, to be shown.
    """

    def __init__(self, agent: "Agent", label: str) -> None:
        self._agent = agent
        self.label = label

    def require_fitting(self, analysis: Analysis) -> None:
        """Check that the model sees what was seen in the episode, and has its actions.

        Raises:
            ModelMismatchError: it does not.
        """
        mine, its = self._agent.config.environment, analysis.episode.environment
        seen, known = analysis.observations.at(np.zeros(1, np.int64)).shape[1:], self._agent.manifest.observation_shape
        same = mine.observation == its.observation and mine.crop_status_bar == its.crop_status_bar and seen == known
        if not same or mine.actions != its.actions:
            raise ModelMismatchError(
                f"{self.label} cannot judge this episode: it knows {mine.observation} {known} and the actions "
                f"{mine.actions!r}, and the episode has {its.observation} {seen} and the actions {its.actions!r}"
            )

    def think(self, analysis: Analysis) -> Opinion:
        """The model's view of each decision.

        Raises:
            ModelMismatchError: the model does not fit.
        """
        from agents import think

        self.require_fitting(analysis)
        parts = [
            think(self._agent, analysis.observations.at(np.arange(first, min(first + _CHUNK, analysis.decisions))))
            for first in range(0, analysis.decisions, _CHUNK)
        ]
        scores, values = np.concatenate([each.scores for each in parts]), np.concatenate([each.values for each in parts])
        return Opinion(parts[0].kind, scores, values, self._advantages(analysis, scores, values))

    def best_action(self, observation: npt.NDArray[np.uint8]) -> int:
        """The action that the model takes without any randomness.

        Raises:
            ValueError: the observation is of another kind than the model's.
        """
        return int(self._agent.act(observation[np.newaxis])[0])

    def saliency(self, analysis: Analysis, decision: int) -> "Saliency":
        """Where the model looks at a decision, for the action that was taken.

        Raises:
            IndexError: there is no such decision.
            ModelMismatchError: the model does not fit.
        """
        from agents import saliency

        if not 0 <= decision < analysis.decisions:
            raise IndexError(f"decision {decision} of an episode with {analysis.decisions}")
        self.require_fitting(analysis)
        return saliency(self._agent, analysis.observations.at(np.array([decision]))[0], analysis.episode.actions[decision])

    def _advantages(
        self, analysis: Analysis, scores: npt.NDArray[np.float32], values: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        agent = self._agent.config.agent
        if not isinstance(agent, PPOConfig):
            actions = np.frombuffer(analysis.episode.actions, np.uint8)[: analysis.decisions]
            taken: npt.NDArray[np.float32] = scores[np.arange(len(scores)), actions] - values
            return taken
        rewards = sum(analysis.ledger.components.values(), np.zeros(analysis.decisions))
        cut_off = analysis.summary.end_reason in ("stalled", "step_limit")
        following = np.append(values[1:], values[-1] if cut_off else 0.0)
        errors = rewards + agent.gamma * following - values
        advantages, sum_of_later = np.empty_like(errors), 0.0
        for index in range(len(errors) - 1, -1, -1):
            sum_of_later = float(errors[index]) + agent.gamma * agent.gae_lambda * sum_of_later
            advantages[index] = sum_of_later
        return advantages.astype(np.float32)
