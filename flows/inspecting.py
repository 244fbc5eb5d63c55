"""`mario inspect`: look into an episode, in a browser or as a file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from configs import Settings
from flows.models import Trust, load
from tasks import phases
from tasks.experiment import load_experiment, open_store

if TYPE_CHECKING:
    from agents import Agent
    from inspection import Episode, Thinker


class InspectionError(RuntimeError):
    """An episode cannot be looked into; the message says why."""


@dataclass(frozen=True)
class Models:
    """Finds the model that judges an episode.

    Attributes:
        settings: the home folder and the servers.
        reference: the model that judges every episode, as the user names it; None: that of the episode's experiment.
        trust: whether a file from elsewhere may be loaded.
    """

    settings: Settings
    reference: str | None = None
    trust: Trust = field(default_factory=Trust)

    def thinker(self, experiment: str) -> "Thinker":
        """The model that judges the episodes of an experiment.

        Raises:
            InspectionError: the experiment has no model on this machine.
            ModelNotFoundError, CheckpointError, UntrustedModelError: as :func:`flows.models.load`.
        """
        from inspection import Thinker

        if self.reference is not None:
            return Thinker(load(self.reference, self.settings, self.trust), self.reference)
        return Thinker(*_own_model(experiment, self.settings))


def _own_model(name: str, settings: Settings) -> "tuple[Agent, str]":
    """The model of an experiment, and which one it is: the one that was evaluated, or the newest checkpoint."""
    from agents import latest_checkpoint, load_agent

    experiment = load_experiment(name, settings)
    trained = phases.finished(experiment, "train")
    path = None if trained is None else Path(trained.details["model_path"])
    if path is not None and path.exists():
        agent = load_agent(path)
        return agent, f"{name} after {agent.manifest.steps:,} steps"
    found = latest_checkpoint(experiment.directory)
    if found is None:
        raise InspectionError(f"{name} has no model on this machine; --model names one")
    agent = load_agent(found.path)
    return agent, f"{name}'s newest checkpoint, at {agent.manifest.steps:,} steps"


def stored_episode(episode_id: int, settings: Settings) -> "Episode":
    """A stored episode.

    Raises:
        StoreError: there is no such episode.
        EpisodeUnavailableError: its actions were not stored, or have been pruned.
    """
    from inspection import stored_episode

    with open_store(settings) as store:
        return stored_episode(store.episode(episode_id))


def export_episode(episode_id: int, file: Path, models: Models) -> tuple[Path, str | None]:
    """Write a stored episode as one HTML file.

    Returns:
        The file, and why no model judges the episode; None if one does.

    Raises:
        StoreError, EpisodeUnavailableError: as :func:`stored_episode`.
        PlaybackError: it was played under another configuration than its experiment's.
        ModelMismatchError: the model that was named cannot judge it.
    """
    from inspection import export

    episode = stored_episode(episode_id, models.settings)
    judge = _judge(lambda: models.thinker(str(episode.origin["experiment"])), required=models.reference is not None)
    if isinstance(judge, str):
        return export(episode, file, no_opinion=judge), judge
    return export(episode, file, judge), None


def _judge(find: "Callable[[], Thinker]", *, required: bool) -> "Thinker | str":
    """The model, or why there is none; if the user named one, its absence is an error."""
    from agents import AgentError

    try:
        return find()
    except (InspectionError, AgentError) as error:
        if required:
            raise
        return str(error)
