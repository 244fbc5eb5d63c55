"""Phase 2: a short run of the real training loop, until an episode has ended and its row is in Postgres.

A thousand steps would not be enough: an episode of random play in the three-life game takes 19 000 to 28 000 frames. So the run
lasts until it has `integration.min_frames` frames and one whole episode whose row has been read back.
"""

import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs import Config
from configs.agent import ReplayAgentConfig
from configs.seeds import Stream, seed_of
from tasks import phases
from tasks.experiment import Experiment, open_experiment_store, open_run, open_writer, recorded_totals
from tasks.phases import PhaseRecord
from tasks.rows import EpisodeSink
from tasks.search import Demonstrations
from tasks.teaching import load_teachers

if TYPE_CHECKING:
    from agents import TrainingResult
    from episodes import EpisodeStore

logger = logging.getLogger(__name__)

# A value-based agent must learn within the short run, with a buffer that the short run can fill.
_LEARNING_STARTS = 1_000
_BUFFER_SIZE = 10_000


class IntegrationError(RuntimeError):
    """The short run did not meet its goal; the message says what is missing."""


@task(name="integration run", cache_policy=NO_CACHE, persist_result=False)
def integration_run(experiment: Experiment, found: Demonstrations | None = None) -> PhaseRecord:
    """Train for at least `integration.min_frames` frames and one episode, and read its row back.

    Args:
        experiment: the experiment.
        found: the demonstrations that a search has found.

    Raises:
        IntegrationError: no episode ended within `integration.max_frames`, or its row is not in Postgres.
    """
    if done := phases.finished(experiment, "integration"):
        logger.info("the integration run is already complete: %s", dict(done.details))
        return done
    started = time.perf_counter()
    limits = experiment.config.integration
    logger.info("playing at least %d frames and one episode; at most %d frames", limits.min_frames, limits.max_frames)
    with open_experiment_store(experiment) as store, open_run(experiment) as run:
        before, result = _run_training(experiment, store, found)
        run.log_metrics({"integration/episodes": result.episodes, "integration/reward_sum": result.reward_sum}, result.steps)
        stored = store.count(experiment.id, "integration")
    if stored == before:
        raise IntegrationError(
            f"no episode ended within {result.frames} frames (integration.max_frames is {limits.max_frames}): raise it, or let "
            "environment.stall_after or environment.max_steps end episodes"
        )
    if stored != result.episodes:
        raise IntegrationError(f"{result.episodes} episodes ended and {stored} rows are in Postgres")
    logger.info("%d frames, %d episodes played and read back from Postgres", result.frames, result.episodes)
    details = {"steps": result.steps, "frames": result.frames, "episodes": result.episodes, "reward_sum": result.reward_sum}
    return phases.save(experiment, PhaseRecord("integration", time.perf_counter() - started, details))


def _run_training(experiment: Experiment, store: "EpisodeStore", found: Demonstrations | None) -> tuple[int, "TrainingResult"]:
    """Train until the limits of the integration run are reached.

    Returns:
        The number of episodes that earlier attempts have recorded, and the result, which includes them.
    """
    from agents import Progress, train
    from mario_env import make_training_vec

    config = short_run(experiment.config)
    limits = config.integration
    with closing(make_training_vec(config, found)) as environments, open_writer(experiment, store) as writer:
        # The writer has written rows that were waiting, so they are counted too.
        before = recorded_totals(store, experiment.id, "integration")

        def enough(progress: Progress) -> bool:
            experiment.required_claim.require_current()
            # The agent must also have learned: a rollout of PPO may be longer than the shortest run.
            shown = progress.episodes > before.episodes and progress.updates > 0
            return progress.frames >= limits.max_frames or (progress.frames >= limits.min_frames and shown)

        result = train(
            config,
            env=environments,
            directory=experiment.directory / "integration",
            total_steps=config.train.total_steps,
            on_episode=EpisodeSink(writer, experiment.id, "integration"),
            episode_indices=store.next_episode_indices(experiment.id, "integration", "training"),
            recorded=before,
            until=enough,
            teachers=load_teachers(experiment),
            resume=False,
        )
        return before.episodes, result


def short_run(config: Config) -> Config:
    """The experiment's configuration for the integration run: the same game, algorithm and loop, but shorter."""
    frames = config.integration.max_frames
    agent = config.agent
    if isinstance(agent, ReplayAgentConfig):
        agent = agent.model_copy(
            update={
                "learning_starts": min(agent.learning_starts, _LEARNING_STARTS),
                "buffer_size": min(agent.buffer_size, _BUFFER_SIZE),
            }
        )
    steps = frames // config.environment.frame_skip + config.train.n_envs
    # No progress bar: the end is not known before an episode has ended.
    update = {"total_steps": steps, "planned_steps": None, "checkpoint_every": max(1, steps // 10), "progress_bar": False}
    training = config.train.model_copy(update=update)
    # Another seed, so that the games of the training are not played twice.
    seed = seed_of(config.seed, Stream.INTEGRATION, bits=31)
    return config.model_copy(update={"seed": seed, "agent": agent, "train": training})
