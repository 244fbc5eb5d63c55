"""`mario evaluate game` and `mario watch game`, with untrained policies in the real game."""

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from agents import TeamError, build, ship
from agents.policies import save_model
from configs import PROJECT, ConfigError, Settings, load
from episodes import EpisodeStore
from flows.evaluating_game import evaluate_game
from flows.models import UntrustedModelError
from flows.whole_game import TeamChoice, game_config, game_frames, load_team
from mario_env import make_vec
from tests.conftest import Postgres

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")
SHORT = ["environment.max_steps=120"]


def put_policy(folder: Path, name: str, seed: int = 0, *settings: str) -> None:
    config = load(TINY, ["train.device=cpu", f"seed={seed}", *settings])
    env = make_vec(config.environment, 1, seed=0)
    path = save_model(folder / "models" / f"{name}-{seed}", config, build(config, env, device="cpu"))
    env.close()
    ship(path, folder / name, evaluation={}, origin={})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_policy(tmp_path, "world-1-1")
    put_policy(tmp_path, "world-1-4")
    return tmp_path


def test_games_are_played_recorded_and_shown(folder: Path, postgres: Postgres, home: Path, tmp_path: Path) -> None:
    settings, choice = Settings(home, postgres.url, None), TeamChoice(folder, trust=True)
    overrides = [*SHORT, "evaluate.protocols=[stochastic, greedy]"]
    video = tmp_path / "best.mp4"
    figures = evaluate_game(choice, 3, settings, "whole", overrides, video)
    assert {name: own["episodes"] for name, own in figures["protocols"].items()} == {"stochastic": 3, "greedy": 1}
    stochastic = figures["protocols"]["stochastic"]
    assert stochastic["distinct"] == 3
    assert stochastic["levels"]["1-1"]["reached"] == 3
    assert (figures["policies"], figures["borrowed"]) == ({"1-1": "world-1-1"}, {})
    assert figures["environment"]["game"] == "full"
    json.dumps(figures)

    with EpisodeStore.open(postgres.url, home) as store:
        stored = store.experiment("whole")
        rows = store.episodes(stored.id, phase="evaluate", protocol="stochastic").sort_values("env_index")
        shown = store.episode(figures["best"]["episode"])
    assert stored.record.status == "completed"
    assert [game["decisions"] for game in stochastic["games"]] == rows["steps"].tolist()
    lost = [sum(visit["lives_lost"] for visit in game["course"]) for game in stochastic["games"]]
    assert lost == [3 - life for life in rows["life"]]
    capture = cv2.VideoCapture(str(video))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == shown.row.frames

    again = evaluate_game(choice, 3, settings, "whole", overrides)
    assert again == figures, "nothing is played again"
    put_policy(folder, "world-1-4", 1)
    with pytest.raises(ConfigError, match="whole was started with other policies"):
        evaluate_game(choice, 3, settings, "whole", overrides)
    (settings.experiment_directory("whole") / "policies.json").write_text('{"1-1')
    with pytest.raises(ConfigError, match=r"policies\.json is damaged .*so the policies of whole are unknown"):
        evaluate_game(choice, 3, settings, "whole", overrides)


def test_the_policies_of_the_project_form_a_team(settings: Settings) -> None:
    team = load_team(TeamChoice(PROJECT / "models"), settings)
    assert len(team.members) >= 4
    assert game_config(team).environment.game == "full", "they were trained with teachers, which the full game has none of"


def test_games_on_nes_py_are_the_same(folder: Path, postgres: Postgres, home: Path) -> None:
    """There each game is a process, and begins its episodes there."""
    settings, choice = Settings(home, postgres.url, None), TeamChoice(folder, trust=True)
    games = {}
    for emulator in ("fast", "nes-py"):
        overrides = [*SHORT, f"environment.emulator={emulator}", "evaluate.n_envs=2"]
        games[emulator] = evaluate_game(choice, 3, settings, f"whole-{emulator}", overrides)["protocols"]["stochastic"]["games"]
    told = {emulator: [{**game, "episode": 0} for game in own] for emulator, own in games.items()}
    assert told["fast"] == told["nes-py"]


def test_one_game_can_be_watched(folder: Path, settings: Settings) -> None:
    choice = TeamChoice(folder, warps=False, trust=True)
    frames = list(zip(range(40), game_frames(choice, settings, stochastic=True, seed=1), strict=False))
    assert len(frames) == 40
    assert frames[0][1].shape == (240, 256, 3)


def test_a_stuck_policy_loses_lives_by_the_clock_alone(folder: Path, settings: Settings) -> None:
    environment = game_config(load_team(TeamChoice(folder, trust=True), settings)).environment
    assert (environment.game, environment.stall_after, environment.max_steps) == ("full", None, 100_000)


def test_a_policy_for_the_way_to_a_warp_plays_only_where_warps_count(folder: Path, settings: Settings) -> None:
    put_policy(folder, "world-1-2")
    put_policy(folder, "world-1-2-warp")
    put_policy(folder, "world-1-1-sticky")
    names = {
        warps: [member.name for member in load_team(TeamChoice(folder, warps, trust=True), settings).members.values()]
        for warps in (True, False)
    }
    assert names == {
        True: ["world-1-1", "world-1-2-warp", "world-1-4"],
        False: ["world-1-1", "world-1-2", "world-1-4"],
    }


def test_what_cannot_be_played_is_refused_before_any_work(folder: Path, tmp_path: Path) -> None:
    nowhere = Settings(tmp_path / "home", "postgresql://nobody@127.0.0.1:1/none", None)
    with pytest.raises(UntrustedModelError, match="--trust loads them"):
        load_team(TeamChoice(folder), nowhere)
    with pytest.raises(ConfigError, match="there is no such folder; --models names"):
        load_team(TeamChoice(folder / "no"), nowhere)
    with pytest.raises(ConfigError, match=r"no policy of a level is here; .*mario ship EXPERIMENT --as world-1-1"):
        load_team(TeamChoice(folder / "models"), nowhere)
    for override, error in (("environment.frame_skip=2", TeamError), ("environment.game=level", ConfigError)):
        with pytest.raises(error):
            evaluate_game(TeamChoice(folder, trust=True), None, nowhere, "refused", [override])
    put_policy(folder, "world-8-4", 0, "environment.frame_skip=2")
    with pytest.raises(TeamError, match="world-1-1 and world-8-4 cannot play one game together"):
        evaluate_game(TeamChoice(folder, trust=True), None, nowhere, "refused")


@pytest.mark.one_python
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "world-1-1", "--no-warps"], "--no-warps is for `game`"),
        (["watch", "world-1-1", "--models", "models"], "--models is for `game`"),
        (["evaluate", "game", "--sha256", "00"], "--sha256 is for one model"),
        (["watch", "game", "--models", "/no/such"], "/no/such: there is no such folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(mario: Any, arguments: list[str], message: str) -> None:
    done = mario(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
