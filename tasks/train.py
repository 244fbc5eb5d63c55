"""Phase 3: the full training, which resumes from its newest checkpoint."""

import logging
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.restrictions import CANDIDATE
from episodes import EpisodeStore, EpisodeWriter, StoreError, StoreUnavailableError
from mario_env import observation_space
from tasks import phases, sharing
from tasks.artifacts import show_markdown
from tasks.datasets import log_training_data
from tasks.descriptions import describe_version
from tasks.experiment import Experiment, open_experiment_store, open_run, open_writer, recorded_totals
from tasks.naming import labels, model_name
from tasks.phases import PhaseRecord
from tasks.progress import progress_artifact
from tasks.rows import EpisodeSink, evaluation_protocol
from tasks.search import Demonstrations
from tasks.teaching import load_teachers
from tracking import ModelVersion, TrackedRun, TrackingError

if TYPE_CHECKING:
    from agents import Checkpoint, PlayedEpisode, TrainingResult, Validation

logger = logging.getLogger(__name__)

# The code with which MLflow loads the model.
_SERVED_MODEL = Path(__file__).with_name("served_model.py")


@task(name="full training", cache_policy=NO_CACHE, persist_result=False)
def train_agent(experiment: Experiment, found: Demonstrations | None = None) -> PhaseRecord:
    """Train to `train.total_steps`, and register the model.

    The task must be called directly, not submitted, so that signals reach the training in the main thread. It then ends with a
    checkpoint.

    Args:
        experiment: the experiment.
        found: the demonstrations that a search has found.

    Raises:
        TrainingInterrupted: SIGINT or SIGTERM was received; a checkpoint was written first.
        FencedError: another attempt has taken over; no checkpoint was written.
        NonFiniteError: the loss or a weight is NaN or infinite.
        SharedStorageError: the storage that machines share is unavailable at the end. If the phase is started again, it copies
            the model without further training.
        StoreUnavailableError: Postgres is unavailable at the end. The model is kept, and rows wait on disk. If the phase is
            started again, it writes them without further training.
    """
    if done := phases.finished(experiment, "train"):
        logger.info("the training is already complete: %s", dict(done.details))
        return done
    started = time.perf_counter()
    with open_experiment_store(experiment) as store, open_run(experiment, system_metrics=True) as run:
        details = _train(experiment, store, run, found)
    record = phases.save(experiment, PhaseRecord("train", time.perf_counter() - started, details))
    show_markdown(
        "training",
        f"**{experiment.name}**: {details['steps']} steps, {details['episodes']} episodes in {record.seconds:.0f} s. "
        f"Model `{details['model_uri']}` (version {details['model_version']} of `{details['registered_model']}`).",
        f"{details['steps']:,} steps, {details['episodes']:,} episodes, model {details['model_uri']}",
    )
    return record


