"""A team in the real full game: who plays, and what it sees where a level begins."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agents import Agent, Member, Team, TeamError, build, load_agent, play_episodes
from agents.policies import save_model
from agents.policies.arrivals import Arrivals
from configs import PROJECT, EnvironmentConfig, EvaluateConfig, load
from mario_env import EpisodeSummary, make_vec
from mario_env.demonstrations import read_plays

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")
SETTINGS = ["train.device=cpu", "environment.crop_status_bar=true", "environment.actions=complex"]
CLOCK = 0x07F8  # its three digits in RAM
FULL = {"game": "full", "stall_after": None}
OF_THE_PLAY = ("1-1", "1-2", "1-3", "1-4", "2-1", "2-2")

Decision = tuple[NDArray[np.uint8], dict[str, Any]]


def untrained(folder: Path, *settings: str) -> Agent:
    config = load(TINY, [*SETTINGS, *settings])
    env = make_vec(config.environment, 1, seed=0)
    path = save_model(folder, config, build(config, env, device="cpu"))
    env.close()
    return load_agent(path)


@pytest.fixture
def stubborn(tmp_path: Path) -> Any:
    """Makes agents that always choose one action when they play greedily."""

    def make(action: int, *settings: str) -> Agent:
        agent = untrained(tmp_path / f"{action}", *settings)
        with torch.no_grad():
            net: Any = agent.model.action_net
            net.bias[action] = 1_000.0
        return agent

    return make


@pytest.fixture(scope="module")
def full_game() -> list[Decision]:
    """What a game that goes from 1-1 to 2-2 shows after its reset and after each decision, then how a life is lost there."""
    config = load(TINY, SETTINGS).environment.model_copy(update={**FULL, "max_steps": None})
    env: Any = make_vec(config, 1, seed=0)
    decisions = [(env.reset(), env.reset_infos[0])]
    decisions += [step(env, action) for action in read_plays()["full"]]
    env.games.fleet.machines["ram"][0][CLOCK : CLOCK + 3] = (0, 0, 1)  # it runs out at once
    while decisions[-1][1]["deaths"] == 0:
        decisions += [step(env, 0)]
    decisions += [step(env, 0) for _ in range(6)]
    env.close()
    return decisions


def step(env: Any, action: int) -> Decision:
    observations, _, _, infos = env.step(np.array([action]))
    return observations.copy(), infos[0]


def test_each_level_is_played_by_its_own_policy(full_game: list[Decision], stubborn: Any) -> None:
    """Also after a life was lost."""
    team = Team({level: Member(level, stubborn(number)) for number, level in enumerate(OF_THE_PLAY)})
    played: dict[str, set[int]] = {}
    for observations, info in full_game[::7] + full_game[-1:]:
        (action,) = team.act(observations, infos=[info])
        played.setdefault(f"{info['world']}-{info['stage']}", set()).add(int(action))
    assert played == {level: {number} for number, level in enumerate(OF_THE_PLAY)}
    assert full_game[-1][1]["deaths"] == 1


def test_games_in_different_levels_are_played_side_by_side(full_game: list[Decision], stubborn: Any) -> None:
    team = Team({level: Member(level, stubborn(number)) for number, level in enumerate(OF_THE_PLAY[:3])})
    chosen = [next(each for each in full_game if each[1]["stage"] == stage) for stage in (3, 1, 2, 1)]
    observations = np.concatenate([each[0] for each in chosen])
    random = [np.random.default_rng(row) for row in range(4)]
    actions = team.act(observations, deterministic=False, random=random, infos=[each[1] for each in chosen])
    assert actions.tolist() == [2, 0, 1, 0]


def test_a_level_without_a_policy_is_played_by_the_nearest_of_its_kind(stubborn: Any) -> None:
    agent = stubborn(0)
    team = Team({level: Member(f"world-{level}", agent) for level in ("1-1", "1-2", "1-4", "3-1")})
    nearest = {"1-3": "1-1", "4-2": "1-2", "8-4": "1-4", "8-3": "3-1", "2-1": "1-1", "2-2": "1-4", "36-1": "1-2"}
    assert {level: team.member_for(level).name for level in nearest} == {
        level: f"world-{other}" for level, other in nearest.items()
    }
    assert team.borrowed(["1-1", "1-3"]) == {"1-3": "world-1-1"}


def test_a_level_begins_as_its_policy_knows_it(full_game: list[Decision]) -> None:
    """The stack has four equal pictures, as after a reset; four decisions later it is the environment's own again."""
    arrivals = Arrivals()
    since: list[int] = []
    for (_, info), (_, before) in zip(full_game[1:], full_game, strict=False):
        arrived = any(info[name] != before[name] for name in ("world", "stage", "deaths"))
        since.append(0 if arrived else since[-1] + 1 if since else 99)
    for (observations, info), decisions in zip(full_game, [99, *since], strict=True):
        shown = arrivals.begin_anew(observations, [info])[0]
        if decisions >= 4:
            assert np.array_equal(shown, observations[0])
            continue
        known = max(1, decisions)
        assert np.array_equal(shown[-known:], observations[0, -known:])
        assert all(np.array_equal(frame, shown[-known]) for frame in shown[: 4 - known])
    assert since.count(0) == len(OF_THE_PLAY), "five levels and one life"


