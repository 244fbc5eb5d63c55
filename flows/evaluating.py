"""`mario evaluate`: any model under every protocol, recorded like the evaluation of a run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from configs import Config, ConfigError, Settings, config_hash, override
from flows.models import Trust, load
from tasks.evaluate import evaluation_json, metrics_of, play_protocols, table_of
from tasks.experiment import checked_name, open_run, open_store
from tasks.starting import finish_experiment, running_experiment

if TYPE_CHECKING:
    from agents import Agent

_MAY_BE_SET: Final = ("environment", "evaluate", "seed")
_FIGURES: Final = (
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
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Evaluate the model that `reference` names, as an experiment of its own.

    Args:
        reference: the name of a model in `models/`, a path, an MLflow run or a registered model; see
            :func:`tracking.resolve_model`.
        episodes: under each protocol; None: as the model's configuration says.
        settings: places and servers.
        trust: whether a file from elsewhere is to be loaded.
        experiment_name: of one that was begun before, to go on with it: what was played is not played again. None: a new one.
        overrides: `section.key=value`: what is to be played otherwise than the model was trained and judged for.

    Returns:
        A table for people, and the figures as JSON types; with `confirmation` if the model was shipped with figures and the
        overrides change nothing that is computed: figures of another level are not compared with those it was shipped with.

    Raises:
        ConfigError: an override is refused, or the model cannot play what it asks for.
        ModelNotFoundError, CheckpointError, UntrustedModelError: as :func:`flows.models.load`.
        StoreUnavailableError: Postgres is away at the end; the rows wait on disk, and the message says how they get there.
    """
    agent = load(reference, settings, trust)
    config = _changed(agent, reference, overrides)
    comparable = config_hash(config) == config_hash(agent.config)
    if episodes is not None:
        config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"episodes": episodes})})
    name = checked_name(experiment_name or f"{config.name}-evaluation-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    with running_experiment(config, name, settings, None) as experiment:
        try:
            with open_store(settings) as store:
                summaries, counts = play_protocols(experiment, agent, store)
            with open_run(experiment) as run:
                run.log_metrics(metrics_of(summaries, counts), agent.manifest.steps)
                run.set_tags({"evaluated_model": reference} | ({"overrides": " ".join(overrides)} if overrides else {}))
            finish_experiment(experiment, "completed")
        except BaseException as error:
            finish_experiment(experiment, "failed" if isinstance(error, Exception) else "interrupted")
            raise
    figures: dict[str, Any] = {
        "model": reference,
        "experiment": name,
        "steps": agent.manifest.steps,
        "seed": config.seed,
        "overrides": list(overrides),
        "environment": config.environment.model_dump(mode="json"),
        "protocols": evaluation_json(summaries),
    }
    if agent.evaluation is not None and comparable:
        figures["confirmation"] = confirmation(agent.evaluation, figures["protocols"])
    return table_of(summaries), figures


def _changed(agent: "Agent", reference: str, overrides: Sequence[str]) -> Config:
    """The agent's configuration with `overrides`, if its network can play that.

    Raises:
        ConfigError: a key is refused, or there would be other actions or pictures than it knows.
    """
    if not overrides:
        return agent.config
    from mario_env import observation_space
    from mario_env.wrappers import button_combinations

    config = override(agent.config, overrides, _MAY_BE_SET)
    actions, known = len(button_combinations(config.environment)), agent.manifest.n_actions
    if actions != known:
        raise ConfigError(
            f"{reference} chooses among {known} actions, and environment.actions has {actions}: name a set of {known} "
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


def confirmation(told: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Whether figures by protocol that were told of a model are those that were found.

    `identical`: every figure that compares is the same, as the same settings on the same emulator should give. `contradicted`:
    the protocols whose intervals of the completion rate do not overlap. `missing`: those that were told and not played.
    `outdated`: those that were told by an earlier version of the protocol's rule; they are not compared.
    """
    outdated = [name for name in told if name in found and told[name].get("rule", 1) != found[name].get("rule", 1)]
    both = [name for name in told if name in found and name not in outdated]
    missing = [name for name in told if name not in found]
    return {
        "identical": bool(both) and not missing and all(_figures(told[name]) == _figures(found[name]) for name in both),
        "contradicted": [name for name in both if not _may_agree(told[name], found[name])],
        "missing": missing,
        "outdated": outdated,
        "told": {
            protocol: {name: figures[name] for name in ("episodes", "completed", "completion")}
            for protocol, figures in told.items()
        },
    }


def _figures(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was counted; intervals and words follow from that."""
    return {name: values.get(name) for name in _FIGURES}


def _may_agree(told: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether the intervals overlap, or there are none that could tell."""
    ours, theirs = told["completion"], found["completion"]
    return ours is None or theirs is None or bool(ours["low"] <= theirs["high"] and theirs["low"] <= ours["high"])
