"""`mario evaluate`: evaluate any model under every protocol, recorded like the evaluation of a run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from configs import Config, ConfigError, Settings, config_hash, override
from configs.schema import TrackingConfig
from flows.models import Trust, load
from flows.worker_home import require_place_for_files
from tasks.datasets import log_evaluation_data
from tasks.evaluate import (
    evaluation_json,
    evaluation_metrics,
    evaluation_table,
    level_metrics,
    level_summaries,
    level_table,
    play_protocols,
)
from tasks.experiment import checked_name, open_run, open_store
from tasks.starting import end_recorded, running_experiment

if TYPE_CHECKING:
    from agents import Agent

_SETTABLE: Final = ("environment", "evaluate", "seed")
_COMPARED: Final = (
    "episodes", "distinct", "completed", "completion_rate", "distance_mean", "distance_interquartile_mean", "reward_mean",
    "reward_interquartile_mean",
)  # fmt: skip


def evaluate_model(
    reference: str,
    episodes: int | None,
    settings: Settings,
    trust: Trust,
    experiment_name: str | None = None,
    overrides: Sequence[str] = (),
    flow_run_id: str | None = None,
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Evaluate the model `reference` as a separate experiment.

    Args:
        reference: the name of a model in `models/`, a path, an MLflow run or a registered model; see
            :func:`tracking.resolve_model`.
        episodes: episodes per protocol; None: as in the model's configuration.
        settings: the home folder and the servers.
        trust: whether a file from elsewhere may be loaded.
        experiment_name: an evaluation to continue; episodes that it has are not played again. None: start a new one.
        overrides: `section.key=value` for settings that differ from the model's own evaluation.
        flow_run_id: Prefect's id of the flow run, if there is one.

    Returns:
        A table for display, and the figures as JSON types. The figures have the key `confirmation` if the model was shipped
        with figures and the overrides do not affect results: figures of another level are not compared.

    Raises:
        ConfigError: an override is refused, or the model cannot play the environment.
        ModelNotFoundError, CheckpointError, UntrustedModelError: as :func:`flows.models.load`.
        StoreUnavailableError: Postgres is unavailable at the end. The rows wait on disk; the message says what to do.
        TrackingError: see :func:`flows.worker_home.require_place_for_files`.
    """
    require_place_for_files(settings)
    agent = load(reference, settings, trust)
    config = _with_overrides(agent, reference, overrides)
    comparable = config_hash(config) == config_hash(agent.config)
    if episodes is not None:
        config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"episodes": episodes})})
    # What a model says of its training's run (the place in MLflow, the sweep) is not about its evaluation.
    config = config.model_copy(update={"tracking": TrackingConfig()})
    name = checked_name(experiment_name or f"{config.name}-evaluation-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    with (
        running_experiment(config, name, settings, flow_run_id, evaluated=reference) as experiment,
        end_recorded(experiment),
    ):
        with open_store(settings) as store:
            summaries, counts = play_protocols(experiment, agent, store)
            levels = level_summaries(config, store.episodes(experiment.id, phase="evaluate"))
        with open_run(experiment) as run:
            run.log_metrics(evaluation_metrics(summaries, counts) | level_metrics(levels), agent.manifest.steps)
            log_evaluation_data(run, config)
            run.set_tags({"evaluated_model": reference} | ({"overrides": " ".join(overrides)} if overrides else {}))
    figures: dict[str, Any] = {
        "model": reference,
        "experiment": name,
        "steps": agent.manifest.steps,
        "seed": config.seed,
        "overrides": list(overrides),
        "environment": config.environment.model_dump(mode="json"),
        "protocols": evaluation_json(summaries),
    }
    if levels:
        figures["levels"] = {level: evaluation_json(own) for level, own in levels.items()}
    if agent.evaluation is not None and comparable:
        figures["confirmation"] = confirmation(agent.evaluation, figures["protocols"])
    return [*evaluation_table(summaries), *level_table(levels)], figures


def _with_overrides(agent: "Agent", reference: str, overrides: Sequence[str]) -> Config:
    """The agent's configuration with `overrides`.

    Raises:
        ConfigError: a key is refused, or the agent's network does not fit the actions or observations.
    """
    if not overrides:
        return agent.config
    from mario_env import observation_space
    from mario_env.wrappers import button_combinations

    config = override(agent.config, overrides, _SETTABLE)
    actions, known = len(button_combinations(config.environment)), agent.manifest.n_actions
    if actions != known:
        raise ConfigError(
            f"{reference} was trained with {known} actions, and environment.actions has {actions}: set it to {known} actions "
            f"(it was trained with {agent.config.environment.actions!r})"
        )
    observed, shape = config.environment.observation, observation_space(config.environment).shape
    if observed != agent.config.environment.observation or agent.manifest.observation_shape != shape:
        raise ConfigError(
            f"{reference} was trained on observations {agent.config.environment.observation} of shape "
            f"{agent.manifest.observation_shape}, and the game would give {observed} of shape {shape}: leave "
            "environment.observation as it is"
        )
    return config


def confirmation(shipped: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the figures that a model was shipped with, by protocol, with the measured ones.

    Returns:
        `identical`: whether all comparable figures are equal, as the same settings on the same emulator should give.
        `contradicted`: the protocols whose intervals of the completion rate do not overlap. `missing`: the shipped protocols
        that were not played. `outdated`: the protocols whose rule has changed since; they are not compared. `told`: the
        shipped figures.
    """
    both = [name for name in shipped if name in measured]
    outdated = [name for name in both if shipped[name].get("rule", 1) != measured[name].get("rule", 1)]
    comparable = [name for name in both if name not in outdated]
    missing = [name for name in shipped if name not in measured]
    equal = all(_compared(shipped[name]) == _compared(measured[name]) for name in comparable)
    return {
        "identical": bool(comparable) and not missing and equal,
        "contradicted": [name for name in comparable if not _intervals_overlap(shipped[name], measured[name])],
        "missing": missing,
        "outdated": outdated,
        "told": {
            protocol: {name: figures[name] for name in ("episodes", "completed", "completion")}
            for protocol, figures in shipped.items()
        },
    }


def _compared(values: Mapping[str, Any]) -> dict[str, Any]:
    """The counts and means of a protocol. Its intervals and notes follow from them."""
    return {name: values.get(name) for name in _COMPARED}


def _intervals_overlap(shipped: Mapping[str, Any], measured: Mapping[str, Any]) -> bool:
    """Whether the intervals of the completion rate overlap. True if one has none."""
    first, second = shipped["completion"], measured["completion"]
    return first is None or second is None or bool(first["low"] <= second["high"] and second["low"] <= first["high"])


def describe_confirmation(found: Mapping[str, Any]) -> str:
    """The result of :func:`confirmation` in one sentence."""
    outdated = f"; not compared, because their rules have changed: {', '.join(found['outdated'])}" if found["outdated"] else ""
    if found["contradicted"]:
        return f"the figures CONTRADICT those that the model was shipped with: {', '.join(found['contradicted'])}{outdated}"
    if found["identical"]:
        return f"all figures equal those that the model was shipped with{outdated}"
    return f"all figures are within the intervals of those that the model was shipped with{outdated}"
