"""Phase 3: the full training, which goes on from its newest checkpoint."""

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from episodes import EpisodeStore, EpisodeWriter, StoreError, StoreUnavailableError
from mario_env import observation_space
from tasks import phases
from tasks.artifacts import show_markdown
from tasks.experiment import Experiment, open_experiment_store, open_run, open_writer, recorded
from tasks.naming import labels, level_name
from tasks.phases import PhaseRecord
from tasks.progress import shown_progress
from tasks.rows import EpisodeSink, evaluation_protocol
from tracking import ModelVersion, TrackedRun, TrackingError

if TYPE_CHECKING:
    from agents import PlayedEpisode, TrainingResult, Validation

logger = logging.getLogger(__name__)

# The code file with which MLflow loads the model again.
_SERVED_MODEL = Path(__file__).with_name("served_model.py")


@task(name="full training", cache_policy=NO_CACHE, persist_result=False)
def train_agent(experiment: Experiment) -> PhaseRecord:
    """Train to `train.total_steps`, register the model, and return its place.

    Called directly, never submitted: a signal reaches it in the main thread, and it ends with a checkpoint.

    Raises:
        TrainingInterrupted: SIGINT or SIGTERM; a checkpoint was written first.
        NonFiniteError: the loss or a weight is NaN or infinite.
        StoreUnavailableError: Postgres is away at the end. The model is kept and rows wait on disk: the phase, when it is begun
            again, writes them and trains no more.
    """
    if done := phases.finished(experiment.directory, "train"):
        logger.info("the training has been done before: %s", dict(done.details))
        return done
    started = time.perf_counter()
    with open_experiment_store(experiment) as store, open_run(experiment, system_metrics=True) as run:
        details = _train(experiment, store, run)
    record = phases.save(experiment.directory, PhaseRecord("train", time.perf_counter() - started, details))
    show_markdown(
        "training",
        f"**{experiment.name}**: {details['steps']} steps, {details['episodes']} episodes in {record.seconds:.0f} s. "
        f"Model `{details['model_uri']}` (version {details['model_version']} of `{details['registered_model']}`).",
    )
    return record


def _train(experiment: Experiment, store: EpisodeStore, run: TrackedRun) -> dict[str, object]:
    from agents import train
    from mario_env import make_vec

    config = experiment.config
    result: TrainingResult | None = None
    environments = make_vec(
        config.environment,
        config.train.n_envs,
        seed=config.seed,
        threads=config.train.game_threads,
        retry=config.retry,
    )
    try:
        with (
            open_writer(experiment, store) as writer,
            shown_progress("training-progress", config.train.total_steps) as progress,
        ):
            sink = EpisodeSink(writer, experiment.id, "train")

            def on_episode(episode: "PlayedEpisode") -> None:
                progress.steps = episode.global_step
                sink(episode)

            result = train(
                config,
                env=environments,
                directory=experiment.directory,
                total_steps=config.train.total_steps,
                on_episode=on_episode,
                writers=[run.kv_writer()],
                validation=_validation(experiment, store, writer),
                episode_indices=store.next_episode_indices(experiment.id, "train", "training"),
                recorded=recorded(store, experiment.id, "train"),
                before_checkpoint=lambda: sync(writer, run),
                on_checkpoint=lambda checkpoint: run.log_dict(
                    checkpoint.manifest.to_json(), f"checkpoints/{checkpoint.path.name}.json"
                ),
            )
            progress.steps = result.steps
    except StoreUnavailableError as error:
        if result is None:
            raise
        raise StoreUnavailableError(f"the training is complete, its model is in {result.model_path}. {error}") from None
    finally:
        environments.close()
    run.log_metrics({"train/episodes": result.episodes, "train/reward_sum": result.reward_sum}, result.steps)
    model_path, model_steps = _chosen(experiment, result)
    try:
        version = register(experiment, run, model_path, model_steps)
    except TrackingError as error:
        raise TrackingError(
            f"the training is complete, its model is in {model_path}, but MLflow has not registered it: {error}. When "
            f"MLflow is back, give the command of this run again with --experiment {experiment.name}: it goes on here"
        ) from error
    return {
        "steps": result.steps,
        "frames": result.frames,
        "episodes": result.episodes,
        "reward_sum": result.reward_sum,
        "validations": [asdict(validated) for validated in result.validations],
        "validation_episodes": result.validated.episodes,
        "training_seconds": result.seconds,
        "model_path": str(model_path),
        "model_steps": model_steps,
        "registered_model": version.name,
        "model_version": str(version.version),
        "model_uri": version.uri,
    }


def _validation(experiment: Experiment, store: EpisodeStore, writer: EpisodeWriter) -> "Validation | None":
    from agents import Validation

    if experiment.config.train.validation is None:
        return None
    protocol = evaluation_protocol(experiment.config.train.validation.protocol)
    return Validation(
        on_episode=EpisodeSink(writer, experiment.id, "train", protocol),
        recorded=recorded(store, experiment.id, "train", protocol),
        next_index=max(store.next_episode_indices(experiment.id, "train", protocol).values(), default=0),
    )


def _chosen(experiment: Experiment, result: "TrainingResult") -> tuple[Path, int]:
    """The model that is registered and evaluated, and for how many steps it was trained."""
    from agents import keep_best

    if result.model_path is None:
        raise RuntimeError("the training ended without a final model")
    if experiment.config.evaluate.model == "last":
        return result.model_path, result.steps
    if result.best is None:
        logger.warning("no checkpoint of a policy that was validated is left: the last policy is evaluated instead of the best")
        return result.model_path, result.steps
    logger.info("the best policy in validation is that of step %d", result.best.steps)
    return keep_best(experiment.directory, result.best), result.best.steps


def sync(writer: EpisodeWriter, run: TrackedRun) -> None:
    """Have every episode and metric so far on disk before a checkpoint: a training that goes on from there makes none again.

    Neither Postgres nor MLflow is waited for. A disk that takes no rows will hardly take the checkpoint; training goes on all
    the same.
    """
    try:
        writer.sync()
    except StoreError as error:
        logger.warning("a checkpoint is written before the episodes it counts: %s", error)
    if not run.sync():
        logger.warning("a checkpoint is written before the metrics it counts: the disk has not taken them")


def register(experiment: Experiment, run: TrackedRun, model: Path, steps: int) -> ModelVersion:
    """Register the model in the folder `model` as a version of the run, once, however often it is called."""
    config = experiment.config
    name = config.tracking.registered_model or f"mario-{level_name(config.environment)}-{config.agent.algorithm}"
    tags = labels(config) | {"experiment": experiment.name}
    space = observation_space(config.environment)
    example = np.zeros((1, *space.shape), space.dtype)
    return run.register_model(name, model, python_model=_SERVED_MODEL, input_example=example, tags=tags, step=steps)


@task(name="model alias", cache_policy=NO_CACHE, persist_result=False)
def move_alias(experiment: Experiment, trained: PhaseRecord) -> None:
    """Let the preset's name mean this model from now on: called when its evaluation and the checks of its rows have passed.

    An experiment does it once: one that ended long ago, started again, takes the name from no newer one.
    """
    if phases.finished(experiment.directory, "alias"):
        return
    started = time.perf_counter()
    name, version, alias = trained.details["registered_model"], trained.details["model_version"], experiment.config.name
    with open_run(experiment) as run:
        run.set_alias(name, version, alias)
    phases.save(experiment.directory, PhaseRecord("alias", time.perf_counter() - started, {"alias": f"models:/{name}@{alias}"}))
    logger.info("models:/%s@%s is version %s", name, alias, version)
