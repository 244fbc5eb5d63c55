"""`mario evaluate game`: the levels' policies play full games one after the other, recorded like any evaluation."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from configs import Config, ConfigError, Settings
from flows.game_command import GAME
from flows.whole_game import TeamChoice, game_config, load_team
from flows.worker_home import require_place_for_files
from reports.files import write_file
from tasks.datasets import log_evaluation_data
from tasks.evaluate import evaluation_metrics, play_protocols
from tasks.experiment import Experiment, checked_name, open_run, open_store
from tasks.games import PlayedGame, best, game_figures, game_metrics, read_games
from tasks.starting import end_recorded, running_experiment

if TYPE_CHECKING:
    from agents import Team

_POLICIES: Final = "policies.json"
"""In the folder of an evaluation: the SHA-256 of the weights that play each level."""


def evaluate_game(
    choice: TeamChoice,
    episodes: int | None,
    settings: Settings,
    experiment_name: str | None = None,
    overrides: Sequence[str] = (),
    video: Path | None = None,
) -> dict[str, Any]:
    """Play full games with three lives, as a separate experiment.

    Args:
        choice: the policies, and whether warps count.
        episodes: games per protocol; None: `evaluate.episodes`, 100.
        settings: the home folder and the servers.
        experiment_name: an evaluation to continue; games that it has are not played again. None: start a new one.
        overrides: `section.key=value` of environment, evaluate and seed.
        video: an MP4 file for the game that got furthest; None: none is written.

    Returns:
        The figures as JSON types. `policies` has the policy of each level that was reached, `borrowed` those that had none of
        their own, `protocols` what :func:`tasks.games.game_figures` returns, and `best` the game that got furthest.

    Raises:
        ConfigError: an override is refused, or the evaluation was started with other policies.
        UntrustedModelError, CheckpointError, TeamError: see :func:`flows.whole_game.load_team`.
        StoreUnavailableError: Postgres is unavailable at the end. The rows wait on disk; the message says what to do.
        TrackingError: see :func:`flows.worker_home.require_place_for_files`.
    """
    require_place_for_files(settings)
    team = load_team(choice, settings)
    config = game_config(team, overrides)
    if episodes is not None:
        config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"episodes": episodes})})
    name = checked_name(experiment_name or f"{GAME}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    policies = _weights(team)
    _require_same_policies(settings.experiment_directory(name) / _POLICIES, policies, name)
    with running_experiment(config, name, settings, None, evaluated=GAME) as experiment, end_recorded(experiment):
        write_file(experiment.directory / _POLICIES, (json.dumps(policies, indent=1) + "\n").encode())
        games, figures = _play(experiment, team, choice, policies)
    if video is not None:
        _write_video(config, best(games), video)
    return figures


def _play(
    experiment: Experiment, team: "Team", choice: TeamChoice, policies: Mapping[str, str]
) -> tuple[list[PlayedGame], dict[str, Any]]:
    """Play what is missing, and return all games with their figures."""
    config = experiment.config
    games: list[PlayedGame] = []
    protocols: dict[str, dict[str, Any]] = {}
    with open_store(experiment.settings) as store:
        summaries, counts = play_protocols(experiment, team, store)
        for protocol in config.evaluate.protocols:
            own, distinct = read_games(store, experiment.id, protocol, config.environment, warps=choice.warps)
            protocols[protocol] = game_figures(own, distinct, protocol)
            games += own
    reached = [level for figures in protocols.values() for level in figures["levels"]]
    furthest = best(games)
    figures = {
        "model": GAME,
        "experiment": experiment.name,
        "seed": config.seed,
        "warps": choice.warps,
        "policies": {level: team.member_for(level).name for level in dict.fromkeys(reached)},
        "borrowed": team.borrowed(dict.fromkeys(reached)),
        "weights": dict(policies),
        "environment": config.environment.model_dump(mode="json"),
        "protocols": protocols,
        "best": {"episode": furthest.episode, "reached": furthest.reached, "decisions": furthest.decisions},
    }
    with open_run(experiment) as run:
        run.log_metrics(evaluation_metrics(summaries, counts) | game_metrics(protocols), team.steps)
        run.log_dict(figures, "game.json")
        log_evaluation_data(run, config)
        run.set_tags({"evaluated_model": GAME, "warps": str(choice.warps).lower()})
    return games, figures


def _weights(team: "Team") -> dict[str, str]:
    """The SHA-256 of each member's weights, by level and name."""
    return {
        f"{level}: {member.name}": entry.sha256
        for level, member in team.members.items()
        for entry in member.agent.manifest.files.values()
    }


def _require_same_policies(file: Path, policies: Mapping[str, str], name: str) -> None:
    instead = "evaluate the game without --experiment, or with a new name"
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise ConfigError(f"{file} is damaged ({error}), so the policies of {name} are unknown: {instead}") from None
    if before != policies:
        raise ConfigError(f"the evaluation {name} was started with other policies ({file} lists them): {instead}")


def _write_video(config: Config, game: PlayedGame, video: Path) -> None:
    from reports.replay import episode_frames
    from reports.video import render_video

    frames = episode_frames(config.environment, game.start, game.actions, game.delays)
    render_video(islice(frames, game.frames), video, scale=3)
