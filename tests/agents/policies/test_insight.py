"""What a policy thinks is what it acts on, and where it looks is where a change matters."""

import numpy as np
import pytest
from numpy.typing import NDArray

from agents import Agent, saliency, think
from agents.algorithms import build
from agents.checkpoints import describe
from agents.policies import agent_of
from configs import PROJECT, load
from mario_env import make, make_vec
from mario_env.observations import tiles
from tests.agents.toy_game import AGENTS, BrightSide, toy_config, toy_vec


def toy_agent(algorithm: str) -> Agent:
    """An untrained agent that plays the toy game."""
    config = toy_config(algorithm)
    model = build(config, toy_vec(), device="cpu")
    return agent_of(model, config, describe("model", config, model))


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest) -> Agent:
    return toy_agent(request.param)


@pytest.fixture
def pictures() -> NDArray[np.uint8]:
    """Observations of the toy game, more than a batch of them."""
    env = BrightSide(length=200)
    first, _ = env.reset(seed=1)
    return np.stack([first, *(env.step(np.int64(0))[0] for _ in range(150))])


def test_the_best_score_is_the_action_that_is_taken(agent: Agent, pictures: NDArray[np.uint8]) -> None:
    thoughts = think(agent, pictures)
    assert thoughts.scores.shape == (151, 3)
    assert thoughts.scores.argmax(axis=1).tolist() == agent.act(pictures).tolist()
    if agent.config.agent.algorithm == "ppo":
        assert thoughts.kind == "probabilities"
        assert np.allclose(thoughts.scores.sum(axis=1), 1)
    else:
        assert thoughts.kind == "values"
        assert np.array_equal(thoughts.values, thoughts.scores.max(axis=1))


def test_a_change_matters_where_there_is_something_to_see(agent: Agent) -> None:
    picture = np.full((4, 36, 36), 40, np.uint8)
    assert not saliency(agent, picture, 0).map.any(), "blurring an empty picture changes nothing"
    picture[:, 2:8, 2:8] = 255
    found = saliency(agent, picture, 0)
    assert found.map.shape == (6, 6)
    assert found.score == pytest.approx(think(agent, picture[np.newaxis]).scores[0, 0])
    amounts = np.abs(found.map)
    assert amounts[:3, :3].max() > 20 * amounts[4:, 4:].max()


def test_tiles_are_removed_one_by_one() -> None:
    config = load(str(PROJECT / "configs/presets/demo.yaml"), ["train.device=cpu"])
    env = make_vec(config.environment, 1, seed=0)
    model = build(config, env, device="cpu")
    env.close()
    judge = agent_of(model, config, describe("model", config, model))
    game = make(config.environment)
    table, _ = game.reset()
    for _ in range(40):
        table = game.step(3)[0]
    game.close()
    found = saliency(judge, np.asarray(table), 1).map
    assert found.shape == (tiles.BLOCK_ROWS, tiles.COLUMNS)
    occupied = table[: tiles.BLOCK_ROWS] != tiles.EMPTY
    assert found[occupied].any()
    objects = np.flatnonzero(table[tiles.KIND_ROW, 1:])
    assert np.count_nonzero(found[~occupied]) <= len(objects)
