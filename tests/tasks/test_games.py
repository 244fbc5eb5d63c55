"""How full games are ranked, counted and told."""

import pytest

from mario_env import EpisodeStart
from mario_env.courses import Visit
from tasks.games import PlayedGame, best, describe_games, game_figures, game_table


def game(number: int, *course: Visit, ended: str = "game_over", took_warp: bool = False) -> PlayedGame:
    return PlayedGame(100 + number, number, course, ended, took_warp, EpisodeStart(), b"", b"")


def through(*levels: str, decisions: int = 100, distance: int = 50, lost: int = 0) -> tuple[Visit, ...]:
    """A course that completes all but the last of the levels, in which lives are lost."""
    *completed, last = levels
    visits = [Visit(level, decisions, 4 * decisions, 3000, 0, completed=True) for level in completed]
    return *visits, Visit(last, decisions, 4 * decisions, distance, lost, completed=False)


FAR = game(1, *through("1-1", "1-2", "1-3"))
WARPED = game(2, *through("1-1", "1-2", "4-1"), took_warp=True)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (WARPED, FAR),
        (FAR, game(3, *through("1-1", "1-2", distance=900))),
        (game(4, *through("1-1", "1-2", "1-3", distance=60, decisions=900)), FAR),
        (game(5, *through("1-1", "1-2", "1-3", decisions=90)), FAR),
        (
            game(6, Visit("8-4", completed=True), ended="completed"),
            game(7, *through("1-1", "8-4", distance=4000), ended="game_over"),
        ),
    ],
)
def test_the_game_that_got_furthest_is_the_best(better: PlayedGame, worse: PlayedGame) -> None:
    assert best([worse, better]) is better
    assert best([better, worse]) is better


def test_figures_count_each_game_where_it_ended() -> None:
    games = [
        game(0, *through("1-1", lost=3)),
        game(1, *through("1-1", "1-2", lost=3)),
        game(2, *through("1-1", "1-2", lost=2), ended="step_limit"),
        game(3, Visit("1-1", completed=True), Visit("8-4", lives_lost=1, completed=True), ended="completed", took_warp=True),
    ]
    figures = game_figures(games, 3, "stochastic")
    assert figures["levels"] == {
        "1-1": {"reached": 4, "completed": 3, "ended": 1, "lives_lost": 3},
        "1-2": {"reached": 2, "completed": 0, "ended": 2, "lives_lost": 5},
        "8-4": {"reached": 1, "completed": 1, "ended": 0, "lives_lost": 1},
    }
    assert (figures["episodes"], figures["distinct"], figures["finished"], figures["took_warp"]) == (4, 3, 1, 1)
    assert figures["levels_completed"] == {"mean": 1.0, "median": 1.0, "most": 2}
    assert figures["ended"] == {"game_over": 2, "step_limit": 1, "completed": 1}
    interval = figures["finished_interval"]
    assert interval["low"] < 0.25 < interval["high"]
    assert figures["games"][3]["course"][1]["lives_lost"] == 1
    told = describe_games(figures)
    assert told.startswith("1 of 4 games finished (")
    assert "3 of them different" in told
    assert told.endswith("and got as far as 8-4; 1 were cut off by the limit of decisions.")


@pytest.mark.parametrize(("protocol", "distinct"), [("greedy", 1), ("noop", 2), ("stochastic", 1)])
def test_without_chance_there_is_no_interval(protocol: str, distinct: int) -> None:
    assert game_figures([FAR, WARPED], distinct, protocol)["finished_interval"] is None


def test_the_table_says_who_played() -> None:
    figures = game_figures([FAR, game(2, *through("1-1", lost=3))], 2, "stochastic")
    rows = game_table(figures, {"1-1": "world-1-1", "1-2": "world-1-1", "1-3": "world-1-3"})
    assert [row["level"] for row in rows] == ["1-1", "1-2", "1-3"]
    assert list(rows[2].values()) == ["1-3", "world-1-3", "1: 50%", "0", "1", "0"]
