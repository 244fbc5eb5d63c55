"""The model that judges the episodes of an experiment: what it thinks of each decision is shown beside what was played."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks import phases
from tasks.experiment import Experiment

if TYPE_CHECKING:
    from inspection import Thinker


def own_thinker(experiment: Experiment) -> "Thinker | None":
    """The experiment's model: the one that was evaluated, or while it trains the newest checkpoint; None: it has none here.

    Raises:
        CheckpointError: the model is damaged.
        StoreUnavailableError: Postgres is unavailable.
    """
    from agents import latest_checkpoint, load_agent
    from inspection import Thinker

    trained = phases.finished(experiment, "train")
    path = None if trained is None else Path(trained.details["model_path"])
    if path is not None and path.exists():
        agent = load_agent(path)
        return Thinker(agent, f"{experiment.name} after {agent.manifest.steps:,} steps")
    found = latest_checkpoint(experiment.directory)
    if found is None:
        return None
    agent = load_agent(found.path)
    return Thinker(agent, f"{experiment.name}'s newest checkpoint, at {agent.manifest.steps:,} steps")
