"""Phase 2: the real training loop, on the experiment's own environment, until an episode has ended and is in Postgres.

A thousand steps prove nothing about episodes: random play of the three-life game takes 19 000 to 28 000 frames for one. So the
run goes on until it has both: `integration.min_frames`, and one whole episode whose row has been read back.
"""

import logging
import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs import Config
from configs.schema import DQNConfig, QRDQNConfig
from configs.seeds import Stream, seed_of
from tasks import phases
from tasks.experiment import Experiment, open_experiment_store, open_run, open_writer, recorded
from tasks.phases import PhaseRecord
from tasks.rows import EpisodeSink

logger = logging.getLogger(__name__)

# So that a value-based agent learns within the short run, with a buffer that a short run can fill.
_LEARNING_STARTS = 1_000
_BUFFER_SIZE = 10_000


class IntegrationError(RuntimeError):
    """The short run did not show what it has to show; the message says what is missing."""


@task(name="integration run", cache_policy=NO_CACHE, persist_result=False)
def integration_run(experiment: Experiment) -> PhaseRecord:
    """Train for at least `integration.min_frames` frames and one episode, and read its row back.

    Raises:
        IntegrationError: no episode ended within `integration.max_frames`, or its row is not in Postgres.
    """
    if done := phases.finished(experiment.directory, "integration"):
        logger.info("the integration run has been done before: %s", dict(done.details))
        return done
    from agents import Progress, train
    from mario_env import make_vec

    started = time.perf_counter()
    config = short_run(experiment.config)
    limits = config.integration
    logger.info("until %d frames are played and an episode has ended; at most %d frames", limits.min_frames, limits.max_frames)
    with open_experiment_store(experiment) as store, open_run(experiment) as run:
        environments = make_vec(
            config.environment,
            config.train.n_envs,
            seed=config.seed,
            threads=config.train.game_threads,
            retry=config.retry,
        )
        try:
            with open_writer(experiment, store) as writer:
                indices = store.next_episode_indices(experiment.id, "integration", "training")
                before = recorded(store, experiment.id, "integration")

                def enough(progress: Progress) -> bool:
                    # The agent has learned too: a rollout of PPO may be longer than the shortest run.
                    shown = progress.episodes > before.episodes and progress.updates > 0
                    return progress.frames >= limits.max_frames or (progress.frames >= limits.min_frames and shown)

                result = train(
                    config,
                    env=environments,
                    directory=experiment.directory / "integration",
                    total_steps=config.train.total_steps,
                    on_episode=EpisodeSink(writer, experiment.id, "integration"),
                    episode_indices=indices,
                    recorded=before,
                    until=enough,
                    resume=False,
                )
        finally:
            environments.close()
        run.log_metrics({"integration/episodes": result.episodes, "integration/reward_sum": result.reward_sum}, result.steps)
        stored = store.count(experiment.id, "integration")
    if stored == before.episodes:
        raise IntegrationError(
            f"no episode ended within {result.frames} frames (integration.max_frames is {limits.max_frames}): raise it, or let "
            "environment.stall_after or environment.max_steps end episodes"
        )
    if stored != result.episodes:
        raise IntegrationError(f"{result.episodes} episodes ended and {stored} rows are in Postgres")
    logger.info("%d frames, %d episodes played and read back from Postgres", result.frames, result.episodes)
    details = {"steps": result.steps, "frames": result.frames, "episodes": result.episodes, "reward_sum": result.reward_sum}
    return phases.save(experiment.directory, PhaseRecord("integration", time.perf_counter() - started, details))


def short_run(config: Config) -> Config:
    """The experiment's configuration at the size of the integration run: same game, same algorithm, same loop."""
    frames = config.integration.max_frames
    agent = config.agent
    if isinstance(agent, DQNConfig | QRDQNConfig):
        agent = agent.model_copy(
            update={
                "learning_starts": min(agent.learning_starts, _LEARNING_STARTS),
                "buffer_size": min(agent.buffer_size, _BUFFER_SIZE),
            }
        )
    steps = frames // config.environment.frame_skip + config.train.n_envs
    # No progress bar: how long it takes is not known before an episode has ended.
    update = {"total_steps": steps, "planned_steps": None, "checkpoint_every": max(1, steps // 10), "progress_bar": False}
    training = config.train.model_copy(update=update)
    # Not the training's games: those would be played twice.
    seed = seed_of(config.seed, Stream.INTEGRATION, bits=31)
    return config.model_copy(update={"seed": seed, "agent": agent, "train": training})
