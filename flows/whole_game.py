"""The team of the levels' policies, the game that it plays, and `mario watch game`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from configs import Config, ConfigError, EvaluateConfig, Settings, override
from configs.levels import LEVELS
from configs.schema import EpisodesConfig, ReportConfig, TrackingConfig
from flows.game_command import GAME
from flows.models import SHIPPED, UntrustedModelError, is_own
from mario_env import EpisodeSummary
from reports.video import Frame

if TYPE_CHECKING:
    from agents import Team

_SETTABLE: Final = ("environment", "evaluate", "seed")

_MOST_FRAMES: Final = 400_000
"""Of a game. The clock gives a level at most 400 units of 24 frames. All levels to the last unit, and nine lives, are fewer."""


@dataclass(frozen=True)
class TeamChoice:
    """Which policies play.

    Attributes:
        folder: has them as `mario ship` writes them: world-1-1.json and world-1-1.pth, and so on.
        warps: whether a warp counts. If it does, a policy world-1-2-warp plays 1-2 instead of world-1-2.
        trust: load policies that are neither part of the project nor made on this machine.
    """

    folder: Path = SHIPPED
    warps: bool = True
    trust: bool = False


def load_team(choice: TeamChoice, settings: Settings) -> "Team":
    """Load the policies.

    Raises:
        ConfigError: there is no such folder, or no policy of a level in it.
        UntrustedModelError: they are from elsewhere, and not trusted.
        CheckpointError, TeamError: a file is damaged, or two policies cannot play together.
    """
    from agents import Member, Team, load_shipped

    folder = choice.folder
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder; --models names a folder with the policies of levels")
    endings = ("-warp", "") if choice.warps else ("",)
    files = {}
    for level in LEVELS:
        named = [folder / f"world-{level}{ending}.json" for ending in endings]
        if found := [file for file in named if file.is_file()]:
            files[level] = found[0]
    if not files:
        raise ConfigError(
            f"{folder}: no policy of a level is here; they are called world-1-1.json with world-1-1.pth, and so on, as "
            f"`mario ship EXPERIMENT --as world-1-1 --folder {folder}` writes them"
        )
    if not is_own(folder, settings) and not choice.trust:
        raise UntrustedModelError(
            f"the policies in {folder} are not from this project's runs: --trust loads them without a SHA-256"
        )
    return Team({level: Member(file.stem, load_shipped(file)) for level, file in files.items()})


def game_config(team: "Team", overrides: Sequence[str] = ()) -> Config:
    """The configuration with which a team plays: the full game with three lives, in the environment that it knows.

    A game ends with its last life or the last princess. A policy that is stuck loses a life by the game's own clock, so
    nothing else cuts a game off, but for a number of decisions that only endless extra lives can reach.

    Raises:
        ConfigError: an override is refused.
        TeamError: the team does not know the environment.
    """
    known = next(iter(team.members.values())).agent.config
    environment = known.environment.model_copy(
        update={
            "game": "full",
            "world": 1,
            "stage": 1,
            "levels": [],
            "life_loss_ends_episode": False,
            "stall_after": None,
            "max_steps": _MOST_FRAMES // known.environment.frame_skip,
            "sticky_actions": 0.0,
            "sticky_decisions": 0.0,
            "noop_frames": 0,
        }
    )
    config = known.model_copy(
        update={
            "name": GAME,
            "description": "The full game, each level by its own policy.",
            "seed": 0,
            "environment": environment,
            "train": known.train.model_copy(update={"curriculum": None, "teacher": None, "level_sampling": "uniform"}),
            "evaluate": EvaluateConfig(protocols=["stochastic"], episodes=100),
            "episodes": EpisodesConfig(store_actions=True),
            "tracking": TrackingConfig(),
            "report": ReportConfig(),
        }
    )
    config = override(config, overrides, _SETTABLE)
    if config.environment.game != "full":
        raise ConfigError("--set environment.game: `game` is the full game; `mario evaluate world-1-1` plays one level")
    team.require_playable(config.environment)
    return config


def game_frames(
    choice: TeamChoice, settings: Settings, *, stochastic: bool, seed: int, observation: bool = False
) -> Iterator[Frame]:
    """The frames of one game that the team plays, as :func:`flows.watching.model_frames`; without warps up to the first.

    With `observation` they show the environment's stack of frames, and not how the team begins it anew in each level.

    Raises:
        ConfigError, UntrustedModelError, CheckpointError, TeamError: see :func:`load_team`.
    """
    from agents import play_episodes
    from flows.watching import replayed
    from mario_env.courses import course_of, until_warp

    team = load_team(choice, settings)
    environment = game_config(team).environment
    played: list[EpisodeSummary] = []
    play_episodes(
        team,
        environment,
        "stochastic" if stochastic else "greedy",
        EvaluateConfig(episodes=1, n_envs=1),
        seed=seed,
        on_episode=lambda episode: played.append(episode.summary),
    )
    summary = played[0]
    frames = replayed(environment, summary.start, summary.actions, summary.delays, observation)
    if choice.warps:
        return frames
    course = until_warp(course_of(environment, summary.start, summary.actions, summary.delays))
    return islice(frames, sum(visit.frames for visit in course))
