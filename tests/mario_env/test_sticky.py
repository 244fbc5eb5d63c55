"""Sticky actions, against a reference written by hand after the Arcade Learning Environment's `StellaEnvironment::act`."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.seeding import np_random

from configs.schema import EnvironmentConfig
from configs.seeds import game_seeds
from mario_env import EpisodeSummary, PlaybackError, make, play_back
from mario_env.stable_baselines import FastVecEnv
from mario_env.wrappers.actions import button_combinations, draw_delay, pressed_buttons

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

SEED, RIGHT, JUMP = 5, 3, 4


class ByHand:
    """One game frame by frame: at each frame a coin decides whether the new action takes hold; until then the old one stays."""

    def __init__(self, config: EnvironmentConfig, seed: int | None) -> None:
        self.config = config
        self.console: Any = make(config.model_copy(update={"sticky_actions": 0.0})).unwrapped
        self.console.reset()
        self.coins = np_random(seed)[0]
        self.buttons = pressed_buttons(button_combinations(config))
        self.held = 0  # ALE begins with "no operation", too

    def act(self, action: int) -> int:
        """Play one decision; the frames in which the old action was still held."""
        delayed, taken = 0, False
        for _ in range(self.config.frame_skip):
            if not taken and self.coins.random() >= self.config.sticky_actions:
                self.held, taken = self.buttons[action], True
            delayed += not taken
            if self.console.advance(self.held):
                break
        return delayed


@pytest.mark.parametrize("probability", [0.25, 0.7])
@pytest.mark.parametrize("skip", [1, 3, 4])
@pytest.mark.parametrize("emulator", ["fast", "nes-py"])
def test_the_environment_does_what_the_arcade_learning_environment_does(emulator: Any, skip: int, probability: float) -> None:
    config = EnvironmentConfig(emulator=emulator, frame_skip=skip, sticky_actions=probability, stall_after=None)
    reference, env = ByHand(config, SEED), make(config, seed=SEED)
    env.reset()
    delays = []
    for action in np.random.default_rng(0).integers(0, 7, 60):
        *_, terminated, _, info = env.step(action)
        if terminated:
            break
        delays.append(reference.act(int(action)))
        assert info["action_delay"] == delays[-1]
        assert env.unwrapped.memory == reference.console.memory  # type: ignore[attr-defined]
    assert len(set(delays)) > min(2, skip), "some were delayed, by different times"
    env.close()


def test_games_played_together_do_what_the_arcade_learning_environment_does() -> None:
    config = EnvironmentConfig(sticky_actions=0.6, stall_after=None)
    references = [ByHand(config, seed) for seed in game_seeds(SEED, 3)]
    games = FastVecEnv(config, 3, seed=SEED)
    games.reset()
    lost = 0
    for actions in np.random.default_rng(1).integers(0, 7, (50, 3)):
        _, _, dones, infos = games.step(actions)
        if dones.any():
            break
        for i, reference in enumerate(references):
            delay = reference.act(int(actions[i]))
            assert infos[i]["action_delay"] == delay
            assert games.get_attr("memory")[i] == reference.console.memory
            lost += delay == 4
    assert lost > 3, "decisions were lost as a whole, and the older action was held on"
    games.close()


def test_a_third_of_a_frame_is_lost_on_average_and_hardly_a_decision() -> None:
    generator, draws = np.random.default_rng(0), 200_000
    drawn = Counter(draw_delay(generator, 0.25, 4) for _ in range(draws))
    expected = {delay: 0.25**delay * 0.75 for delay in range(4)} | {4: 0.25**4}
    assert drawn.keys() == expected.keys()
    for delay, probability in expected.items():
        deviation = (probability * (1 - probability) / draws) ** 0.5
        assert drawn[delay] / draws == pytest.approx(probability, abs=5 * deviation)
    mean = sum(delay * count for delay, count in drawn.items()) / draws
    assert mean == pytest.approx(0.25 + 0.25**2 + 0.25**3 + 0.25**4, abs=0.01)
    assert mean == pytest.approx(1 / 3, abs=0.01)
    assert drawn[4] / draws == pytest.approx(0.004, abs=0.001)


def test_no_button_is_held_at_the_start_of_an_episode() -> None:
    env = make(EnvironmentConfig(sticky_actions=0.999, stall_after=None), seed=0)
    for _ in range(2):
        env.reset()
        positions = [env.step(RIGHT)[4]["x_pos"] for _ in range(10)]
        assert max(positions) <= 40, "he stands: no action has taken hold yet"
    env.close()


def _episode(config: EnvironmentConfig) -> EpisodeSummary:
    env = make(config, seed=SEED)
    env.reset()
    generator = np.random.default_rng(SEED)
    while True:
        *_, terminated, truncated, info = env.step(int(generator.choice([RIGHT, JUMP, 0])))
        if terminated or truncated:
            env.close()
            summary: EpisodeSummary = info["episode_summary"]
            return summary


@pytest.mark.parametrize("emulator", ["fast", "nes-py"])
def test_an_episode_is_played_again_with_its_delays(emulator: Any) -> None:
    config = EnvironmentConfig(sticky_actions=0.5, max_steps=80)
    summary = _episode(config)
    assert len(summary.delays) == len(summary.actions) == summary.steps
    *_, last = play_back(config.model_copy(update={"emulator": emulator}), summary.start, summary.actions, summary.delays)
    assert last.summary is not None
    assert dataclasses.replace(last.summary, duration_seconds=summary.duration_seconds) == summary
    try:
        *_, other = play_back(config, summary.start, summary.actions)
    except PlaybackError:
        return  # it does not even end with the last action
    assert (other.summary is None) or other.summary.reward != summary.reward, "without them it is another episode"


@pytest.mark.parametrize("rule", [{}, {"sticky_decisions": 0.5}])
def test_an_episode_without_delays_needs_none(rule: dict[str, float]) -> None:
    config = EnvironmentConfig(**rule, max_steps=80)
    summary = _episode(config)
    assert summary.delays == b""
    *_, last = play_back(config, summary.start, summary.actions)
    assert last.summary is not None
    assert last.summary.reward == summary.reward


def test_as_many_delays_as_actions() -> None:
    config = EnvironmentConfig(max_steps=3)
    with pytest.raises(PlaybackError, match=r"^3 actions have 2 delays: the episode's record is damaged$"):
        list(play_back(config, _episode(config).start, bytes(3), bytes(2)))
