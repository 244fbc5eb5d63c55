"""`mario evaluate`: any model under every protocol, recorded like the evaluation of a run."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from configs import Settings
from flows.models import Trust, load
from tasks.evaluate import evaluation_json, metrics_of, play_protocols, table_of
from tasks.experiment import checked_name, open_run, open_store
from tasks.starting import finish_experiment, running_experiment


def evaluate_model(
    reference: str, episodes: int | None, settings: Settings, trust: Trust, experiment_name: str | None = None
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Evaluate the model that `reference` names, as an experiment of its own.

    Args:
        reference: the name of a model in `models/`, a path, an MLflow run or a registered model; see
            :func:`tracking.resolve_model`.
        episodes: under each protocol; None: as the model's configuration says.
        settings: places and servers.
        trust: whether a file from elsewhere is to be loaded.
        experiment_name: of one that was begun before, to go on with it: what was played is not played again. None: a new one.

    Returns:
        A table for people, and the figures as JSON types; with `confirmation` if the model was shipped with figures.

    Raises:
        ModelNotFoundError, CheckpointError, UntrustedModelError: as :func:`flows.models.load`.
        StoreUnavailableError: Postgres is away at the end; the rows wait on disk, and the message says how they get there.
    """
    from agents import shipped_evaluation

    agent, description = load(reference, settings, trust)
    config = agent.config
    if episodes is not None:
        config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"episodes": episodes})})
    name = checked_name(experiment_name or f"{config.name}-evaluation-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    with running_experiment(config, name, settings, None) as experiment:
        try:
            with open_store(settings) as store:
                summaries, counts = play_protocols(experiment, agent, store)
            with open_run(experiment) as run:
                run.log_metrics(metrics_of(summaries, counts), agent.manifest.steps)
                run.set_tags({"evaluated_model": reference})
        except BaseException as error:
            finish_experiment(experiment, "failed" if isinstance(error, Exception) else "interrupted")
            raise
        finish_experiment(experiment, "completed")
    figures: dict[str, Any] = {
        "model": reference,
        "experiment": name,
        "steps": agent.manifest.steps,
        "seed": config.seed,
        "protocols": evaluation_json(summaries),
    }
    if description is not None:
        figures["confirmation"] = confirmation(shipped_evaluation(description), figures["protocols"])
    return table_of(summaries), figures


def confirmation(told: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Whether figures by protocol that were told of a model are those that were found.

    `identical`: every figure is the same, as the same settings on the same emulator should give. `contradicted`: the protocols
    whose intervals of the completion rate do not overlap. `missing`: those that were told and not played.
    """
    both = [protocol for protocol in told if protocol in found]
    return {
        "identical": told == found,
        "contradicted": [protocol for protocol in both if not _overlap(told[protocol], found[protocol])],
        "missing": [protocol for protocol in told if protocol not in found],
        "told": {
            protocol: {name: figures[name] for name in ("episodes", "completed", "completion")}
            for protocol, figures in told.items()
        },
    }


def _overlap(told: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    ours, theirs = told["completion"], found["completion"]
    return bool(ours["low"] <= theirs["high"] and theirs["low"] <= ours["high"])