def _train(experiment: Experiment, store: EpisodeStore, run: TrackedRun, found: Demonstrations | None) -> dict[str, object]:
    """Train, and register the model. Returns the details of the phase."""
    log_training_data(run, experiment.config)
    result = _run_training(experiment, store, run, found)
    run.log_metrics({"train/episodes": result.episodes, "train/reward_sum": result.reward_sum}, result.steps)
    model_path, model_steps = _select_model(experiment, result)
    sharing.publish(experiment)
    try:
        version = register(experiment, run, model_path, model_steps)
    except TrackingError as error:
        raise TrackingError(
            f"the training is complete, its model is in {model_path}, but MLflow has not registered it: {error}. When "
            f"MLflow is back, repeat the command of this run with --experiment {experiment.name}: it continues here"
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


def _run_training(
    experiment: Experiment, store: EpisodeStore, run: TrackedRun, found: Demonstrations | None
) -> "TrainingResult":
    """Train to `train.total_steps`, with episodes going to Postgres and metrics to MLflow."""
    from agents import train
    from mario_env import make_training_vec

    config = experiment.config
    result: TrainingResult | None = None
    try:
        with (
            closing(make_training_vec(config, found)) as environments,
            open_writer(experiment, store) as writer,
            progress_artifact("training-progress", config.train.total_steps) as progress,
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
                teachers=load_teachers(experiment),
                episode_indices=store.next_episode_indices(experiment.id, "train", "training"),
                recorded=recorded_totals(store, experiment.id, "train"),
                until=lambda _: stop_if_fenced(experiment),
                on_start=lambda: sharing.publish_or_warn(experiment),
                before_checkpoint=lambda: prepare_checkpoint(experiment, writer, run),
                on_checkpoint=lambda checkpoint: share_checkpoint(experiment, checkpoint, run),
            )
            progress.steps = result.steps
    except StoreUnavailableError as error:
        if result is None:
            raise
        raise StoreUnavailableError(f"the training is complete, its model is in {result.model_path}. {error}") from None
    return result


def _validation(experiment: Experiment, store: EpisodeStore, writer: EpisodeWriter) -> "Validation | None":
    from agents import Validation

    if experiment.config.train.validation is None:
        return None
    protocol = evaluation_protocol(experiment.config.train.validation.protocol)
    return Validation(
        on_episode=EpisodeSink(writer, experiment.id, "train", protocol),
        recorded=recorded_totals(store, experiment.id, "train", protocol),
        next_index=max(store.next_episode_indices(experiment.id, "train", protocol).values(), default=0),
    )


def _select_model(experiment: Experiment, result: "TrainingResult") -> tuple[Path, int]:
    """The folder of the model to register and evaluate, and the number of steps that it was trained for."""
    from agents import keep_best

    if result.model_path is None:
        raise RuntimeError("the training ended without a final model")
    if experiment.config.evaluate.model == "last":
        return result.model_path, result.steps
    if result.best is None:
        logger.warning("no validated checkpoint is left: the last policy is evaluated instead of the best one")
        return result.model_path, result.steps
    logger.info("the best policy in validation is that of step %d", result.best.steps)
    return keep_best(experiment.directory, result.best), result.best.steps


def stop_if_fenced(experiment: Experiment) -> bool:
    """End the training if another attempt is known to have taken over: an `until` of :func:`agents.train`. Returns False.

    Raises:
        FencedError: another attempt has taken over.
    """
    experiment.required_claim.require_current()
    return False


def prepare_checkpoint(experiment: Experiment, writer: EpisodeWriter, run: TrackedRun) -> None:
    """Make sure that no other attempt has taken over, which writes checkpoints into the same folder, and sync all records.

    Raises:
        FencedError: another attempt has taken over.
    """
    experiment.required_claim.confirm()
    sync_records(writer, run)


def share_checkpoint(experiment: Experiment, checkpoint: "Checkpoint", run: TrackedRun) -> None:
    """Log a checkpoint's manifest, and copy the checkpoint to where other machines find it."""
    run.log_dict(checkpoint.manifest.to_json(), f"checkpoints/{checkpoint.path.name}.json")
    sharing.publish_or_warn(experiment)


def sync_records(writer: EpisodeWriter, run: TrackedRun) -> None:
    """Sync all episodes and metrics to disk before a checkpoint, so that a resumed training does not repeat them.

    This does not wait for Postgres or MLflow. If the disk fails, the training continues.
    """
    try:
        writer.sync()
    except StoreError as error:
        logger.warning("the checkpoint counts episodes that are not on disk: %s", error)
    if not run.sync():
        logger.warning("the checkpoint counts metrics that are not on disk: they could not be written")


def register(experiment: Experiment, run: TrackedRun, model: Path, steps: int) -> ModelVersion:
    """Register the model in the folder `model` as a model version of the run. Repeated calls register it once."""
    config = experiment.config
    tags = labels(config) | {"experiment": experiment.name}
    told = describe_version(experiment, steps)
    space = observation_space(config.environment)
    example = np.zeros((1, *space.shape), space.dtype)
    return run.register_model(
        model_name(config), model, python_model=_SERVED_MODEL, input_example=example, tags=tags, step=steps, description=told
    )


@task(name="model alias", cache_policy=NO_CACHE, persist_result=False)
def move_alias(experiment: Experiment, trained: PhaseRecord) -> None:
    """Let the preset's name and `candidate` name this model, after its evaluation and the data-quality checks have passed.

    An experiment moves the aliases once. If an old experiment is started again, newer ones keep them.
    """
    if phases.finished(experiment, "alias"):
        return
    started = time.perf_counter()
    name, version, alias = trained.details["registered_model"], trained.details["model_version"], experiment.config.name
    with open_run(experiment) as run:
        for each in (alias, CANDIDATE):
            run.set_alias(name, version, each)
    phases.save(experiment, PhaseRecord("alias", time.perf_counter() - started, {"alias": f"models:/{name}@{alias}"}))
    logger.info("models:/%s@%s and @%s are version %s", name, alias, CANDIDATE, version)
