"""Each game explores independently, with the epsilons and durations of the papers."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from toy_game import late_wins, toy_config, toy_vec

from agents import PlayedEpisode, build, train
from agents.algorithms.dqn import ValueLearning
from agents.algorithms.exploration import LONGEST, Explorer, durations, spread
from configs import ConfigError

GAMES = 8


def exploring(*, epsilon: float, n_envs: int = GAMES, **agent: Any) -> ValueLearning:
    """A model that explores with a constant `epsilon`, after its warm-up, with games that have been reset."""
    values = {"exploration_initial_eps": epsilon, "exploration_final_eps": epsilon, "learning_starts": 0, **agent}
    model = build(toy_config("dqn", agent=values), toy_vec(n_envs), device="cpu")
    assert isinstance(model, ValueLearning)
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.exploration_rate = epsilon
    model._last_obs = model.env.reset()  # type: ignore[union-attr, assignment]
    return model


def explored(model: ValueLearning, decisions: int) -> NDArray[np.bool_]:
    """Which games explored, bool (decisions, n_envs). The network's choice is replaced by -1 to tell them apart."""
    model.policy.predict = lambda *_, **__: (np.full(model.n_envs, -1), None)  # type: ignore[method-assign]
    return np.array([model._sample_action(0, None, model.n_envs)[0] for _ in range(decisions)]) >= 0


def test_games_explore_independently() -> None:
    shares = explored(exploring(epsilon=0.3), 2_000)

    assert np.allclose(shares.mean(axis=0), 0.3, atol=0.05)
    together = shares.all(axis=1).mean()
    assert together < 0.01  # if all games decided together it would be 0.3


def test_epsilons_are_spaced_geometrically() -> None:
    epsilons = spread(0.01, 0.01, 0.64, 7)

    assert np.allclose(epsilons, [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64])


def test_a_higher_epsilon_of_the_schedule_applies_to_all_games() -> None:
    assert np.allclose(spread(0.5, 0.01, 0.4, 4), 0.5)
    assert np.allclose(spread(0.1, 0.01, 0.4, 4), np.maximum(np.geomspace(0.01, 0.4, 4), 0.1))


def test_a_single_game_has_the_epsilon_of_the_schedule() -> None:
    assert spread(0.1, 0.01, 0.4, 1).tolist() == [0.1]


def test_each_game_explores_with_its_own_epsilon() -> None:
    model = exploring(epsilon=0.05, exploration_highest_eps=0.8)

    shares = explored(model, 2_000).mean(axis=0)

    assert np.allclose(shares, np.geomspace(0.05, 0.8, GAMES), atol=0.05)


def test_durations_have_a_truncated_zeta_distribution() -> None:
    chances = durations(2.0)

    assert len(chances) == LONGEST
    assert np.isclose(chances.sum(), 1)
    assert np.allclose(chances / chances[0], 1 / np.arange(1, LONGEST + 1) ** 2)
    assert durations(None).tolist() == [1.0]


def test_a_random_action_lasts_for_its_sampled_duration() -> None:
    model = exploring(epsilon=0.02, exploration_zeta=2.0)
    model.policy.predict = lambda *_, **__: (np.full(GAMES, -1), None)  # type: ignore[method-assign]

    actions = np.array([model._sample_action(0, None, GAMES)[0] for _ in range(20_000)])

    lengths = [length for game in actions.T for length in runs(game)]
    share = np.bincount(lengths, minlength=LONGEST + 1)[1:4] / len(lengths)
    # Two consecutive stretches look like one if they have the same action, which happens once in 50 x 3.
    assert np.allclose(share, durations(2.0)[:3], atol=0.03)


def runs(actions: NDArray[np.int64]) -> list[int]:
    """The lengths of the stretches of one action, separated by -1."""
    edges = np.flatnonzero(np.diff(actions, prepend=-1, append=-1))
    return [int(end - begin) for begin, end in pairwise(edges) if actions[begin] >= 0]


def test_a_repeated_action_ends_with_its_episode() -> None:
    model = exploring(epsilon=1.0, exploration_zeta=2.0)
    model.explorer._left[:] = 9
    ended = np.arange(GAMES) < 3
    infos = [{"terminal_observation": model._last_obs[0]}] * GAMES  # type: ignore[index]

    model._store_transition(model.replay_buffer, np.zeros(GAMES), model._last_obs, np.zeros(GAMES), ended, infos)

    assert model.explorer._left.tolist() == [0] * 3 + [9] * (GAMES - 3)


def test_episodes_have_the_epsilon_of_their_game(tmp_path: Path) -> None:
    config = toy_config("dqn", agent={"exploration_highest_eps": 0.5}, n_envs=4)
    episodes: list[PlayedEpisode] = []

    train(config, env=toy_vec(4), directory=tmp_path, on_episode=episodes.append, total_steps=1_000, device="cpu")

    last = {episode.env_index: episode.exploration_rate for episode in episodes[-4:]}
    assert np.allclose([last[game] for game in range(4)], np.geomspace(0.02, 0.5, 4))


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
def test_a_toy_game_is_learned(algorithm: str, tmp_path: Path) -> None:
    agent = {"exploration_highest_eps": 0.04, "exploration_zeta": 3.0}

    assert late_wins(toy_config(algorithm, agent=agent), tmp_path) >= 10


def test_a_highest_epsilon_below_the_final_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="exploration_highest_eps is below exploration_final_eps"):
        toy_config("dqn", agent={"exploration_highest_eps": 0.01, "exploration_final_eps": 0.05})


def test_some_games_explore_apart_from_the_others() -> None:
    """Decisions and the ends of episodes of some games do not touch the others."""
    explorer = Explorer(6, 5, 0, 1.5)
    explorer.step(np.ones(3), slice(0, 3))
    assert explorer.get_state()["left"][3:] == [0, 0, 0]
    explorer._left[:] = [3, 1, 2, 3, 1, 2]
    before = explorer.get_state()
    held, explores = explorer.step(np.zeros(3), slice(3, 6))
    assert explores.tolist() == [True] * 3
    assert held.tolist() == before["held"][3:]
    explorer.end_episodes(np.array([True, False, False]), slice(3, 6))
    assert explorer.get_state()["left"] == [3, 1, 2, 0, 0, 1]
