"""A training that goes on beyond the steps it was begun with (`mario run PRESET --experiment NAME --extend STEPS`).

The experiment stays the same one: its rows, its run and its checkpoints. Its configuration says openly what happened:
`train.total_steps` is the new number, `train.planned_steps` the one it was begun with, where linear schedules have ended.
"""

import json
import logging

from configs import Config, ConfigError, Settings, from_dict, to_dict
from tasks import phases
from tasks.earlier_evaluation import archive_evaluation
from tasks.experiment import Experiment, open_run, open_store
from tasks.phases import Phase

logger = logging.getLogger(__name__)

_DONE_AGAIN: tuple[Phase, ...] = ("train", "evaluate", "alias", "report")


def require_extensible(name: str | None, steps: int, settings: Settings, *, restart: bool = False) -> None:
    """Refuse an extension that is none, before anything is begun.

    Args:
        name: of the experiment, as the person gave it; None: none was given.
        steps: the new `train.total_steps`.
        settings: places and servers.
        restart: whether the experiment is to begin at step 0 as well.

    Raises:
        ConfigError: no experiment is named, there is no such experiment, it has at least so many steps already, or `restart`.
    """
    if restart:
        raise ConfigError("--extend trains an experiment further, and --restart begins it again: give one of the two")
    if not name:
        raise ConfigError("--extend trains an experiment further: name it with --experiment (`mario experiments` lists them)")
    with open_store(settings) as store:
        known = store.find_experiment(name)
        if known is None:
            raise ConfigError(f"--extend: there is no experiment {name}; `mario experiments` lists those there are")
        _raised(from_dict(store.experiment(known).record.config, f"experiment {name}"), steps, name)


def extended(experiment: Experiment, steps: int | None) -> Experiment:
    """`experiment`, which this process holds, with the steps it has been extended to, now or earlier.

    An extension that is new lets training, evaluation and report be done again. Their records are kept beside the new ones;
    rows of the earlier evaluation, which judge a policy that is no longer the experiment's, become those of an experiment of
    their own, ``NAME-at-STEPS``: no episode is deleted.

    Args:
        steps: the new `train.total_steps`; None: as it was extended before, if it was.

    Raises:
        ConfigError: it has more steps already.
    """
    with open_store(experiment.settings) as store:
        stored = from_dict(store.experiment(experiment.id).record.config, f"experiment {experiment.name}")
        goal = stored if steps is None else _raised(stored, steps, experiment.name)
        if goal.train.total_steps > stored.train.total_steps:
            # The configuration last: if this process is killed before, the same command does the rest.
            phases.forget(experiment.directory, _DONE_AGAIN, kept_as=f"{stored.train.total_steps}-steps")
            moved = archive_evaluation(store, experiment, stored.train.total_steps)
            figures = experiment.directory / "phases" / f"{stored.train.total_steps}-steps"
            kept = f" The earlier evaluation's {moved}; its figures are in {figures}" if moved else ""
            text = json.dumps(to_dict(goal), indent=2)
            (experiment.directory / "config.json").write_text(text, encoding="utf-8")
            store.update_experiment(experiment.id, config=to_dict(goal))
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
    return experiment.with_config(_with_steps(experiment.config, goal))


def _raised(stored: Config, steps: int, name: str) -> Config:
    total = stored.train.total_steps
    if steps < total or (steps == total and stored.train.planned_steps is None):
        raise ConfigError(f"--extend {steps}: experiment {name} has {total} steps (train.total_steps); name a larger number")
    planned = stored.train.planned_steps or total
    train = stored.train.model_copy(update={"total_steps": steps, "planned_steps": planned})
    return stored.model_copy(update={"train": train})


def _with_steps(config: Config, goal: Config) -> Config:
    steps = {"total_steps": goal.train.total_steps, "planned_steps": goal.train.planned_steps}
    return config.model_copy(update={"train": config.train.model_copy(update=steps)})
