"""The results of full games: how far each got, and what happened in each level."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any, Final

from configs import EnvironmentConfig
from configs.levels import LEVELS
from episodes import EpisodeStore
from episodes.statistics import EXHAUSTIVE, Interval, distinct_trajectories, wilson
from mario_env import EpisodeStart
from mario_env.courses import Visit, course_of, until_warp
from mario_env.processors import usable_processors

_WARP: Final = "warp"
"""How a game without warps ends where it takes one."""


@dataclass(frozen=True)
class PlayedGame:
    """A full game as it counts.

    Attributes:
        episode: the id of its row.
        number: in its evaluation.
        course: its levels; without warps, up to the first one.
        ended: the row's reason, or "warp" where a game without warps took one.
        took_warp: whether it took one.
        start, actions, delays: to play it again, see :func:`mario_env.play_back`.
    """

    episode: int
    number: int
    course: tuple[Visit, ...]
    ended: str
    took_warp: bool
    start: EpisodeStart
    actions: bytes
    delays: bytes

    @property
    def reached(self) -> str:
        """The level in which it ended."""
        return self.course[-1].level

    @property
    def finished(self) -> bool:
        """Whether the last princess was saved."""
        return self.ended == "completed"

    @property
    def levels_completed(self) -> int:
        """How many levels it completed, one after the other. The levels that a warp skips do not count."""
        return sum(visit.completed for visit in self.course)

    @property
    def decisions(self) -> int:
        """How many there were, up to where it counts."""
        return sum(visit.decisions for visit in self.course)

    @property
    def frames(self) -> int:
        """The emulator frames of these decisions."""
        return sum(visit.frames for visit in self.course)

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        """Is greater the further the game got: finished, the level in which it ended, pixels there; then fewer decisions."""
        return self.finished, LEVELS.index(self.reached), self.course[-1].distance, -self.decisions


def read_games(
    store: EpisodeStore, experiment_id: int, protocol: str, config: EnvironmentConfig, *, warps: bool
) -> tuple[list[PlayedGame], int]:
    """The games of an evaluation under one protocol, and how many different ones they are.

    Each is played again for its course, several at a time.

    Args:
        store: has the rows and actions.
        experiment_id: the evaluation.
        protocol: see :data:`configs.schema.PROTOCOLS`.
        config: the environment in which they were played.
        warps: whether a game goes on after a warp; else it counts as ended there.
    """
    rows = store.episodes(experiment_id, phase="evaluate", protocol=protocol).sort_values("env_index")
    with ThreadPoolExecutor(usable_processors()) as threads:
        games = list(threads.map(lambda episode: _game(store, episode, config, warps), rows["id"].tolist()))
    return games, distinct_trajectories(rows)


def _game(store: EpisodeStore, episode_id: int, config: EnvironmentConfig, warps: bool) -> PlayedGame:
    stored = store.episode(episode_id)
    assert stored.actions is not None, "evaluations of games always store actions"
    assert stored.start is not None
    start = EpisodeStart.from_json(stored.start)
    course = course_of(config, start, stored.actions, stored.delays)
    counted = until_warp(course)
    took_warp = counted != course
    ended = stored.row.end_reason if warps or not took_warp else _WARP
    kept = course if warps else counted
    return PlayedGame(episode_id, stored.row.env_index, kept, ended, took_warp, start, stored.actions, stored.delays)


def best(games: Sequence[PlayedGame]) -> PlayedGame:
    """The game that got furthest; of equally far ones that with the fewest decisions."""
    return max(games, key=lambda game: game.rank)


def game_figures(games: Sequence[PlayedGame], distinct: int, protocol: str) -> dict[str, Any]:
    """The results of the games under one protocol, as JSON types.

    Returns:
        `episodes`, `distinct`, `finished` with Wilson's interval (null where chance has no part), `levels_completed`
        (mean, median, most), `decisions` (mean), `took_warp` and `ended` (games by reason); `levels`, by level in the order of
        the game: how many games `reached`, `completed` and `ended` in it, and the `lives_lost` in it; and `games`, one by one.
    """
    completed = [game.levels_completed for game in games]
    finished = sum(game.finished for game in games)
    return {
        "episodes": len(games),
        "distinct": distinct,
        "finished": finished,
        "finished_interval": _interval(finished, len(games), distinct, protocol),
        "levels_completed": {"mean": mean(completed), "median": median(completed), "most": max(completed)},
        "decisions": mean(game.decisions for game in games),
        "took_warp": sum(game.took_warp for game in games),
        "ended": dict(Counter(game.ended for game in games)),
        "levels": _by_level(games),
        "games": [_game_json(game) for game in games],
    }


def _interval(finished: int, games: int, distinct: int, protocol: str) -> dict[str, float] | None:
    if distinct == 1 or protocol in EXHAUSTIVE:
        return None
    interval: Interval = wilson(finished * distinct / games, distinct)
    return asdict(interval)


def _by_level(games: Sequence[PlayedGame]) -> dict[str, dict[str, int]]:
    levels: dict[str, Counter[str]] = {}
    for game in games:
        for visit in game.course:
            counts = levels.setdefault(visit.level, Counter())
            counts["reached"] += 1
            counts["completed"] += visit.completed
            counts["lives_lost"] += visit.lives_lost
        if not game.finished:
            levels[game.reached]["ended"] += 1
    names = ("reached", "completed", "ended", "lives_lost")
    return {level: {name: levels[level][name] for name in names} for level in LEVELS if level in levels}


def _game_json(game: PlayedGame) -> dict[str, Any]:
    return {
        "episode": game.episode,
        "number": game.number,
        "reached": game.reached,
        "ended": game.ended,
        "levels_completed": game.levels_completed,
        "decisions": game.decisions,
        "took_warp": game.took_warp,
        "course": [asdict(visit) for visit in game.course],
    }


def game_table(figures: Mapping[str, Any], players: Mapping[str, str]) -> list[dict[str, str]]:
    """The results by level as a table for display.

    Args:
        figures: of :func:`game_figures`.
        players: the name of the policy that played each level.
    """
    games = figures["episodes"]
    return [
        {
            "level": level,
            "played by": players[level],
            "reached": f"{counts['reached']}: {counts['reached'] / games:.0%}",
            "completed": str(counts["completed"]),
            "ended there": str(counts["ended"]),
            "lives lost": str(counts["lives_lost"]),
        }
        for level, counts in figures["levels"].items()
    ]


def describe_games(figures: Mapping[str, Any]) -> str:
    """The results in two sentences."""
    games, interval, completed = figures["episodes"], figures["finished_interval"], figures["levels_completed"]
    chance = "" if interval is None else f" ({interval['low']:.0%} to {interval['high']:.0%})"
    different = "" if figures["distinct"] == games else f", {figures['distinct']} of them different"
    *_, furthest = figures["levels"]
    unusual = {"warp": "ended with a warp", "step_limit": "were cut off by the limit of decisions"}
    others = "".join(f"; {figures['ended'][reason]} {text}" for reason, text in unusual.items() if reason in figures["ended"])
    return (
        f"{figures['finished']} of {games} games finished{chance}{different}. They completed {completed['mean']:.2f} levels on "
        f"average, {completed['most']} at most, and got as far as {furthest}{others}."
    )


def game_metrics(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The metrics for MLflow, of the figures by protocol."""
    metrics: dict[str, float] = {}
    for protocol, own in figures.items():
        metrics[f"evaluate/{protocol}/game/finished"] = own["finished"] / own["episodes"]
        metrics[f"evaluate/{protocol}/game/levels_completed"] = own["levels_completed"]["mean"]
    return metrics
