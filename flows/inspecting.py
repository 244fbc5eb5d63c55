"""`mario inspect`: look into an episode, in a browser or as a file."""

import itertools
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from configs import Config, ConfigError, EvaluateConfig, Protocol, Settings, config_hash
from flows import prefect_access
from flows.models import SHIPPED, Trust, load
from flows.servers import ServerError, stop_on_signals
from tasks.experiment import load_experiment, open_store
from tasks.judging import own_thinker

if TYPE_CHECKING:
    from agents import PlayedEpisode
    from inspection import Episode, Thinker


_NUMBERS = itertools.count(1)  # of the episodes that are played here


class InspectionError(RuntimeError):
    """An episode cannot be looked into; the message says why."""


@dataclass(frozen=True)
class Models:
    """Finds the model that judges an episode; the sources of :mod:`inspection.server`.

    Attributes:
        settings: the home folder and the servers.
        reference: the model that judges every episode, as the user names it; None: that of the episode's experiment.
        trust: whether a file from elsewhere may be loaded.
    """

    settings: Settings
    reference: str | None = None
    trust: Trust = field(default_factory=Trust)

    def episode(self, episode_id: int) -> "Episode":
        """See :func:`stored_episode`."""
        return stored_episode(episode_id, self.settings)

    def thinker(self, episode: "Episode") -> "Thinker":
        """The model that judges an episode.

        Raises:
            InspectionError: the experiment has no model on this machine.
            ModelNotFoundError, CheckpointError, UntrustedModelError: as :func:`flows.models.load`.
        """
        from inspection import Thinker

        if self.reference is not None:
            return Thinker(load(self.reference, self.settings, self.trust), self.reference)
        return _own_thinker(str(episode.origin["experiment"]), self.settings)

    def models(self) -> list[str]:
        """The names of the models of the project."""
        return _shipped()

    def play(self, model: str, protocol: str, seed: int, level: str | None) -> "tuple[Episode, Thinker]":
        """Let a model play one episode now, which is stored nowhere.

        Args:
            model: its name, as for `mario watch`. Files from elsewhere are loaded only if `reference` names them.
            protocol: one of `configs.schema.PROTOCOLS`. `noop` idles for one frame.
            seed: of its random choices.
            level: such as 1-2; None: the model's own.

        Raises:
            ConfigError: there is no such protocol.
            ModelNotFoundError, CheckpointError, UntrustedModelError: as :func:`flows.models.load`.
        """
        from agents import play_episodes
        from inspection import Thinker, played_episode

        if protocol not in get_args(Protocol):
            raise ConfigError(f"there is no protocol {protocol!r}; there are {', '.join(get_args(Protocol))}")
        agent = load(model, self.settings, self.trust if model == self.reference else Trust())
        config = agent.config
        if level is not None:
            environment = config.environment.at_level(level).model_copy(update={"life_loss_ends_episode": False})
            config = config.model_copy(update={"environment": environment})
        evaluate = EvaluateConfig(episodes=1, n_envs=1, noop_frames=1, sticky_actions=config.evaluate.sticky_actions)
        played: list[PlayedEpisode] = []
        known = cast(Protocol, protocol)
        play_episodes(agent, config.environment, known, evaluate, seed=seed, on_episode=played.append)
        number = next(_NUMBERS)
        origin = {"name": f"Play {number}", "model": model, "protocol": protocol, "seed": seed}
        return played_episode(f"play-{number}", config, played[0].summary, origin), Thinker(agent, model)


def serve(settings: Settings, models: Models, port: int, episode_id: int | None) -> None:
    """Serve the pages on the loopback `port` until Ctrl-C or SIGTERM; print where they are.

    Raises:
        ServerError: the port is taken.
        StoreError: Postgres cannot be reached.
    """
    from inspection.server import serve as serve_pages

    secret = prefect_access.server_secret(settings.create_home())
    address = f"http://{prefect_access.LOOPBACK}:{port}" + ("/" if episode_id is None else f"/episodes/{episode_id}")
    stop_on_signals()
    try:
        with open_store(settings) as store:
            serve_pages(store, models, port, secret, lambda: _print_address(address, secret, settings))
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise ServerError(f"port {port} cannot be used: {error.strerror or error} (--port chooses another)") from None


def _print_address(address: str, secret: str, settings: Settings) -> None:
    # Only the user reads a terminal. A file or a service's log may have other readers.
    if sys.stdout.isatty():
        print(f"Episodes  {address}?token={secret}", flush=True)  # noqa: T201 (the user waits for it)
    else:
        file = shlex.quote(str(prefect_access.secret_file(settings.home)))
        print(f"Episodes  {address}\n          its page asks for a secret: the output of: cat {file}", flush=True)  # noqa: T201
    print("Ctrl-C stops it.", flush=True)  # noqa: T201


def _own_thinker(name: str, settings: Settings) -> "Thinker":
    """The model of an experiment. One that only evaluates has none; its model is the shipped one of the same training.

    Raises:
        InspectionError: there is none.
    """
    from inspection import Thinker

    experiment = load_experiment(name, settings)
    if (found := own_thinker(experiment)) is not None:
        return found
    for shipped in _shipped():
        agent = load(shipped, settings, Trust())
        if _training(agent.config) == _training(experiment.config):
            return Thinker(agent, shipped)
    raise InspectionError(f"{name} has no model on this machine; --model names one")


def _shipped() -> list[str]:
    """The names of the models of the project."""
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


def _training(config: Config) -> str:
    """Identifies the training of a configuration, however its agent is evaluated."""
    return config_hash(config.model_copy(update={"evaluate": EvaluateConfig()}))


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
    judge = _judge(lambda: models.thinker(episode), required=models.reference is not None)
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
