"""`mario evaluate`: any model under every protocol, recorded like the evaluation of a run."""

from datetime import UTC, datetime
from typing import Any

from configs import Settings
from tasks.evaluate import evaluation_json, metrics_of, play_protocols, table_of
from tasks.experiment import checked_name, experiment_held, finish_experiment, open_run, open_store, start_experiment
from tracking import resolve_model, resolve_tracking_uri


def evaluate_model(
    reference: str, episodes: int | None, settings: Settings, experiment_name: str | None = None
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Evaluate the model that `reference` names, as an experiment of its own.

    Args:
        reference: a path, an MLflow run or a registered model; see :func:`tracking.resolve_model`.
        episodes: under each protocol; None: as the model's configuration says.
        settings: places and servers.
        experiment_name: of one that was begun before, to go on with it: what was played is not played again. None: a new one.

    Returns:
        A table for people, and the figures as JSON types.

    Raises:
        ModelNotFoundError, CheckpointError: there is no such model, or its files are damaged.
        StoreUnavailableError: Postgres is away at the end; the rows wait on disk, and the message says how they get there.
    """
    from agents import load_agent

    path = resolve_model(reference, resolve_tracking_uri(settings.tracking_uri, settings.home))
    agent = load_agent(path)
    config = agent.config
    if episodes is not None:
        config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"episodes": episodes})})
    name = checked_name(experiment_name or f"{config.name}-evaluation-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    experiment = start_experiment(config, name, settings, None)
    try:
        with experiment_held(experiment), open_store(settings) as store:
            summaries, counts = play_protocols(experiment, agent, store)
        with open_run(experiment) as run:
            run.log_metrics(metrics_of(summaries, counts), agent.manifest.steps)
            run.set_tags({"evaluated_model": reference})
    except BaseException:
        finish_experiment(experiment, "failed")
        raise
    finish_experiment(experiment, "completed")
    figures = {
        "model": reference,
        "experiment": name,
        "steps": agent.manifest.steps,
        "seed": config.seed,
        "protocols": evaluation_json(summaries),
    }
    return table_of(summaries), figures
