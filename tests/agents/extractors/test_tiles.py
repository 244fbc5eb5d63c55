"""What the network for tiles computes with: blocks around Mario, and objects by their places from him."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from agents.algorithms import build_policy
from agents.extractors import TileNetwork
from agents.training.thread_choice import measure_update
from configs import Config, EnvironmentConfig, load
from mario_env import observation_space
from mario_env.games import Games
from mario_env.observations.tiles import BLOCKS, KIND_ROW, THEN_ROW, X_ROW, Y_ROW

SPACE = observation_space(EnvironmentConfig(observation="tiles"))


@pytest.fixture
def config() -> Config:
    return load("ppo-tiles")


@pytest.fixture(scope="module")
def played() -> torch.Tensor:
    """Observations of random play in the levels 1-1, 1-4 and 2-2: uint8 (n, 23, 16)."""
    seen, generator = [], np.random.default_rng(0)
    for world, stage in ((1, 1), (1, 4), (2, 2)):
        games = Games(EnvironmentConfig(observation="tiles", world=world, stage=stage), 1, threads=1)
        games.reset(0)
        for _ in range(100):
            _, _, terminated, truncated, _ = games.step([generator.integers(1, 7)])
            seen.append(games.fleet.observations[0].copy())
            if terminated[0] or truncated[0]:
                games.reset(0)
        games.close()
    return torch.from_numpy(np.array(seen))


def inputs_of(network: TileNetwork, observations: torch.Tensor) -> torch.Tensor:
    """What the first dense layer gets."""
    seen: list[torch.Tensor] = []
    handle = network.hidden.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(observations)
    handle.remove()
    return seen[0]


def table(x: int, y: int) -> torch.Tensor:
    """An observation with Mario alone."""
    empty = torch.zeros(1, *SPACE.shape, dtype=torch.uint8)
    for row, number in ((KIND_ROW, 0x46), (X_ROW, x), (Y_ROW, y), (THEN_ROW, 0x46), (THEN_ROW + 1, x), (THEN_ROW + 2, y)):
        empty[0, row, 0] = number
    return empty


def test_a_policy_passes_numbers_on_unscaled_and_the_network_scales_them(config: Config, played: torch.Tensor) -> None:
    policy = build_policy(config, SPACE, 7)
    network = policy.features_extractor
    assert isinstance(network, TileNetwork)
    given: list[torch.Tensor] = []
    network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    policy.predict(played[0].numpy(), deterministic=True)
    assert given[0].max() > 1, "the numbers are codes, which must not be divided by 255"
    inputs = inputs_of(network, played)
    assert inputs.isfinite().all()
    assert inputs.abs().max() < 10
    assert inputs.std(dim=0).max() < 3


def test_a_sample_takes_about_a_fifth_of_a_million_operations(config: Config, played: torch.Tensor) -> None:
    policy = build_policy(config, SPACE, 7)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        policy(played)
    assert 0.15e6 < counter.get_total_flops() / len(played) < 0.25e6


@pytest.mark.parametrize(("x", "y", "row", "column"), [(32, 176, 10, 2), (39, 176, 10, 2), (40, 176, 10, 3), (112, 48, 2, 7)])
def test_the_window_lies_around_mario(x: int, y: int, row: int, column: int) -> None:
    network = TileNetwork(SPACE)
    alone = inputs_of(network, table(x, y))
    for down, right in ((0, 1), (1, 0), (0, 0)):
        with_block = table(x, y)
        with_block[0, row + down, column + right] = BLOCKS.index("solid")
        changed = torch.nonzero(inputs_of(network, with_block) - alone)[:, 1].tolist()
        # The window has 6 rows above Mario and 4 columns to his left, of 14 columns with 4 numbers each.
        assert changed == [((6 + down) * 14 + 4 + right) * 4]


def test_what_is_outside_the_screen_is_empty() -> None:
    network = TileNetwork(SPACE)
    full = table(0, 255)
    full[0, :13] = BLOCKS.index("solid")
    for x, y in ((0, 0), (0, 255), (255, 0), (255, 255)):
        full[0, X_ROW, 0], full[0, Y_ROW, 0] = x, y
        assert 0 < inputs_of(network, full)[0, : 14 * 14 * 4].sum() < 14 * 14


def test_objects_count_by_their_place_from_mario_whatever_their_slot() -> None:
    network = TileNetwork(SPACE)

    def features(mario: int, enemy: int, slot: int) -> torch.Tensor:
        both = table(mario, 176)
        for row, number in ((KIND_ROW, 7), (X_ROW, enemy), (Y_ROW, 184), (THEN_ROW, 7), (THEN_ROW + 1, enemy + 3)):
            both[0, row, slot] = number
        both[0, THEN_ROW + 2, slot] = 184
        return inputs_of(network, both)[:, 14 * 14 * 4 : 14 * 14 * 4 + 32]

    torch.testing.assert_close(features(100, 150, 1), features(60, 110, 4))
    assert not torch.allclose(features(100, 150, 1), features(100, 154, 1))
    assert features(100, 150, 1).abs().sum() > 0
    assert inputs_of(network, table(100, 176))[:, 14 * 14 * 4 : 14 * 14 * 4 + 32].abs().sum() == 0, "nobody is there"


def test_the_time_of_an_update_can_be_measured_with_any_bytes(config: Config) -> None:
    seconds = measure_update(config, SPACE, 7, [1, 2], budget=0.0)
    assert all(value > 0 for value in seconds.values())


def test_every_layer_learns(played: torch.Tensor) -> None:
    network = TileNetwork(SPACE)
    network(played).pow(2).sum().backward()
    for name, weights in network.named_parameters():
        assert weights.grad is not None
        assert weights.grad.abs().sum() > 0, name
    assert not any(isinstance(module, nn.Conv2d) for module in network.modules())
