"""An episode is taken apart: decisions, observations, reward, events, and what a model thinks."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from agents import Agent, think
from configs.schema import EnvironmentConfig
from inspection import Analysis, Episode, ModelMismatchError, Thinker, analyse
from inspection.events import find_events
from mario_env import EpisodeStart, PlaybackError, make, play_back


def test_every_decision_is_the_environments(analysis: Analysis, agent: Agent) -> None:
    deterministic = {"sticky_actions": 0.0, "noop_frames": 0}  # as the episode was played
    env = make(agent.config.environment.model_copy(update=deterministic))
    observation, _ = env.reset()
    assert analysis.decisions == len(analysis.episode.actions) == len(analysis.observations)
    for decision, action in enumerate(analysis.episode.actions):
        assert np.array_equal(analysis.observations.at(np.array([decision]))[0], observation)
        observation, reward, _, _, info = env.step(action)
        components = {name: values[decision] for name, values in analysis.ledger.components.items()}
        assert components == info["reward_components"]
        assert sum(components.values()) == pytest.approx(float(reward))
        last = analysis.first_frames[decision] + info["frames"] - 1
        assert {name: analysis.facts[name][last] for name in ("x_pos", "time", "score", "status")} == {
            name: info[name] for name in ("x_pos", "time", "score", "status")
        }
    env.close()


def test_the_ledger_adds_up_or_says_that_it_does_not(analysis: Analysis, altered: Callable[..., Episode]) -> None:
    assert analysis.ledger.adds_up
    assert analysis.ledger.differences == ()
    reward = analysis.ledger.stored
    damaged = analyse(altered(reward=reward + 0.5, x_pos=17)).ledger
    assert not damaged.adds_up
    assert damaged.total == pytest.approx(reward)
    assert [each.split(":")[0] for each in damaged.differences] == ["reward", "x_pos"]


def test_an_episode_of_another_configuration_is_refused(episode: Episode) -> None:
    with pytest.raises(PlaybackError, match="was played under another configuration"):
        analyse(replace(episode, actions=episode.actions[:-5]))


def test_events_are_found() -> None:
    config = EnvironmentConfig(game="full", stall_after=None)
    frames = list(play_back(config, EpisodeStart(), bytes([3] * 80)))
    events = find_events([each.info for each in frames], [0] * len(frames), "game_over")
    assert [event.kind for event in events] == ["death"] * 3
    deaths = [index for index, each in enumerate(frames) if index and each.info["deaths"] > frames[index - 1].info["deaths"]]
    assert [event.frame for event in events] == deaths


def test_each_fact_that_changes_is_an_event() -> None:
    still = {
        "coins": 99,
        "status": "small",
        "life": 2,
        "levels_completed": 0,
        "deaths": 0,
        "time_ups": 0,
        "world": 1,
        "stage": 2,
    }
    changes = [
        {"coins": 1},  # the count goes from 99 to 0
        {"status": "fireball"},
        {"status": "small"},
        {"life": 3},
        {"world": 4, "stage": 1, "levels_completed": 1},
    ]
    infos = [still]
    for change in changes:
        infos.append({**infos[-1], **change})
    events = find_events([*infos, infos[-1]], [0] * len(infos) + [7], "stalled")
    assert [(event.frame, event.kind) for event in events] == [
        *[(1, "coin"), (2, "power-up"), (3, "hurt"), (4, "1-up"), (5, "goal"), (5, "level"), (6, "pipe"), (6, "cut off")]
    ]
    assert events[0].text == "2 coins"


def test_a_model_judges_every_decision(analysis: Analysis, thinker: Thinker, agent: Agent) -> None:
    opinion = thinker.think(analysis)
    assert opinion.kind == "probabilities"
    assert opinion.scores.shape == (analysis.decisions, 7)
    some = np.array([0, 1, 2, 90])
    assert np.allclose(opinion.scores[some], think(agent, analysis.observations.at(some)).scores, atol=1e-5)
    # The last decision's advantage is its reward minus its value: nothing follows a completed level.
    reward = sum(float(values[-1]) for values in analysis.ledger.components.values())
    assert opinion.advantages[-1] == pytest.approx(reward - opinion.values[-1], abs=1e-4)


def test_a_model_that_sees_other_things_is_refused(episode: Episode, thinker: Thinker) -> None:
    other = episode.config.environment.model_copy(update={"observation": "tiles"})
    unlike = analyse(replace(episode, config=episode.config.model_copy(update={"environment": other})))
    with pytest.raises(ModelMismatchError, match="cannot judge this episode: it knows frames"):
        thinker.think(unlike)
