"""Extension of a training beyond its original steps (`mario run PRESET --experiment NAME --extend STEPS`).

The experiment keeps its rows, its MLflow run and its checkpoints. In its configuration, `train.total_steps` is the new number,
and `train.planned_steps` the original one, where linear schedules end.
"""

import json
import logging

from configs import Config, ConfigError, Settings, from_dict, to_dict
from episodes.schema import RecordedPhase
from tasks import phases
from tasks.earlier_evaluation import archive_evaluation
from tasks.experiment import Experiment, open_run, open_store

logger = logging.getLogger(__name__)

_REPEATED_PHASES: tuple[RecordedPhase, ...] = ("train", "evaluate", "alias", "report")


def require_extensible(name: str | None, steps: int, settings: Settings, *, restart: bool = False) -> None:
    """Refuse an impossible extension before anything is started.

    Args:
        name: the experiment's name as the user gave it; None: none was given.
        steps: the new `train.total_steps`.
        settings: the home folder and the servers.
        restart: whether the user also asked for a restart.

    Raises:
        ConfigError: no experiment is named, there is no such experiment, it has at least this number of steps already, or
            `restart` is set.
    """
    if restart:
        raise ConfigError("--extend trains an experiment further, and --restart starts it again: give one of the two")
    if not name:
        raise ConfigError("--extend trains an experiment further: name it with --experiment (`mario experiments` lists them)")
    with open_store(settings) as store:
        known = store.find_experiment(name)
        if known is None:
            raise ConfigError(f"--extend: there is no experiment {name}; `mario experiments` lists all")
        _extended_config(from_dict(store.experiment(known).record.config, f"experiment {name}"), steps, name)


def apply_extension(experiment: Experiment, steps: int | None) -> Experiment:
    """Extend `experiment`, which this process holds, or apply an earlier extension to its configuration.

    After a new extension, training, evaluation and report run again. Their old records are kept next to the new ones. The rows
    of the old evaluation belong to an older policy. They move to an experiment ``NAME-at-STEPS``, so that none is deleted.

    Args:
        experiment: the experiment, with the configuration of the command line.
        steps: the new `train.total_steps`; None: apply only an earlier extension.

    Returns:
        The experiment with the new `train.total_steps` and `train.planned_steps`.

    Raises:
        ConfigError: it has more steps already.
    """
    with open_store(experiment.settings) as store:
        stored = from_dict(store.experiment(experiment.id).record.config, f"experiment {experiment.name}")
        goal = stored if steps is None else _extended_config(stored, steps, experiment.name)
        if goal.train.total_steps > stored.train.total_steps:
            # The configuration changes last. If this process is killed before, the same command does the rest.
            earlier = f"{stored.train.total_steps}-steps"
            phases.archive(experiment, _REPEATED_PHASES, kept_as=earlier)
            moved = archive_evaluation(store, experiment, stored.train.total_steps)
            kept = f" The earlier evaluation's {moved}; its figures are kept as {earlier} in phase_records" if moved else ""
            text = json.dumps(to_dict(goal), indent=2)
            (experiment.directory / "config.json").write_text(text, encoding="utf-8")
            store.update_experiment(experiment.required_claim.token, config=to_dict(goal))
            logger.warning(
                "experiment %s is extended from %d to %d steps. Schedules end at step %d and keep their last values.%s",
                *(experiment.name, stored.train.total_steps, goal.train.total_steps, goal.train.planned_steps, kept),
            )
    if goal.train.planned_steps is None:
        return experiment
    if steps is None:
        logger.info("experiment %s was extended to %d steps", experiment.name, goal.train.total_steps)
    with open_run(experiment) as run:
        run.set_tags({"total_steps": str(goal.train.total_steps), "planned_steps": str(goal.train.planned_steps)})
    return experiment.with_config(_with_steps_of(experiment.config, goal))


def _extended_config(stored: Config, steps: int, name: str) -> Config:
    total = stored.train.total_steps
    if steps < total or (steps == total and stored.train.planned_steps is None):
        raise ConfigError(f"--extend {steps}: experiment {name} has {total} steps (train.total_steps); name a larger number")
    planned = stored.train.planned_steps or total
    train = stored.train.model_copy(update={"total_steps": steps, "planned_steps": planned})
    return stored.model_copy(update={"train": train})


def _with_steps_of(config: Config, goal: Config) -> Config:
    steps = {"total_steps": goal.train.total_steps, "planned_steps": goal.train.planned_steps}
    return config.model_copy(update={"train": config.train.model_copy(update=steps)})
