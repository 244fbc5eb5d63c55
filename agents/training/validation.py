"""Validation: the current policy is evaluated during a training, so that the best one can be kept.

The last policy of a training is often not its best. Policies of the DQN family change from update to update, and policies of
PPO have dropped from 19 of 20 completed episodes to 4. A validation has its own games, seeds and random numbers. So the weights
equal those of a training without validations, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.algorithms import without_noise
from agents.announce import announce
from agents.checkpoints import describe
from agents.device import StopRequest
from agents.policies import agent_of, play_levels
from agents.progress import Counters, EpisodeTotals, PlayedEpisode, ValidationResult
from configs import Config
from configs.schema import ValidationConfig
from configs.seeds import Stream, seed_of
from mario_env import EpisodeSummary


@dataclass(frozen=True)
class Validation:
    """What the caller of a training provides for its validations.

    Attributes:
        on_episode: called for each episode, in the training thread; it must not block. `global_step` is the number of decisions
            the policy was trained for. An episode that is played again after a kill has the same indices.
        recorded: the totals of earlier validations on record; used if the training does not resume exactly.
        next_index: the first episode index that is free in all environments; used in the same case.
    """

    on_episode: Callable[[PlayedEpisode], None]
    recorded: EpisodeTotals = field(default_factory=lambda: EpisodeTotals(0, 0.0))
    next_index: int = 0

    def adopt_record(self, counters: Counters) -> None:
        """Continue from the counts on record instead of those in the checkpoint."""
        counters.validation.episodes, counters.validation.reward_sum = self.recorded.episodes, self.recorded.reward_sum
        counters.validation.next_index = self.next_index


class Validator:
    """Validates `model` when due: at each multiple of `train.checkpoint_every`, and at the end.

    Args:
        request: a stop request also ends a validation.
        require_finite_weights: raises an error if a weight of the policy is NaN or infinite.
    """

    def __init__(
        self,
        config: Config,
        settings: ValidationConfig,
        model: BaseAlgorithm,
        counters: Counters,
        validation: Validation,
        request: StopRequest,
        require_finite_weights: Callable[[], None],
    ) -> None:
        self._config = config
        self._settings = settings
        self._model = model
        self._counters = counters
        self._validation = validation
        self._request = request
        self._require_finite_weights = require_finite_weights

    def when_due(self) -> None:
        """Validate, unless a validation has taken place since the last multiple. The next checkpoint contains the result.

        A validation that a signal ended is due again after resumption.
        """
        every, steps = self._config.train.checkpoint_every, self._model.num_timesteps
        if steps // every > self._counters.validation.last_steps // every:
            self._validate()

    def at_end(self) -> None:
        """Validate, unless the policy has not changed since the last validation."""
        if self._model.num_timesteps > self._counters.validation.last_steps:
            self._validate()

    def _validate(self) -> None:
        self._require_finite_weights()
        played: list[PlayedEpisode] = []
        first = self._counters.validation.next_index
        agent = agent_of(self._model, self._config, describe("policy", self._config, self._model))
        settings = self._config.evaluate.model_copy(update={"episodes": self._settings.episodes, "levels": []})

        def on_episode(episode: PlayedEpisode) -> None:
            episode = episode.at_index(first + episode.episode_index)
            played.append(episode)
            self._validation.on_episode(episode)

        number = len(self._counters.validation.history)
        seed = seed_of(self._config.seed, Stream.VALIDATION, number)
        with without_noise(agent.model):
            play_levels(
                agent,
                self._config,
                self._settings.protocol,
                settings,
                seed=seed,
                on_episode=on_episode,
                stop=lambda: self._request.requested,
            )
        if not self._request.requested:
            self._add_result(played)

    def _add_result(self, played: list[PlayedEpisode]) -> None:
        summaries = [episode.summary for episode in played]
        result = ValidationResult(
            steps=self._model.num_timesteps,
            episodes=len(summaries),
            completed=sum(bool(summary.level_completed) for summary in summaries),
            distance=fmean(float(summary.distance_traveled) for summary in summaries),
        )
        counts = self._counters.validation
        counts.history.append(result)
        counts.episodes += result.episodes
        counts.reward_sum += sum(float(summary.reward) for summary in summaries)
        counts.next_index = 1 + max(episode.episode_index for episode in played)
        self._write(result, _completion_rates(summaries))
        best = " (the best so far)" if result.rank == max(each.rank for each in counts.history) else ""
        completed = f"{result.completed} of {result.episodes} completed"
        announce(f"validation at step {result.steps:,}: {completed}, distance {result.distance:.0f}{best}")

    def _write(self, result: ValidationResult, levels: Mapping[str, float]) -> None:
        """Write the metrics of the validation at the current step; those of the training are written later."""
        counts = self._counters.validation
        values = {
            "validate/completion_rate": result.completed / result.episodes,
            "validate/distance_mean": result.distance,
            "validate/episodes": counts.episodes,
            "validate/reward_sum": counts.reward_sum,
            **{f"validate/level/{level}/completion_rate": rate for level, rate in levels.items()},
        }
        for writer in self._model.logger.output_formats:
            writer.write(dict(values), dict.fromkeys(values, ()), result.steps)


def _completion_rates(summaries: Sequence[EpisodeSummary]) -> dict[str, float]:
    """The completion rate on each level, where there are several."""
    completed: dict[str, list[bool]] = {}
    for summary in summaries:
        if summary.start.level is not None:
            completed.setdefault(summary.start.level, []).append(bool(summary.level_completed))
    return {level: sum(own) / len(own) for level, own in completed.items()}