@pytest.mark.parametrize("stage", [2, 3, 4])
def test_what_a_policy_sees_first_is_nearly_what_its_level_begins_with(full_game: list[Decision], stage: int) -> None:
    config = load(TINY, [*SETTINGS, f"environment.stage={stage}"]).environment
    env: Any = make_vec(config, 1, seed=0)
    alone = env.reset()[0].astype(np.int64)
    env.close()
    arrivals = Arrivals()
    shown = [(arrivals.begin_anew(observations, [info])[0], observations[0], info) for observations, info in full_game]
    first = next(at for at, (_, _, info) in enumerate(shown) if info["stage"] == stage) + 1
    begun, raw, _ = shown[first]
    assert np.abs(begun - alone).mean() < 2
    assert np.abs(raw - alone).mean() > 10, "without a new stack, the castle of the level before"


def test_the_first_level_is_played_as_it_is_alone(tmp_path: Path) -> None:
    """Seeds, pictures and actions are the same: the game goes on where the level ends."""
    agent = untrained(tmp_path)
    evaluate = EvaluateConfig(episodes=2, n_envs=1)
    level = agent.config.environment.model_copy(update={"max_steps": 150, "stall_after": None})
    full = level.model_copy(update=FULL)

    def play(player: Any, config: EnvironmentConfig) -> list[EpisodeSummary]:
        played: list[EpisodeSummary] = []
        play_episodes(player, config, "stochastic", evaluate, seed=3, on_episode=lambda each: played.append(each.summary))
        return played

    alone = play(agent, level)
    together = play(Team({"1-1": Member("world-1-1", agent)}), full)
    assert len({summary.actions for summary in alone}) == 2
    for one, all_levels in zip(alone, together, strict=True):
        assert all_levels.actions[: one.steps] == one.actions


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ("environment.frame_skip=2", "environment.frame_skip 4 and 2"),
        ("environment.crop_status_bar=false", "environment.crop_status_bar True and False"),
        ("environment.actions=simple", "environment.actions complex and simple"),
    ],
)
def test_policies_that_see_or_do_different_things_are_refused(
    tmp_path: Path, stubborn: Any, setting: str, difference: str
) -> None:
    one, other = stubborn(0), untrained(tmp_path / "other", setting)
    with pytest.raises(TeamError, match=f"world-1-1 and world-1-2 cannot play one game together.*{difference}"):
        Team({"1-1": Member("world-1-1", one), "1-2": Member("world-1-2", other)})
    with pytest.raises(TeamError, match=f"world-1-1 cannot play this environment.*{difference}"):
        Team({"1-1": Member("world-1-1", one)}).require_playable(other.config.environment)


def test_a_team_asks_for_what_it_goes_by(stubborn: Any) -> None:
    agent = stubborn(0)
    team = Team({"1-1": Member("world-1-1", agent)})
    with pytest.raises(ValueError, match="needs the infos of the games"):
        team.act(np.zeros((1, *agent.model.observation_space.shape), np.uint8))
    with pytest.raises(TeamError, match="a policy of at least one level"):
        Team({})
