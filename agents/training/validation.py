"""Validation: the present policy is evaluated during a training, so that the best one can be kept.

The last policy of a training is often not its best one: policies of the DQN family change from update to update, and policies
of PPO have fallen from 19 of 20 completed episodes to 4. A validation has its own games, seeds and random numbers, so the
weights are those of a training without it, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.algorithms import without_noise
from agents.announce import announce
from agents.checkpoints import describe
from agents.device import StopRequest
from agents.policies import agent_of, play_episodes
from agents.progress import Counters, EpisodeTotals, PlayedEpisode, ValidationResult
from configs import Config
from configs.schema import ValidationConfig
from configs.seeds import Stream, seed_of


@dataclass(frozen=True)
class Validation:
    """What a training needs to know to validate its policy.

    Attributes:
        on_episode: called for each episode, in the training thread: it must not block. Its `global_step` is the age of the
            policy. An episode that is played again after a kill has the same indices.
        recorded: the episodes of earlier validations on record, for a training that does not resume exactly.
        next_index: the first episode index that is free in all environments, for the same case.
    """

    on_episode: Callable[[PlayedEpisode], None]
    recorded: EpisodeTotals = field(default_factory=lambda: EpisodeTotals(0, 0.0))
    next_index: int = 0

    def adopt_record(self, counters: Counters) -> None:
        """Continue the counts of the record instead of the checkpoint's."""
        counters.validation.episodes, counters.validation.reward_sum = self.recorded.episodes, self.recorded.reward_sum
        counters.validation.next_index = self.next_index


class Validator:
    """Plays validations of `model` when they are due: at each multiple of `train.checkpoint_every`, and at the end.

    Args:
        request: ends a validation too.
        require_sound: raises if a weight of the policy is NaN or infinite: its episodes would be no result.
    """

    def __init__(
        self,
        config: Config,
        settings: ValidationConfig,
        model: BaseAlgorithm,
        counters: Counters,
        validation: Validation,
        request: StopRequest,
        require_sound: Callable[[], None],
    ) -> None:
        self._config = config
        self._settings = settings
        self._model = model
        self._counters = counters
        self._validation = validation
        self._request = request
        self._require_sound = require_sound

    def when_due(self) -> None:
        """Validate unless that was done since the last multiple. The checkpoint after it then has the result.

        A validation that a signal ended is due again in the process that resumes.
        """
        every, steps = self._config.train.checkpoint_every, self._model.num_timesteps
        if steps // every > self._counters.validation.last_steps // every:
            self._validate()

    def at_end(self) -> None:
        """Validate unless that was the last thing done."""
        if self._model.num_timesteps > self._counters.validation.last_steps:
            self._validate()

    def _validate(self) -> None:
        self._require_sound()
        played: list[PlayedEpisode] = []
        first = self._counters.validation.next_index
        agent = agent_of(self._model, self._config, describe("policy", self._config, self._model))
        settings = self._config.evaluate.model_copy(update={"episodes": self._settings.episodes})

        def pass_on(episode: PlayedEpisode) -> None:
            episode = episode.at_index(first + episode.episode_index)
            played.append(episode)
            self._validation.on_episode(episode)

        number = len(self._counters.validation.history)
        seed = seed_of(self._config.seed, Stream.VALIDATION, number)
        with without_noise(self._model.policy):
            play_episodes(
                agent,
                self._config.environment,
                self._settings.protocol,
                settings,
                seed=seed,
                on_episode=pass_on,
                threads=self._config.train.game_threads,
                retry=self._config.retry,
                stop=lambda: self._request.requested,
            )
        if not self._request.requested:
            self._count(played)

    def _count(self, played: list[PlayedEpisode]) -> None:
        summaries = [episode.summary for episode in played]
        found = ValidationResult(
            steps=self._model.num_timesteps,
            episodes=len(summaries),
            completed=sum(bool(summary.level_completed) for summary in summaries),
            distance=fmean(float(summary.distance_traveled) for summary in summaries),
        )
        counts = self._counters.validation
        counts.history.append(found)
        counts.episodes += found.episodes
        counts.reward_sum += sum(float(summary.reward) for summary in summaries)
        counts.next_index = 1 + max(episode.episode_index for episode in played)
        self._write(found)
        best = " (the best so far)" if found.rank == max(each.rank for each in counts.history) else ""
        completed = f"{found.completed} of {found.episodes} completed"
        announce(f"validation at step {found.steps:,}: {completed}, distance {found.distance:.0f}{best}")

    def _write(self, found: ValidationResult) -> None:
        """Write the metrics at this very step; the training's own are written later."""
        counts = self._counters.validation
        values = {
            "validate/completion_rate": found.completed / found.episodes,
            "validate/distance_mean": found.distance,
            "validate/episodes": counts.episodes,
            "validate/reward_sum": counts.reward_sum,
        }
        for writer in self._model.logger.output_formats:
            writer.write(dict(values), dict.fromkeys(values, ()), found.steps)
